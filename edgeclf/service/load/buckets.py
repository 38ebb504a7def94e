"""What a load test tells while it goes on: what came of each second, as plain JSON types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgeclf.service.load.generator import TIMEOUT, Outcome
from edgeclf.service.load.step import REFUSED

Watch = Callable[[Mapping[str, Any]], None]

_LENGTH_S = 1.0
_PERCENTS = (50, 95, 99)


class Buckets:
    """Cuts a step into pieces of a second or a little more, and tells of each.

    Percentiles are those of one piece, to be looked at as they come: of a hundred answers, the 99th
    percentile is nearly the slowest. What a whole step can carry is in its record.

    Args:
        asked: What each piece says of its step.
        watch: Gets each piece.
    """

    def __init__(self, asked: Mapping[str, Any], watch: Watch) -> None:
        self._asked = asked
        self._watch = watch
        self._from_s = 0.0
        self._told = 0  # outcomes
        self._begun = 0  # requests

    def tick(self, now: float, outcomes: Sequence[Outcome], begun: int) -> None:
        """Tells of a piece once it is long enough.

        Args:
            now: Seconds since the step began.
            outcomes: All that have ended so far.
            begun: Requests that have come so far, ended or not.
        """
        if now - self._from_s >= _LENGTH_S:
            self._tell(now, outcomes, begun)

    def end(self, seconds: float, outcomes: Sequence[Outcome]) -> None:
        """Tells of what is left once the step is over."""
        if len(outcomes) > self._told:
            self._tell(seconds, outcomes, max(self._begun, len(outcomes)))

    def _tell(self, now: float, outcomes: Sequence[Outcome], begun: int) -> None:
        new = outcomes[self._told :]
        accepted = [each for each in new if each.status == 200]
        refused = [each for each in new if each.status in REFUSED]
        waited = [each for each in new if each.failure == TIMEOUT]
        self._watch({
            **self._asked,
            "from_s": round(self._from_s, 3),
            "to_s": round(now, 3),
            "offered": begun - self._begun,
            "accepted": len(accepted),
            "refused": len(refused),
            "failed": len(new) - len(accepted) - len(refused),
            "latency_ms": _percentiles([*accepted, *waited]),
            "refusal_ms": _percentiles(refused),
        })  # fmt: skip
        self._from_s, self._told, self._begun = now, len(outcomes), begun


def _percentiles(outcomes: Sequence[Outcome]) -> dict[str, float] | None:
    if not outcomes:
        return None
    times = [(each.done - each.scheduled) * 1e3 for each in outcomes]
    found = np.percentile(times, _PERCENTS)
    return {f"p{name}": round(float(ms), 3) for name, ms in zip(_PERCENTS, found, strict=True)}
