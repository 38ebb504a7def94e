"""Percentiles that the sample can carry, and intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeclf.errors import MeasurementError

MIN_ROUNDS = 6  # of fewer, even the smallest and the largest ratio are no 95 % interval

_MIN_TAIL_SAMPLES = 10  # a percentile needs about this many samples beyond it
_RESAMPLES = 10_000
_Z_95 = 1.959963984540054  # the 97.5 % point of the normal distribution

# The 97.5 % points of Student's t for 1 to 30 degrees of freedom.
_T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


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

    The logarithms of the rounds' ratios are averaged two by two, each also with itself; the
    estimate is the median of these averages (Hodges and Lehmann, "Estimates of Location Based on
    Rank Tests", 1963), and the 95 % interval leaves out as many at each end as Wilcoxon's signed
    rank test allows ("Individual Comparisons by Ranking Methods", 1945). It is exact as long as,
    between equals, a round favours the one as often and as far as the other; how the noise is
    distributed otherwise does not matter, and what both of a round share is none.

    Resampling the rounds (bootstrap) finds differences between equals in 6 of 100 comparisons of
    seven rounds, and with sixteen misses a third of the slowdowns of 10 % on a machine whose speed
    wanders; see benchmarks/method_soundness.py.

    Args:
        first: One figure a round, above 0; at least `MIN_ROUNDS`.
        second: The other's of the same rounds.

    Returns:
        (ratio, low end, high end).

    Raises:
        MeasurementError: Too few rounds.
    """
    logs = np.log(np.asarray(first, float) / np.asarray(second, float))
    if len(logs) < MIN_ROUNDS:
        raise MeasurementError(
            f"{len(logs)} rounds carry no 95 % interval; measure at least {MIN_ROUNDS}."
        )
    one, other = np.triu_indices(len(logs))
    averages = np.sort((logs[one] + logs[other]) / 2)
    beyond = _signed_rank_limit(len(logs))
    low, middle, high = np.exp([averages[beyond], np.median(averages), averages[-1 - beyond]])
    return float(middle), float(low), float(high)


def _signed_rank_limit(n: int) -> int:
    """The largest sum of the ranks 1..n, each counted or not by a fair coin, within its 2.5 %."""
    chances = np.zeros(n * (n + 1) // 2 + 1)
    chances[0] = 1.0
    for rank in range(1, n + 1):
        counted = np.zeros_like(chances)
        counted[rank:] = chances[:-rank]
        chances = (chances + counted) / 2
    return int((chances.cumsum() <= 0.025).sum()) - 1


def paired_t_interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean of differences that were measured in pairs.

    mean -+ t s / sqrt(n), with s the standard deviation of the sample (n - 1) and t the 97.5 %
    point of Student's distribution with n - 1 degrees of freedom. After Student, "The Probable
    Error of a Mean" (1908). Beyond 30 degrees t is the expansion of Abramowitz and Stegun,
    "Handbook of Mathematical Functions" (1964), 26.7.5.

    Args:
        differences: At least two, for example one a seed.
    """
    n = len(differences)
    half = _t_95(n - 1) * float(np.std(differences, ddof=1)) / math.sqrt(n)
    mean = float(np.mean(differences))
    return mean - half, mean + half


def _t_95(degrees: int) -> float:
    if degrees <= len(_T_95):
        return _T_95[degrees - 1]
    z = _Z_95
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean that resampling gives, the same for the same values.

    After Efron, "Bootstrap Methods" (1979): the 2.5 % and 97.5 % points of the means of 10,000
    samples drawn with replacement.

    Args:
        values: At least one, for example one a photo.
    """
    sample = np.asarray(values, float)
    rng = np.random.default_rng(0)
    # One at a time: at once, they would need 10,000 times the sample's memory.
    means = [sample[rng.integers(0, len(sample), len(sample))].mean() for _ in range(_RESAMPLES)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
