"""How many threads this process may use, and what its processor is."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """CPUs this process may run on: its affinity, and its cgroup's quota where that is less.

    The machine's count is the wrong default in a container: more threads than quota wait for one
    another.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _cgroup_quota()
    return max(1, min(allowed or 1, math.ceil(quota) if quota else allowed or 1))


def _cgroup_quota() -> float | None:
    """The CPU quota of cgroup v2 or v1 in CPUs, or None without one."""
    try:
        limit, period = (_CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (_CGROUP / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (_CGROUP / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if limit in ("max", "-1"):
        return None
    return int(limit) / int(period)


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
