"""Keeps the advice that an engine prints off the user's terminal, and its complaints for an error.

LiteRT and TensorFlow write some lines with no setting to stop them: LiteRT when it makes its first
XNNPACK delegate (its logger has no interface in Python), TensorFlow while its libraries are loaded,
before it looks at ``TF_CPP_MIN_LOG_LEVEL``. They go to file descriptor 2 itself, past `sys.stderr`,
so that is where they are caught: until the import or the first model has brought them, as each
comes once a process.

The descriptor belongs to the whole process. One caller at a time has it, and what other threads
write meanwhile is passed on as soon as the block ends: late, and not lost, unless the engine ends
the process in the block. A child of `edgeclf.system.child_process` is left as it is; its parent
keeps what it prints.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from edgeclf.errors import EdgeclfError
from edgeclf.system.child import PIPES

_STDERR = 2
_MOST_BYTES = 2**20  # of what is passed on, or goes into an error
_ADVICE = re.compile(
    r"INFO: "  # LiteRT
    r"|I\d{4} \d\d:\d\d:\d"  # TensorFlow
    r"|\[\d{4}-[-\d :,]+ I \d+ \d+\] logging\.cc"  # Ray
    r"|WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR$"
)
_OWNER = threading.RLock()
_heard: set[str] = set()


class _Printed:
    """What was written to standard error in a block.

    Attributes:
        advised: Whether there was advice among it; also where nobody reads it.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._taken = 0
        self.advised = descriptor is None

    def take(self) -> str:
        """What is no advice of all that is new, on one line, for an error; it is not passed on."""
        return " | ".join(line.strip() for line in self._lines().splitlines() if line.strip())

    def _lines(self) -> str:
        if self._descriptor is None:
            return ""
        content = os.pread(self._descriptor, _MOST_BYTES, self._taken)
        self._taken += len(content)
        lines = content.decode(errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if not _ADVICE.match(line)]
        self.advised |= len(kept) < len(lines)
        return "".join(kept)

    def pass_on(self) -> None:
        """Writes what is no advice and was not taken where it was meant to go."""
        if rest := self._lines():
            with contextlib.suppress(OSError):
                os.write(_STDERR, rest.encode())


@contextlib.contextmanager
def first_words_of(engine: str) -> Iterator[None]:
    """Holds back the advice that an engine prints in this block, until one has brought some.

    Args:
        engine: What prints it once.

    Raises:
        RuntimeError: The engine failed, and said more on standard error than in its exception.
    """
    if engine in _heard or PIPES in os.environ:
        yield
        return
    with _OWNER:
        with _captured() as printed:
            try:
                yield
            except (EdgeclfError, ImportError):
                raise
            except Exception as exc:  # whatever an engine raises; with nothing said, it stays
                if said := printed.take():
                    raise RuntimeError(f"{exc} {said}".strip()) from exc
                raise
        if printed.advised:
            _heard.add(engine)


@contextlib.contextmanager
def _captured() -> Iterator[_Printed]:
    try:
        terminal = os.dup(_STDERR)
        memory = _temporary_file()
    except OSError:  # standard error is closed, so that nobody reads it
        yield _Printed(None)
        return
    printed = _Printed(memory)
    _flush()
    os.dup2(memory, _STDERR)
    try:
        yield printed
    finally:
        _flush()
        os.dup2(terminal, _STDERR)
        os.close(terminal)
        printed.pass_on()
        os.close(memory)


def _temporary_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("edgeclf-stderr")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _flush() -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, or none
        sys.stderr.flush()


def import_quietly(module: str) -> ModuleType:
    """Imports a module without the advice that its libraries print while they are loaded.

    A user who wants TensorFlow's log, and has set ``TF_CPP_MIN_LOG_LEVEL`` below 2, gets it.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3") in ("0", "1"):
        return import_module(module)
    with first_words_of(f"import {module}"):
        return import_module(module)
