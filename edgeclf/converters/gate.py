"""The gate: a converted model is compared with its source before anybody gets it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.metrics.accuracy import Probabilities, agreement_record

GENERATED_CHANGE = 0.02  # of a probability
_SHOWN_CHANGES = 100


@dataclass(frozen=True)
class AnswerComparison:
    """Source against artifact on the same images.

    Attributes:
        images: How many.
        source_top1: The source's accuracy, 0..1; None without labels.
        artifact_top1: The artifact's accuracy, 0..1; None without labels.
        top1_agreement: Share of images on which both answer the same class.
        max_change: Largest absolute change of a probability.
        mean_change: Mean absolute change of a probability.
        per_class: For each label that has images, the accuracy of source and artifact on them.
    """

    images: int
    source_top1: float | None
    artifact_top1: float | None
    top1_agreement: float
    max_change: float
    mean_change: float
    per_class: dict[str, dict[str, float]]

    @property
    def drop(self) -> float | None:
        """Accuracy lost, 0..1; negative where the artifact does better, None without labels."""
        if self.source_top1 is None or self.artifact_top1 is None:
            return None
        return self.source_top1 - self.artifact_top1

    def passes(self, tolerance: float, kind: str = "labelled") -> bool:
        """Whether the artifact answers closely enough like its source.

        Labelled photos: no more than `tolerance` of top-1 was lost. Unlabelled: no more than that
        share of the answers changed, which bounds the loss. Generated pictures have no right
        answer and often lie near a tie, so there the probabilities themselves are compared.

        Args:
            tolerance: 0..1, 0.01 being one point.
            kind: Of the evaluation.
        """
        if kind == "generated":
            return self.max_change <= GENERATED_CHANGE
        lost = 1 - self.top1_agreement if self.drop is None else self.drop
        # One photo more or less is a multiple of 1/n; the margin only absorbs float rounding.
        return lost <= tolerance + 1e-9

    def verdict(self, kind: str = "labelled") -> str:
        """What was lost, in words."""
        if kind == "generated":
            return f"moves a probability by {self.max_change:.3f} on generated pictures"
        if self.drop is None:
            return f"changes the answer on {1 - self.top1_agreement:.1%} of the images"
        return f"loses {self.drop:.1%} of top-1"


def remedy(kind: str, tolerance: float) -> tuple[str, str]:
    """How much may be lost on images of a kind, and what to do where it is more, in words."""
    if kind == "generated":
        return f"{GENERATED_CHANGE}", "give photos by --evaluation, on which answers are compared"
    return f"{tolerance:.1%}", "take other calibration photos, or allow more with --tolerance"


def compare(
    source: Probabilities,
    artifact: Probabilities,
    targets: npt.NDArray[np.int64] | None,
    labels: Sequence[str],
) -> AnswerComparison:
    """Compares two models' answers to the same images.

    Args:
        source: float32 [N, classes].
        artifact: float32 [N, classes].
        targets: int64 [N]; None without labels.
        labels: Class names.
    """
    alike = agreement_record(source, artifact)
    if targets is None:
        return AnswerComparison(len(source), None, None, per_class={}, **alike)
    right: dict[str, Any] = {
        "source": source.argmax(axis=1) == targets,
        "artifact": artifact.argmax(axis=1) == targets,
    }
    return AnswerComparison(
        images=len(targets),
        source_top1=float(right["source"].mean()),
        artifact_top1=float(right["artifact"].mean()),
        per_class={
            label: {who: float(hits[targets == index].mean()) for who, hits in right.items()}
            for index, label in enumerate(labels)
            if (targets == index).any()
        },
        **alike,
    )


def answer_changes(
    source: Probabilities,
    artifact: Probabilities,
    targets: npt.NDArray[np.int64] | None,
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """Which answers became which others, most frequent first, as plain JSON types."""
    before, after = source.argmax(axis=1), artifact.argmax(axis=1)
    counts = Counter(
        (None if targets is None else int(targets[i]), int(before[i]), int(after[i]))
        for i in np.flatnonzero(before != after)
    )
    return [
        {
            "truth": None if truth is None else labels[truth],
            "source": labels[was],
            "artifact": labels[is_now],
            "images": count,
        }
        for (truth, was, is_now), count in counts.most_common(_SHOWN_CHANGES)
    ]
