"""All that is watched of one model's answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeclf.monitoring.drift import Drift
from edgeclf.monitoring.expected_accuracy import MEANING, ExpectedAccuracy
from edgeclf.monitoring.label_shift import LabelShift

if TYPE_CHECKING:
    from edgeclf.artifact import Metadata
    from edgeclf.inference.prediction import Prediction

_NO_REFERENCE = (
    "The file holds no reference of what its answers and pictures looked like, so neither drift "
    "nor a shift of classes can be told. Write one into it with 'edgeclf calibrate'."
)
_NO_CONFIDENCE = (
    "The file was not calibrated, so its confidences are unknown and no accuracy can be expected. "
    "See 'edgeclf calibrate'."
)
_DAMAGED = "The file's reference cannot be read ({}); calibrate it again."


class ModelMonitor:
    """Fed with each answer, on one thread.

    Args:
        metadata: The artifact's; what it does not hold, `missing` says.
    """

    def __init__(self, metadata: Metadata) -> None:
        self.labels = metadata.labels
        self.drift: Drift | None = None
        self.label_shift: LabelShift | None = None
        self.accuracy = None if metadata.trust is None else ExpectedAccuracy()
        self.missing: list[str] = []
        self.pictures = 0
        self._positions: dict[str, int] = {}
        reference = (metadata.trust or {}).get("reference")
        if metadata.trust is None:
            self.missing.append(_NO_CONFIDENCE)
        if reference is None:
            self.missing.append(_NO_REFERENCE)
            return
        try:
            drift, shift = Drift(reference), LabelShift(reference["top1"])
            if len(shift.counts) != len(self.labels):
                raise ValueError(f"{len(shift.counts)} classes of {len(self.labels)}")
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as exc:
            self.missing.append(_DAMAGED.format(repr(exc)))
            return
        self.drift, self.label_shift = drift, shift

    def add(
        self,
        prediction: Prediction,
        top: int,
        margin: float,
        statistics: Mapping[str, float] | None,
        at: float,
    ) -> None:
        """Takes an answer.

        Args:
            prediction: The answer.
            top: The position of its most probable class.
            margin: How far that is before the next.
            statistics: Brightness, contrast and sharpness; None where nobody measured them.
            at: Seconds since 1970.
        """
        self.pictures += 1
        confidence = prediction.confidence
        if self.accuracy is not None and confidence is not None and math.isfinite(confidence):
            self.accuracy.add(min(max(confidence, 0.0), 1.0))
        if self.label_shift is not None:
            self.label_shift.add(top)
        if self.drift is not None:
            values = {"confidence": confidence, "margin": margin, "novelty": prediction.novelty}
            self.drift.add(values if statistics is None else {**values, **statistics}, at)

    def report(self) -> dict[str, Any]:
        """What is known, as JSON can say it."""
        shift = self.label_shift
        return {
            "pictures": self.pictures,
            "cannot": self.missing,
            "drift": None if self.drift is None else self.drift.report(),
            "label_shift": None if shift is None else {
                "log10_factor": shift.log10_factor, "pictures": shift.pictures,
                "most_changed": shift.most_changed(self.labels),
            },
            "expected_accuracy": None if self.accuracy is None else {
                **self.accuracy.report(), "meaning": MEANING,
            },
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        """All of it, to go on from after a restart."""
        parts = self._parts()
        return {"pictures": self.pictures, **{n: part.state() for n, part in parts.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave.

        Raises:
            KeyError, TypeError, ValueError: It is of another file, or damaged. Use another monitor.
        """
        pictures = int(state["pictures"])
        for name, part in self._parts().items():
            part.restore(state[name])
        self.pictures = pictures

    def _parts(self) -> dict[str, Any]:
        parts = {"drift": self.drift, "label_shift": self.label_shift, "accuracy": self.accuracy}
        return {name: part for name, part in parts.items() if part is not None}


def top_and_margin(probabilities: Sequence[float]) -> tuple[int, float]:
    """The position of the greatest number, and how far it is before the next."""
    best = max(probabilities)
    top = probabilities.index(best)
    if len(probabilities) == 1:
        return top, best
    second = max(max(probabilities[:top], default=0.0), max(probabilities[top + 1 :], default=0.0))
    return top, best - second
