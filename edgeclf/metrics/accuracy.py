"""How often a model is right, and how alike two models answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.datasets.photos import Photos
from edgeclf.metrics.statistics import wilson_interval

Probabilities = npt.NDArray[np.float32]


def accuracy_record(probabilities: Probabilities, photos: Photos) -> dict[str, Any]:
    """Top-1 on labelled photos with its interval, as plain JSON types.

    Args:
        probabilities: float32 [N, classes], the answers for `photos` in order.
        photos: What was classified.
    """
    correct = int((probabilities.argmax(axis=1) == photos.targets).sum())
    return {
        "top1": correct / len(photos),
        "top1_interval_95": list(wilson_interval(correct, len(photos))),
        "images": len(photos),
        "data_sha256": photos.sha256,
    }


def agreement_record(source: Probabilities, other: Probabilities) -> dict[str, float]:
    """How alike two models answer the same photos, as plain JSON types.

    Args:
        source: float32 [N, classes].
        other: float32 [N, classes], for the same photos.

    Returns:
        ``top1_agreement``: share of photos with the same top-1; ``max_change`` and
        ``mean_change``: largest and mean absolute difference of a probability.
    """
    change = np.abs(source - other)
    return {
        "top1_agreement": float((source.argmax(axis=1) == other.argmax(axis=1)).mean()),
        "max_change": float(change.max()),
        "mean_change": float(change.mean()),
    }
