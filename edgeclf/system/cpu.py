"""How many threads this process may use, and what its processor is."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")

MOST_THREADS = 1024  # of one engine; LiteRT ends the process where the system has no more threads


def is_thread_count(threads: int | None) -> bool:
    """Whether an engine can be asked for so many threads; None leaves it to `available_cpus`."""
    return threads is None or 1 <= threads <= MOST_THREADS


def available_cpus() -> int:
    """CPUs this process may run on: its affinity, and its cgroup's quota where that is less.

    The machine's count is the wrong default in a container: more threads than quota wait for one
    another.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _cgroup_quota()
    return max(1, min(allowed or 1, math.ceil(quota) if quota else allowed or 1))


def _cgroup_quota() -> float | None:
    """The CPU quota of cgroup v2 or v1 in CPUs, or None without one.

    A quota may be set on any group above the process's own, and the smallest one holds. In a
    container the own group looks like the root; in a systemd service it does not.
    """
    quotas = [
        quota
        for folder in _cgroup_folders()
        for quota in (_read_quota(folder), _read_quota_v1(folder))
        if quota is not None
    ]
    return min(quotas, default=None)


def _cgroup_folders() -> list[Path]:
    """The process's groups and all groups above them, of v2 and of v1's cpu controller."""
    folders = {_CGROUP, _CGROUP / "cpu"}
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = _CGROUP if not controllers else _CGROUP / "cpu"
        if not controllers or "cpu" in controllers.split(","):
            own = root / path.lstrip("/")
            folders |= {own, *(above for above in own.parents if above.is_relative_to(root))}
    return sorted(folders)


def _read_quota(folder: Path) -> float | None:
    try:
        limit, period = (folder / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def _read_quota_v1(folder: Path) -> float | None:
    try:
        limit = int((folder / "cpu.cfs_quota_us").read_text())
        return None if limit < 0 else limit / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None


def throttling() -> tuple[int, int, float] | None:
    """What the CPU quota of the process's cgroup, or of one above it, has cost.

    Returns:
        Periods of the quota, those in which it was used up, and the seconds that threads waited for
        the next; of the group that waited longest. None where no group has a quota to speak of.
    """
    found = [each for each in map(_read_throttling, _cgroup_folders()) if each is not None]
    return max(found, key=lambda each: each[2], default=None)


def _read_throttling(folder: Path) -> tuple[int, int, float] | None:
    """Of cgroup v2, in microseconds, or v1, in nanoseconds."""
    try:
        lines = (folder / "cpu.stat").read_text().splitlines()
        entries = {key: int(value) for key, value in map(str.split, lines)}
        seconds = (
            entries["throttled_usec"] / 1e6
            if "throttled_usec" in entries
            else entries["throttled_time"] / 1e9
        )
        return entries["nr_periods"], entries["nr_throttled"], seconds
    except (OSError, ValueError, KeyError):
        return None


def cpu_model() -> str:
    """The processor's name as the kernel gives it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_flags() -> tuple[str, ...]:
    """Those of the processor's features that decide how fast int8 and float arithmetic is."""
    wanted = {"avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8",
              "asimd", "asimddp", "i8mm", "neon"}  # fmt: skip
    flags = (_cpuinfo("flags") or _cpuinfo("Features") or "").split()
    return tuple(sorted(wanted.intersection(flags)))


def _cpuinfo(key: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((v.strip() for k, _, v in (x.partition(":") for x in lines) if k.strip() == key),
                None)  # fmt: skip
