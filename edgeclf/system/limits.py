"""Limits of a process that may crash, hang or eat memory, so that others on the machine live."""

from __future__ import annotations

import os
from dataclasses import dataclass

from edgeclf.system.cpu import available_cpus

# Private, writable memory, and never more than half of the machine's. For a small model, LiteRT and
# ONNX Runtime take 0.1 GB, TensorFlow 0.8 GB, CUDA several.
MEMORY_BYTES = 8 * 2**30
_SACRIFICED_FIRST = "1000"  # the kernel's scale for whom to end when memory runs out


@dataclass(frozen=True)
class Limits:
    """What a process may take.

    Attributes:
        memory_bytes: Private, writable memory.
        cpu_s: CPU time of all its threads.
    """

    memory_bytes: int
    cpu_s: int

    @classmethod
    def for_stranger(cls, timeout_s: float) -> Limits:
        """Those for a model that nobody vouches for, which has so much wall-clock time.

        The CPU time is every CPU for all of that: it ends the process where nobody looks at the
        clock any more.
        """
        return cls(_memory_limit_bytes(), max(1, round(timeout_s * available_cpus())))

    def apply(self) -> None:
        """Limits this process, as far as its system can; it leaves no core dump, and goes first."""
        try:
            import resource
        except ModuleNotFoundError:  # not a POSIX system: only the parent's clock limits
            return
        for kind, wanted in (
            (resource.RLIMIT_DATA, self.memory_bytes),
            (resource.RLIMIT_CPU, self.cpu_s),
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


def _memory_limit_bytes() -> int:
    try:
        return min(MEMORY_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    except (AttributeError, OSError, ValueError):  # not a POSIX system
        return MEMORY_BYTES
