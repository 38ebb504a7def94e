"""Memory by phase, in a run apart from timing."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgeclf.measurement.jobs.base import CallJob
from edgeclf.measurement.probes.memory import memory_use, peak_rss_bytes

if TYPE_CHECKING:
    from edgeclf.inference.classifier import Classifier

_STEADY_IMAGES = 50


@dataclass(frozen=True)
class MemoryResult:
    """What a process occupied.

    Attributes:
        phases: Fields of `edgeclf.measurement.probes.memory.MemoryUse` after each phase:
            ``baseline``, ``imported``, ``loaded``, ``first inference`` and ``steady``.
        peak_rss_bytes: The largest resident set it ever had.
        gpu_bytes: What it took of the graphics cards; None without one.
        start_ms: From its start to its first answer, without the looking.
    """

    phases: dict[str, dict[str, int]]
    peak_rss_bytes: int
    gpu_bytes: int | None
    start_ms: float


@dataclass(frozen=True, kw_only=True)
class MemoryJob(CallJob[MemoryResult]):
    """Memory by phase, and the time from the process's start to its first answer."""

    kind: ClassVar[str] = "memory"
    result: ClassVar[type] = MemoryResult

    def run(self, started_s: float) -> MemoryResult:
        """See `Job.run`."""
        return measure_memory(self, started_s)[0]


def measure_memory(job: CallJob[Any], started_s: float) -> tuple[MemoryResult, Classifier]:
    """Makes a job's calls, looks at the process after each phase, and leaves the classifier open.

    Args:
        job: Which model, and how it is called.
        started_s: As for `Job.run`; nothing of an engine may have been imported since.
    """
    phases: dict[str, dict[str, int]] = {}
    looking_s = 0.0

    def look(phase: str) -> None:
        nonlocal looking_s
        start = time.monotonic()
        phases[phase] = asdict(memory_use())
        looking_s += time.monotonic() - start

    look("baseline")
    from edgeclf.measurement.probes.gpu import gpu_bytes, gpu_memory
    from edgeclf.runtimes import import_runtime

    start = time.monotonic()
    card_before = gpu_memory()
    looking_s += time.monotonic() - start
    import_runtime(job.runtime)
    look("imported")
    classifier = job.load()
    look("loaded")
    answer = job.answering(classifier)
    answer()
    start_ms = (time.monotonic() - started_s - looking_s) * 1e3
    look("first inference")
    for _ in range(math.ceil(_STEADY_IMAGES / job.batch)):
        answer()
    look("steady")
    peak = peak_rss_bytes()
    found = MemoryResult(phases, peak, gpu_bytes(card_before, gpu_memory()), start_ms)
    return found, classifier
