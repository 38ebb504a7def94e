"""Giving memory back that is free, and that the C library would keep for later."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from functools import cache
from typing import Any


def give_back() -> None:
    """Returns freed memory to the system, where it is glibc that keeps it."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    with contextlib.suppress(AttributeError):  # another C library
        return ctypes.CDLL(None).malloc_trim
    return None
