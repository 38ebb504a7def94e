"""A service of its own process on a free port, for as long as it is measured."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from edgeclf.errors import ServiceError

_READY = re.compile(r"ready at (http://\S+) ")
_START_S = 120.0
_STOP_S = 10.0


@contextmanager
def local_server(words: Sequence[str]) -> Iterator[str]:
    """Runs ``edgeclf serve`` and gives its address once it is ready; ends it afterwards.

    Args:
        words: Arguments of the verb, without the port.

    Raises:
        ServiceError: It did not become ready; says what it printed last.
    """
    command = [sys.executable, "-m", "edgeclf", "serve", *words, "--port", "0", "--drain-s", "0"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        watchdog = threading.Timer(_START_S, process.kill)
        watchdog.start()
        assert process.stderr is not None
        try:
            address = _address(process.stderr)
            watchdog.cancel()
            reader = threading.Thread(target=_read_on, args=(process.stderr,), daemon=True)
            reader.start()
            yield address
        finally:
            watchdog.cancel()
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(stream: IO[str]) -> str:
    last = "it said nothing"
    for line in stream:
        if found := _READY.search(line):
            return found[1]
        last = line.strip() or last
    raise ServiceError(f"The service to be measured did not become ready: {last}")


def _read_on(stream: IO[str]) -> None:
    """So that the service can always write."""
    for _ in stream:
        pass
