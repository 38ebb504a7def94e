"""How long to sample: in windows, until the last three of them agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_WINDOWS = 3
_SPREAD = 1.1
_WARMUP_CALLS = 10
_WARMUP_S = 0.2  # for processors that take a while to reach their frequency


@dataclass(frozen=True)
class Sampling:
    """When a row has samples enough.

    Sampling ends as soon as there are `min_samples` and the row is stable (see `is_stable`). A row
    that does not become stable goes on for `patience_s`; one that is too slow for `min_samples`
    ends after `max_s` with fewer.

    Attributes:
        window_s: The length of a window, in seconds; a window holds at least one sample.
        min_samples: Samples that a figure needs.
        patience_s: How long to wait for stability, in seconds.
        max_s: How long at most, in seconds.
    """

    window_s: float
    min_samples: int
    patience_s: float
    max_s: float


PUBLISHED = Sampling(window_s=1.0, min_samples=1024, patience_s=20.0, max_s=60.0)
QUICK = Sampling(window_s=0.25, min_samples=128, patience_s=1.5, max_s=4.0)


@dataclass(frozen=True)
class Samples:
    """What sampling gave.

    Attributes:
        values: What every call returned, in order.
        windows_p50: The median of the last value of each window's calls.
        stable: Whether the last windows agree.
    """

    values: tuple[Sequence[float], ...]
    windows_p50: tuple[float, ...]
    stable: bool


def is_stable(windows_p50: Sequence[float]) -> bool:
    """Whether the medians of the last three windows lie within 10 % of each other."""
    last = windows_p50[-_WINDOWS:]
    return len(last) == _WINDOWS and max(last) <= _SPREAD * min(last)


def warm_up(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> int:
    """Calls ten times and for at least 0.2 s; returns how often it was."""
    end, calls = clock() + _WARMUP_S, 0
    while calls < _WARMUP_CALLS or clock() < end:
        call()
        calls += 1
    return calls


def sample(
    call: Callable[[], Sequence[float]],
    sampling: Sampling,
    *,
    after_window: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Samples:
    """Calls again and again, one call after the other.

    Args:
        call: Measures once; the last value it returns is the one whose medians must agree.
        sampling: When it is enough.
        after_window: Done between two windows, outside of every sample.
        clock: Gives seconds.
    """
    import statistics  # half a megabyte that the memory of a row would be charged with

    values: list[Sequence[float]] = []
    medians: list[float] = []
    start = clock()
    while True:
        first, end = len(values), clock() + sampling.window_s
        while len(values) == first or clock() < end:
            values.append(call())
        medians.append(statistics.median(value[-1] for value in values[first:]))
        after_window()
        elapsed_s, stable = clock() - start, is_stable(medians)
        enough = len(values) >= sampling.min_samples and (
            stable or elapsed_s >= sampling.patience_s
        )
        if enough or elapsed_s >= sampling.max_s:
            return Samples(tuple(values), tuple(medians), stable)
