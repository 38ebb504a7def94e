"""Running what may crash, hang or eat memory in a child with limits; the parent lives.

A model file can have an intact seal and yet kill the engine that parses it, by accident or by
intent. ``python -m edgeclf.system.isolation SECONDS BYTES MODULE WORD ...`` runs a module under
these limits.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from edgeclf.system.cpu import available_cpus

TIMEOUT_S = 120
# Private, writable memory, and never more than half of the machine's. For a small model, LiteRT and
# ONNX Runtime take 0.1 GB, TensorFlow 0.8 GB, CUDA several.
MEMORY_BYTES = 8 * 2**30
_SACRIFICED_FIRST = "1000"  # the kernel's scale for whom to end when memory runs out


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Attributes:
        code: Its exit code; negative for the signal that ended it, None when time ran out.
        stdout: What it wrote.
        stderr: What it complained of.
        timeout_s: The time it had.
    """

    code: int | None
    stdout: str
    stderr: str
    timeout_s: float

    @property
    def death(self) -> str | None:
        """How it died, in words; None if it ended by itself."""
        if self.code is None:
            return f"it had not ended after {self.timeout_s:g} s"
        if self.code < 0:
            return f"it was ended by {_signal_name(-self.code)}"
        return None


def run_isolated(
    module: str, words: Sequence[str], content: bytes = b"", *, timeout_s: float | None = None
) -> Outcome:
    """Runs ``python -m module words...`` under limits of time and memory, without core dumps.

    Args:
        module: The module's full name.
        words: Its arguments.
        content: Its standard input.
        timeout_s: Wall-clock time it has; `TIMEOUT_S` by default.
    """
    timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
    # Also the child's own limit, should this process be ended before it: every CPU for all time.
    cpu_s = max(1, round(timeout_s * available_cpus()))
    limits = [str(cpu_s), str(_memory_limit_bytes())]
    command = [sys.executable, "-m", "edgeclf.system.isolation", *limits, module, *words]
    try:
        done = subprocess.run(
            command, input=content, capture_output=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return Outcome(None, "", "", timeout_s)
    stdout, stderr = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    return Outcome(done.returncode, stdout, stderr, timeout_s)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _memory_limit_bytes() -> int:
    try:
        return min(MEMORY_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    except (AttributeError, OSError, ValueError):  # not a POSIX system
        return MEMORY_BYTES


def _limit(cpu_s: int, memory_bytes: int) -> None:
    """Limits this process, as far as its system can."""
    try:
        import resource
    except ModuleNotFoundError:  # not a POSIX system: only the parent's clock limits
        return
    for kind, wanted in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (most, hard))
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(_SACRIFICED_FIRST)
    except OSError:  # not Linux, or not allowed
        pass


if __name__ == "__main__":
    _limit(*map(int, sys.argv[1:3]))
    del sys.argv[:3]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
