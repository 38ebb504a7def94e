"""Memory on NVIDIA cards, as their driver counts it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_DRIVER = Path("/dev/nvidiactl")
_TIMEOUT_S = 20
_MIB = 2**20


@dataclass(frozen=True)
class GpuMemory:
    """Memory in use on all cards together.

    Attributes:
        total_bytes: By whomever.
        own_bytes: By this process; None where the driver does not list it, as in a container.
    """

    total_bytes: int
    own_bytes: int | None


def gpu_memory() -> GpuMemory | None:
    """Asks ``nvidia-smi``; None without a card, its driver or that program."""
    if not _DRIVER.exists():
        return None
    import subprocess  # only here: it would count as memory of a process that needs no card

    def ask(query: str) -> list[list[str]]:
        done = subprocess.run(
            ["nvidia-smi", f"--query-{query}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=True,
        )  # fmt: skip
        return [[word.strip() for word in line.split(",")] for line in done.stdout.splitlines()]

    try:
        total = sum(int(used) for (used,) in ask("gpu=memory.used"))
        own = [
            int(used)
            for pid, used in ask("compute-apps=pid,used_memory")
            if pid == str(os.getpid()) and used.isdigit()
        ]
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return GpuMemory(total * _MIB, sum(own) * _MIB if own else None)


def gpu_bytes(before: GpuMemory | None, after: GpuMemory | None) -> int | None:
    """What this process came to use between two looks: its own count, else the cards' increase."""
    if before is None or after is None:
        return None
    if after.own_bytes is not None:
        return after.own_bytes
    return max(0, after.total_bytes - before.total_bytes)
