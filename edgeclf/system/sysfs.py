"""Reading what the kernel says about the machine, one value a file."""

from __future__ import annotations

from pathlib import Path

SYS = Path("/sys")


def read_text(file: Path) -> str | None:
    """A file's text without blanks around it; None where it cannot be read."""
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def read_int(file: Path) -> int | None:
    """A file's whole number; None where it cannot be read or holds something else."""
    try:
        return int(read_text(file) or "")
    except ValueError:
        return None
