"""Lines to a file from a thread of its own, which never keeps anybody waiting."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import Full, Queue
from typing import IO, Any

from edgeclf.system.progress import log

_MOST_WAITING = 10_000
_TOGETHER = 256


class LineFile:
    """A file that lines are added to; one that was moved away is begun anew.

    What cannot be written, for a full disk or for want of time, is lost and counted.

    Args:
        path: Of the file; ``-`` for standard output.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.lost = 0  # of a thread each: what had no room is counted apart
        self._no_room = 0
        self._path = path
        self._file: IO[bytes] | None = self._opened()
        self._lines: Queue[bytes | None] = Queue(_MOST_WAITING)
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="edgeclf-log", daemon=True)
        self._thread.start()

    @property
    def lost_lines(self) -> int:
        """How many were lost so far."""
        return self.lost + self._no_room

    def add(self, line: bytes) -> None:
        """Takes a line, without its end; returns at once."""
        try:
            self._lines.put_nowait(line)
        except Full:
            self._no_room += 1

    def close(self) -> None:
        """Writes what is left, if that goes within a few seconds."""
        with suppress(Full):
            self._lines.put(None, timeout=1)
        self._thread.join(3)

    def _run(self) -> None:
        end = False
        while not end:
            lines: list[bytes] = []
            line = self._lines.get()
            while True:
                if line is None:
                    end = True
                    break
                lines.append(line)
                if len(lines) == _TOGETHER or self._lines.empty():
                    break
                line = self._lines.get()
            if lines:
                self._write(lines)
        if self._file is not None and self._path != "-":
            with suppress(OSError):
                self._file.close()

    def _write(self, lines: list[bytes]) -> None:
        content = memoryview(b"\n".join([*lines, b""]))
        try:
            if self._file is None or self._moved():
                self._file = self._opened()
            while content:  # a disk that becomes full takes a part
                content = content[self._file.write(content) :]
        except (OSError, ValueError) as exc:
            self.lost += bytes(content).count(b"\n")
            if not self._failing:
                log(f"edgeclf: lines of {self._path} are lost, and counted: {exc}")
            self._failing = True
        else:
            self._failing = False

    def _opened(self) -> IO[Any]:
        if self._path == "-":
            return open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)
        return open(self._path, "ab", buffering=0)

    def _moved(self) -> bool:
        if self._path == "-" or self._file is None:
            return False
        try:
            found, own = Path(self._path).stat(), os.fstat(self._file.fileno())
        except FileNotFoundError:
            found = None
        if found is not None and (found.st_ino, found.st_dev) == (own.st_ino, own.st_dev):
            return False
        self._file.close()
        return True
