"""Which files a process uses, and how to make the kernel forget what it holds of them."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_PATH_FIELD = 5  # of a line in maps; the path may hold blanks


@dataclass(frozen=True)
class Dropped:
    """What became of files in the page cache.

    Attributes:
        files: How many files were dropped.
        share: Share of their bytes that is no longer in memory, 0..1; what another process has
            mapped stays. None where the kernel does not tell, as of files of another user.
    """

    files: int
    share: float | None


def files_in_use() -> list[str]:
    """Files this process has mapped or imported: libraries, Python's modules, the interpreter."""
    mapped = {
        fields[_PATH_FIELD]
        for line in _MAPS.read_text().splitlines()
        if len(fields := line.split(maxsplit=_PATH_FIELD)) > _PATH_FIELD
    }
    modules = list(sys.modules.values())
    imported = {getattr(m, name, None) for m in modules for name in ("__file__", "__cached__")}
    found = {path for path in mapped | imported if isinstance(path, str)}
    return sorted(path for path in found if path.startswith("/") and Path(path).is_file())


def drop_from_page_cache(paths: Iterable[str | Path]) -> Dropped:
    """Drops files from the page cache by ``posix_fadvise``, which needs no rights but to read.

    Files that are gone or unreadable are passed over.

    Raises:
        OSError: The kernel refuses, or none of the files can be read.
    """
    files = total = resident = 0
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            os.fdatasync(descriptor)  # what is not written yet would stay
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            files += 1
            if os.access(path, os.W_OK):  # of others' files the kernel does not tell
                total += os.fstat(descriptor).st_size
                resident += _resident_bytes(descriptor)
        finally:
            os.close(descriptor)
    if not files:
        raise OSError("none of the files can be read")
    return Dropped(files, 1 - resident / total if total else None)


def _resident_bytes(descriptor: int) -> int:
    """Bytes of an open file that are in memory, by ``mincore``."""
    size = os.fstat(descriptor).st_size
    if size == 0:
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    # A private mapping may be written, which ctypes insists on; nothing is.
    with mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE,
                   prot=mmap.PROT_READ | mmap.PROT_WRITE) as view:  # fmt: skip
        pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        block = ctypes.c_char.from_buffer(view)
        try:
            failed = libc.mincore(ctypes.byref(block), ctypes.c_size_t(size), pages)
        finally:
            del block  # the view cannot be closed before
    if failed:
        raise OSError(ctypes.get_errno(), "mincore failed")
    return min(size, sum(page & 1 for page in bytes(pages)) * mmap.PAGESIZE)
