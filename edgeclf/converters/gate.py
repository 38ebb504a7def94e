"""The gate: a converted model is compared with its source before anybody gets it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.measurement.accuracy import Probabilities, agreement_record

DEFAULT_TOLERANCE = 0.01


@dataclass(frozen=True)
class Comparison:
    """Source against artifact on the same evaluation photos.

    Attributes:
        images: How many photos.
        source_top1: The source's accuracy, 0..1.
        artifact_top1: The artifact's accuracy, 0..1.
        top1_agreement: Share of photos on which both answer the same class.
        max_change: Largest absolute change of a probability.
        mean_change: Mean absolute change of a probability.
        per_class: For each label, the accuracy of source and artifact on its photos.
    """

    images: int
    source_top1: float
    artifact_top1: float
    top1_agreement: float
    max_change: float
    mean_change: float
    per_class: dict[str, dict[str, float]]

    @property
    def drop(self) -> float:
        """Accuracy lost, 0..1; negative where the artifact does better."""
        return self.source_top1 - self.artifact_top1

    def passes(self, tolerance: float) -> bool:
        """Whether no more than `tolerance` of top-1 was lost."""
        # One photo more or less is a multiple of 1/n; the margin only absorbs float rounding.
        return self.drop <= tolerance + 1e-9


def compare(
    source: Probabilities,
    artifact: Probabilities,
    targets: npt.NDArray[np.int64],
    labels: Sequence[str],
) -> Comparison:
    """Compares two models' answers to the same labelled photos.

    Args:
        source: float32 [N, classes].
        artifact: float32 [N, classes].
        targets: int64 [N].
        labels: Class names.
    """
    right: dict[str, Any] = {
        "source": source.argmax(axis=1) == targets,
        "artifact": artifact.argmax(axis=1) == targets,
    }
    return Comparison(
        images=len(targets),
        source_top1=float(right["source"].mean()),
        artifact_top1=float(right["artifact"].mean()),
        per_class={
            label: {who: float(hits[targets == index].mean()) for who, hits in right.items()}
            for index, label in enumerate(labels)
            if (targets == index).any()
        },
        **agreement_record(source, artifact),
    )
