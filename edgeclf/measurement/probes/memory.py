"""What a process occupies, as the kernel counts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeclf.errors import MeasurementError

_PROC = Path("/proc/self")


@dataclass(frozen=True)
class MemoryUse:
    """Memory of this process at one moment, in bytes.

    Attributes:
        pss_bytes: Proportional set size: shared pages divided among those who share them.
        uss_bytes: Unique set size: what ending the process would free.
        rss_bytes: Resident set size: everything mapped and present.
    """

    pss_bytes: int
    uss_bytes: int
    rss_bytes: int


def memory_use() -> MemoryUse:
    """Reads ``smaps_rollup``, the kernel's own sum over all mappings.

    Raises:
        MeasurementError: The kernel does not offer it (before Linux 4.14, or not Linux).
    """
    try:
        fields = _kilobytes((_PROC / "smaps_rollup").read_text())
    except OSError as exc:
        raise MeasurementError(
            f"Memory cannot be measured here: {_PROC / 'smaps_rollup'} ({exc.strerror}). "
            "It needs Linux 4.14 or later."
        ) from exc
    return MemoryUse(
        pss_bytes=fields["Pss"] * 1024,
        uss_bytes=(fields["Private_Clean"] + fields["Private_Dirty"]) * 1024,
        rss_bytes=fields["Rss"] * 1024,
    )


def peak_rss_bytes() -> int:
    """The largest resident set this process ever had.

    Read as ``VmHWM``: ``getrusage().ru_maxrss`` would carry over the peak of the parent that
    forked this process.
    """
    return _kilobytes((_PROC / "status").read_text())["VmHWM"] * 1024


def _kilobytes(text: str) -> dict[str, int]:
    """The ``Key:  123 kB`` lines of a proc file."""
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB":
            found[key] = int(words[0])
    return found
