"""Running what may crash, hang or eat memory in a child with limits; the parent lives.

A model file can have an intact seal and yet kill the engine that parses it, by accident or by
intent. ``python -m edgeclf.isolation MODULE WORD ...`` runs a module under these limits.
"""

from __future__ import annotations

import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

TIMEOUT_S = 120
_MEMORY_BYTES = 8 * 2**30  # private, writable memory; TensorFlow alone reserves over 1 GiB


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Attributes:
        code: Its exit code; negative for the signal that ended it, None when time ran out.
        stdout: What it wrote.
        stderr: What it complained of.
    """

    code: int | None
    stdout: str
    stderr: str

    @property
    def death(self) -> str | None:
        """How it died, in words; None if it ended by itself."""
        if self.code is None:
            return f"it had not ended after {TIMEOUT_S} s"
        if self.code < 0:
            return f"it was ended by {signal.Signals(-self.code).name}"
        return None


def run_isolated(module: str, words: Sequence[str], content: bytes = b"") -> Outcome:
    """Runs ``python -m module words...`` under limits of time and memory, without core dumps.

    Args:
        module: The module's full name.
        words: Its arguments.
        content: Its standard input.
    """
    command = [sys.executable, "-m", "edgeclf.isolation", module, *words]
    try:
        done = subprocess.run(
            command, input=content, capture_output=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return Outcome(None, "", "")
    texts = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    return Outcome(done.returncode, *texts)


def _limit() -> None:
    try:
        import resource
    except ModuleNotFoundError:  # not a POSIX system: only the time is limited
        return
    for kind, wanted in (
        (resource.RLIMIT_DATA, _MEMORY_BYTES),
        (resource.RLIMIT_CPU, TIMEOUT_S),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (most, hard))


if __name__ == "__main__":
    _limit()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
