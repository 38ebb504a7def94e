"""Percentiles that the sample can carry, and intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MIN_TAIL_SAMPLES = 10  # a percentile needs about this many samples beyond it
_RESAMPLES = 10_000
_Z_95 = 1.959963984540054  # the 97.5 % point of the normal distribution


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of a sample, None where the sample is too small to carry one.

    Attributes:
        n: Number of samples.
        p50: Median, in the samples' unit.
        p90: Ninetieth percentile; needs 100 samples.
        p99: Ninety-ninth percentile; needs 1,000 samples.
    """

    n: int
    p50: float
    p90: float | None
    p99: float | None


def percentiles(samples: Sequence[float]) -> Percentiles:
    """Percentiles with linear interpolation between the two nearest samples.

    Args:
        samples: At least one value.
    """
    n = len(samples)

    def at(percent: int) -> float | None:
        beyond = n * (100 - percent) // 100
        return float(np.percentile(samples, percent)) if beyond >= _MIN_TAIL_SAMPLES else None

    return Percentiles(n, float(np.median(samples)), at(90), at(99))


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share.

    After Wilson, "Probable Inference, the Law of Succession, and Statistical Inference" (1927);
    unlike the normal approximation it stays within 0..1 and is right for shares near 1.

    Args:
        successes: How many of `n`.
        n: At least 1.
    """
    share, z2 = successes / n, _Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_ratio(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """How many times larger one figure is than another, measured together several times.

    The ratio of the medians, with the 95 % interval that resampling the rounds gives (Efron,
    "Bootstrap Methods", 1979); the same for the same figures. A round that was disturbed moves
    the interval, not the ratio.

    Args:
        first: One figure a round, above 0.
        second: The other's of the same rounds.

    Returns:
        (ratio, low end, high end).
    """
    rounds = np.array([first, second], float)
    picks = np.random.default_rng(0).integers(0, len(first), (_RESAMPLES, len(first)))
    above, below = np.median(rounds[:, picks], axis=2)
    low, high = np.percentile(above / below, (2.5, 97.5))
    return float(np.median(first) / np.median(second)), float(low), float(high)
