"""How pictures and answers were distributed when a file was calibrated, to notice a change by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.image import UInt8Array
from edgeclf.inference.confidence import Floats

_BINS = 20
# Least and greatest edge; what lies beyond is counted in the first or the last bin.
RANGES = {
    "confidence": (0.0, 1.0), "margin": (0.0, 1.0), "novelty": (0.0, 2.0),
    "brightness": (0.0, 255.0), "contrast": (0.0, 128.0), "sharpness": (0.0, 64.0),
}  # fmt: skip
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def picture_statistics(images: UInt8Array) -> dict[str, Floats]:
    """Brightness, contrast and sharpness of pictures as the model sees them, each float32 [N].

    Mean and standard deviation of the luma, 0..255, and the mean size of its Laplacian.

    Args:
        images: uint8 [N, H, W, 3].
    """
    luma = images @ _LUMA
    bends = 4 * luma[:, 1:-1, 1:-1]
    bends = bends - luma[:, :-2, 1:-1] - luma[:, 2:, 1:-1] - luma[:, 1:-1, :-2] - luma[:, 1:-1, 2:]
    return {
        "brightness": luma.mean(axis=(1, 2)),
        "contrast": luma.std(axis=(1, 2)),
        "sharpness": np.abs(bends).mean(axis=(1, 2)) if bends.size else np.zeros(len(luma)),
    }


def margins(probabilities: Floats) -> Floats:
    """How far the first class is before the second, [N]."""
    ordered = np.sort(probabilities, axis=1)
    margin: Floats = ordered[:, -1] - ordered[:, -2]
    return margin


def histograms(
    values: Mapping[str, Floats], answers: npt.NDArray[np.integer], classes: int
) -> dict[str, Any]:
    """Counts of each value in 20 bins of equal width, and of each answered class.

    Args:
        values: By their names in `RANGES`, [N] each.
        answers: [N], the top classes.
        classes: How many there are.
    """
    record: dict[str, Any] = {"top1": np.bincount(answers, minlength=classes).tolist()}
    for name, numbers in values.items():
        low, high = RANGES[name]
        counts, _ = np.histogram(np.clip(numbers, low, high), _BINS, (low, high))
        record[name] = {"low": low, "high": high, "counts": counts.tolist()}
    return record
