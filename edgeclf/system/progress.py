"""One line that tells how far long work is, on a terminal and in a log file alike."""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from edgeclf.system.words import printable

T = TypeVar("T")

_BAR_WIDTH = 24
_TERMINAL_INTERVAL_S = 0.1
_LOG_INTERVAL_S = 10.0


class Progress:
    """A bar on stderr: redrawn in place on a terminal, a fresh line every 10 s in a log.

    Args:
        title: What is going on, for example ``decode photos``.
        total: Number of steps.
        stream: Where to write; stderr by default, so that stdout stays for results. A stream that
            is not there or fails ends no work.
    """

    def __init__(self, title: str, total: int, stream: TextIO | None = None) -> None:
        self._title, self._total = printable(title), max(total, 1)
        self._stream = stream or sys.stderr
        self._terminal = self._stream is not None and self._stream.isatty()
        self._block = "█" if _has(self._stream, "█") else "#"
        self._start = self._last = time.monotonic()
        self._done = 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Counts finished steps and, now and then, redraws.

        Args:
            steps: How many more are done.
            note: A short remark shown behind the bar, for example the loss.
        """
        self._done += steps
        now = time.monotonic()
        interval = _TERMINAL_INTERVAL_S if self._terminal else _LOG_INTERVAL_S
        if self._done < self._total and now - self._last < interval:
            return
        self._last = now
        self._draw(now - self._start, note)

    def close(self) -> None:
        """Ends the line of a bar that will not become full."""
        if self._terminal and self._done < self._total:
            _write(self._stream, "\n")

    def show(self, note: str = "") -> None:
        """Draws at once what is done so far, before a step that takes long.

        Args:
            note: As for `advance`.
        """
        self._last = time.monotonic()
        self._draw(self._last - self._start, note)

    def _draw(self, elapsed_s: float, note: str) -> None:
        share = min(self._done / self._total, 1.0)
        bar = self._block * int(share * _BAR_WIDTH)
        left = f", {elapsed_s * (1 - share) / share:.0f} s left" if 0 < share < 1 else ""
        line = (
            f"  {self._title:<28} {bar:<{_BAR_WIDTH}} {share:4.0%}  {elapsed_s:.0f} s{left}  "
            f"{printable(note)}"
        )
        end = "\n" if share == 1 or not self._terminal else ""
        _write(self._stream, (f"\r\033[2K{line}" if self._terminal else line) + end)


def track(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Yields `items` and draws a bar that is full when they are used up."""
    progress = Progress(title, total)
    for item in items:
        yield item
        progress.advance()


def log(message: str) -> None:
    """Prints what goes on to stderr; names in it may be anything, and steer no terminal."""
    lines = map(printable, message.split("\n"))
    _write(sys.stderr, "\n".join(lines) + "\n")


def print_every_letter() -> None:
    """Lets stdout and stderr take any name, whatever their encoding, instead of raising."""
    codecs.register_error("edgeclf", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="edgeclf")


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """For a letter that an encoding lacks: ``?``; of a file's name, the very bytes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    code = ord(error.object[error.start])
    is_byte = 0xDC80 <= code <= 0xDCFF  # which is no letter: see "surrogateescape"
    return bytes([code - 0xDC00]) if is_byte else "?", error.start + 1


def _has(stream: TextIO | None, letter: str) -> bool:
    """Whether a stream's encoding has a letter."""
    try:
        letter.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeError:
        return False
    return True


def _write(stream: TextIO | None, text: str) -> None:
    """Writes to a stream that may not be there (``pythonw``), be closed, or lead nowhere."""
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.write(text)
            stream.flush()
