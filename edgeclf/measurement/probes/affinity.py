"""Which CPUs a measurement is pinned to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from edgeclf.system.sysfs import SYS, read_int, read_text


def choose_cpus(
    count: int | None, allowed: Iterable[int] | None = None, sys_folder: Path = SYS
) -> tuple[int, ...]:
    """As many CPUs as a measurement has threads, each a core of its own where there are enough.

    The fastest cores come first where they differ, then one hardware thread of each core, then
    high numbers: CPU 0 serves most of the machine's interrupts.

    Args:
        count: How many; None for all.
        allowed: CPUs to choose from; by default those this process may run on.
        sys_folder: Where sysfs is mounted.

    Returns:
        Numbers of CPUs, ascending; all that are allowed if there are no more than `count`.
    """
    cpus = sorted(os.sched_getaffinity(0) if allowed is None else allowed)
    if count is None or count >= len(cpus):
        return tuple(cpus)

    def rank(cpu: int) -> tuple[int, int, int]:
        folder = sys_folder / "devices/system/cpu" / f"cpu{cpu}"
        capacity = read_int(folder / "cpu_capacity") or 0
        siblings = read_text(folder / "topology/thread_siblings_list")
        place = _numbers(siblings).index(cpu) if siblings else 0
        return -capacity, place, -cpu

    return tuple(sorted(sorted(cpus, key=rank)[:count]))


def _numbers(text: str) -> list[int]:
    """``0-2,5`` as numbers."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
