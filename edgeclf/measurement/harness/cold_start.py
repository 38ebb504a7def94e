"""The time from the start of a process to its first answer, with and without warm files."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

from edgeclf.measurement.harness.process import measure
from edgeclf.measurement.jobs.start import StartJob
from edgeclf.measurement.probes.page_cache import drop_from_page_cache

_STILL_WARM = 0.5  # with less of the bytes dropped, a start is not called cold


@dataclass(frozen=True)
class ColdStart:
    """Medians of a few starts.

    Attributes:
        warm_ms: With the files it reads in the page cache.
        dropped_ms: With the files dropped from the page cache before each start; None if that
            was not measured.
        dropped_reason: Why not; None if it was.
        dropped_share: Share of the files' bytes that was really dropped, 0..1; None if unknown.
        dropped_files: How many files that were.
        n: Starts of each kind.
    """

    warm_ms: float
    dropped_ms: float | None
    dropped_reason: str | None
    dropped_share: float | None
    dropped_files: int | None
    n: int


def measure_cold_start(job: StartJob, runs: int) -> ColdStart:
    """Starts a process again and again; the first start only warms the files and does not count.

    Dropped are the model, the libraries the process maps and the Python files it imports, by
    ``posix_fadvise``. Nothing else on the machine loses its cache, and no rights are needed.

    Args:
        job: What is started; each time in a fresh process.
        runs: Starts of each kind.

    Raises:
        MeasurementError: A start failed.
    """
    used = measure(replace(job, list_files=True)).files

    def start_ms() -> float:
        return measure(job).start_ms

    warm_ms = statistics.median(start_ms() for _ in range(runs))
    times_ms, shares, files = [], [], 0
    for _ in range(runs):
        try:
            dropped = drop_from_page_cache(used)
        except OSError as exc:
            return _not_dropped(warm_ms, runs, f"the page cache cannot be dropped: {exc}")
        if dropped.share is not None:
            shares.append(dropped.share)
            if dropped.share < _STILL_WARM:
                stays = f"{(1 - dropped.share) * 100:.0f} % of the files' bytes stay in memory"
                why = "their file system keeps them there, or other processes use them"
                return _not_dropped(warm_ms, runs, f"{stays}: {why}")
        files = dropped.files
        times_ms.append(start_ms())
    share = min(shares, default=None)
    return ColdStart(warm_ms, statistics.median(times_ms), None, share, files, runs)


def _not_dropped(warm_ms: float, runs: int, reason: str) -> ColdStart:
    return ColdStart(warm_ms, None, reason, None, None, runs)
