"""Whether other classes are answered than when a file was calibrated: reported, never an alarm.

Seasons and places change what is in front of a camera, and nothing is broken then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_PRIOR = 0.5  # of each class: Jeffreys'


class LabelShift:
    """The Bayes factor of "two distributions" against "one" for the top classes.

    Both are Dirichlet-multinomial with Jeffreys' prior: the stream's classes either come from a
    distribution of their own, or from the one that the reference's came from. Updated with each
    picture. As an e-value it is exact on average over that prior and not for each distribution, one
    more reason to raise no alarm by it. After Kass and Raftery, "Bayes Factors" (1995).

    Args:
        reference: How often each class was the top one among the reference's pictures.

    Raises:
        ValueError: These are no counts.
    """

    def __init__(self, reference: Sequence[int]) -> None:
        self.reference = [int(count) for count in reference]
        if not self.reference or min(self.reference) < 0:
            raise ValueError(f"counts {reference}")
        self.counts = [0] * len(self.reference)
        self.pictures = 0
        self.log10_factor = 0.0
        self._own = _PRIOR * len(self.reference)
        self._shared = self._own + sum(self.reference)

    def add(self, top: int) -> None:
        """Counts the class that was answered, by its position."""
        count = self.counts[top]
        own = (count + _PRIOR) / (self.pictures + self._own)
        shared = (count + _PRIOR + self.reference[top]) / (self.pictures + self._shared)
        self.log10_factor += math.log10(own / shared)
        self.counts[top] = count + 1
        self.pictures += 1

    def most_changed(self, labels: Sequence[str], most: int = 5) -> list[dict[str, Any]]:
        """The classes whose share changed most, with both shares, 0..1."""
        before = sum(self.reference) or 1
        rows = [
            {"label": label, "reference": was / before, "now": count / (self.pictures or 1)}
            for label, was, count in zip(labels, self.reference, self.counts, strict=True)
        ]
        rows.sort(key=lambda row: -abs(row["now"] - row["reference"]))  # type: ignore[operator]
        return rows[:most]

    def state(self) -> dict[str, Any]:
        """What it knows, as JSON can say it."""
        return {"counts": self.counts, "log10_factor": self.log10_factor}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave.

        Raises:
            KeyError, TypeError, ValueError: It is of another model, or damaged; nothing is changed.
        """
        counts, factor = [int(count) for count in state["counts"]], float(state["log10_factor"])
        if len(counts) != len(self.counts) or min(counts) < 0 or not math.isfinite(factor):
            raise ValueError("the counts of classes are damaged, or of another model")
        self.counts, self.pictures, self.log10_factor = counts, sum(counts), factor
