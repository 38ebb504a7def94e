"""How much memory the process holds, and which version may go."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from edgeclf.errors import OptionError
from edgeclf.service.catalog import Version

_STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    """Resident memory of this process, bytes.

    Raises:
        OptionError: The system does not say.
    """
    try:
        text = _STATUS.read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError) as exc:
        raise OptionError(
            f"A limit of memory needs Linux's {_STATUS}, which says how much this process holds. "
            "Leave --memory-mb out."
        ) from exc


def least_used(versions: Iterable[Version], kept: Collection[Version]) -> Version | None:
    """The version that was not asked for longest, among those that may be unloaded.

    Args:
        versions: All of them; pinned ones, those that are being asked, those that are not loaded
            and those that could not be read again stay.
        kept: Stay as well: what was just loaded, and what is being tried.
    """
    idle = [
        v for v in versions
        if v.state == "ready" and v not in kept and not v.pinned and not v.in_flight
        and not v.leaving and v.artifact.path is not None
    ]  # fmt: skip
    return min(idle, key=lambda v: v.used_at, default=None)
