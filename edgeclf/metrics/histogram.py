"""A distribution in few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_BINS = 40


@dataclass(frozen=True)
class Histogram:
    """How many samples lie between edges.

    Attributes:
        edges: Ascending, one more than `counts`; each bin is as many times wider than the one
            before, so that a long tail stays visible.
        counts: Samples of each bin; the last bin includes its upper edge.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


def histogram(samples: Sequence[float]) -> Histogram:
    """Counts samples in 40 bins of equal width on a logarithmic scale.

    Args:
        samples: At least one value, all above 0.
    """
    low, high = min(samples), max(samples)
    if low == high:
        return Histogram((low, high), (len(samples),))
    edges = np.geomspace(low, high, _BINS + 1)
    edges[0], edges[-1] = low, high  # rounding must not leave the extremes out
    counts, _ = np.histogram(samples, edges)
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))
