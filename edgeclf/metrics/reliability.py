"""How far stated confidences can be believed, and how well a score tells two groups apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.metrics.statistics import wilson_interval

_BINS = 15
_RESAMPLES = 1_000

Numbers = Sequence[float] | npt.NDArray[Any]


def reliability_bins(confidences: Numbers, correct: Numbers) -> list[dict[str, Any]]:
    """The bins of a reliability diagram, 15 of equal width, without the empty ones.

    Args:
        confidences: [N], 0..1.
        correct: [N], whether the answer was right.

    Returns:
        ``low``, ``high``, ``photos``, mean ``confidence``, ``accuracy`` and its ``interval_95``.
    """
    stated, right = np.asarray(confidences, float), np.asarray(correct, bool)
    place = _bin_of(stated)
    bins = []
    for index in np.unique(place).tolist():
        members = place == index
        hits, count = int(right[members].sum()), int(members.sum())
        bins.append({
            "low": index / _BINS, "high": (index + 1) / _BINS, "photos": count,
            "confidence": float(stated[members].mean()), "accuracy": hits / count,
            "interval_95": list(wilson_interval(hits, count)),
        })  # fmt: skip
    return bins


def calibration_error(confidences: Numbers, correct: Numbers) -> float:
    """The expected calibration error over 15 bins of equal width.

    The mean distance of a bin's accuracy from its mean confidence, weighted by its photos (Guo et
    al., "On Calibration of Modern Neural Networks", 2017). With few photos it is above 0 even for
    a perfect forecaster.

    Args:
        confidences: [N], 0..1.
        correct: [N], whether the answer was right.
    """
    stated, right = np.asarray(confidences, float), np.asarray(correct, float)
    gaps = np.bincount(_bin_of(stated), right - stated, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(stated))


def calibration_error_interval(confidences: Numbers, correct: Numbers) -> tuple[float, float]:
    """The 2.5 % and 97.5 % points of `calibration_error` over 1,000 resamples; always the same."""
    stated, right = np.asarray(confidences, float), np.asarray(correct, float)
    draws = np.random.default_rng(0).integers(0, len(stated), (_RESAMPLES, len(stated)))
    low, high = np.percentile([calibration_error(stated[d], right[d]) for d in draws], (2.5, 97.5))
    return float(low), float(high)


def risk_at_coverage(confidences: Numbers, correct: Numbers) -> list[tuple[float, float, float]]:
    """Share of wrong answers among the surest ones.

    Args:
        confidences: [N], 0..1.
        correct: [N], whether the answer was right.

    Returns:
        Share that is answered, share wrong of it, and the least confidence in it.
    """
    stated = np.asarray(confidences, float)
    order = np.argsort(-stated, kind="stable")
    wrong = (~np.asarray(correct, bool))[order].cumsum()
    counts = np.unique(np.linspace(1, len(order), 20).round().astype(int))
    return [
        (n / len(order), int(wrong[n - 1]) / n, float(stated[order[n - 1]]))
        for n in counts.tolist()
    ]


def auroc(known: Numbers, unknown: Numbers) -> float:
    """The chance that an unknown one scores above a known one; equal scores count half.

    Args:
        known: Scores of what should be low.
        unknown: Scores of what should be high.
    """
    ordered = np.sort(np.asarray(known, float))
    below = np.searchsorted(ordered, unknown, "left") + np.searchsorted(ordered, unknown, "right")
    return float(below.mean() / 2 / len(ordered))


def _bin_of(confidences: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    return np.minimum((confidences * _BINS).astype(np.intp), _BINS - 1)
