"""Whether a time was taken on a busy machine: how many CPUs the others left."""

from __future__ import annotations

import os
import time
from pathlib import Path

_ENOUGH = 0.9  # of a CPU for each thread
Moment = tuple[float, float]


def cpu_clock() -> Moment | None:
    """(wall clock, CPU time that was this process's or nobody's) in seconds; None beside Linux."""
    try:
        fields = Path("/proc/stat").read_text().split(maxsplit=6)
    except OSError:
        return None
    idle = (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")  # and waiting for disks
    return time.monotonic(), idle + sum(os.times()[:2])


def cpus_left(before: Moment | None, after: Moment | None) -> float | None:
    """How many CPUs were this process's or nobody's between two moments; None if not known."""
    if before is None or after is None:
        return None
    return (after[1] - before[1]) / (after[0] - before[0])


def was_busy(left: float | None, threads: int) -> bool:
    """Whether others took CPUs that as many threads would have used."""
    return left is not None and left < _ENOUGH * threads
