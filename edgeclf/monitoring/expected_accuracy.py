"""How many answers are right, by what the model itself says: the mean of calibrated confidences."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

_RECENT = 1_000
_Z = 1.959964  # of a normal distribution's 95 %

MEANING = (
    "If the confidences are calibrated for these pictures, the share of right answers among them "
    "lies in the interval with a probability of 95 %. Where pictures have drifted from those that "
    "the file was calibrated on, they need not be, and nothing without labels can tell."
)


class ExpectedAccuracy:
    """Of the last 1,000 pictures and of all of them.

    Each answer is right with its own probability c, so that the number of right ones among n has
    the mean sum(c) and the variance sum(c (1 - c)).
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._count = 0
        self._sum = self._variance = 0.0

    def add(self, confidence: float) -> None:
        """Takes the calibrated confidence of one more answer, 0..1."""
        self._recent.append(confidence)
        self._count += 1
        self._sum += confidence
        self._variance += confidence * (1 - confidence)

    def report(self) -> dict[str, dict[str, Any] | None]:
        """Of ``recent`` and ``all`` pictures: how many, the estimate, and its interval, 0..1."""
        return {
            "recent": _estimate(len(self._recent), *_sums(self._recent)),
            "all": _estimate(self._count, self._sum, self._variance),
        }

    def state(self) -> dict[str, Any]:
        """What it knows, as JSON can say it; the last confidences to six digits."""
        recent = [round(value, 6) for value in self._recent]
        return {"recent": recent, "count": self._count, "sum": self._sum,
                "variance": self._variance}  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave.

        Raises:
            KeyError, TypeError, ValueError: It is damaged; nothing is changed.
        """
        recent = [float(value) for value in state["recent"]]
        count, total, variance = (state[key] for key in ("count", "sum", "variance"))
        good = all(0 <= value <= 1 for value in recent) and len(recent) <= count
        if not good or not 0 <= variance <= total <= count:
            raise ValueError("the confidences are damaged")
        self._recent = deque(recent, _RECENT)
        self._count, self._sum, self._variance = int(count), float(total), float(variance)


def _sums(values: Iterable[float]) -> tuple[float, float]:
    values = list(values)
    return math.fsum(values), math.fsum(value * (1 - value) for value in values)


def _estimate(count: int, total: float, variance: float) -> dict[str, Any] | None:
    if not count:
        return None
    mean, half = total / count, _Z * math.sqrt(variance) / count
    return {"pictures": count, "accuracy": mean, "low": max(0.0, mean - half),
            "high": min(1.0, mean + half)}  # fmt: skip
