"""Time per operator, from a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from edgeclf.measurement.jobs.base import Job


@dataclass(frozen=True)
class ProfileResult:
    """A profile as the schema ``edgeclf.profile/1`` has it, see docs/benchmarking.md.

    Attributes:
        runtime: ``name``, ``library``, ``library_version``, ``fast_path`` and ``threads``.
        calls: How many calls were recorded.
        cpus_left: How many CPUs the rest of the system left; None where it does not tell.
        latency_ms: Of a call: ``plain``, ``profiled``, and ``operators`` for their sum.
        peaks: By arithmetic, what the CPU reached.
        operators: One each, in the order they run.
    """

    runtime: dict[str, Any]
    calls: int
    cpus_left: float | None
    latency_ms: dict[str, float]
    peaks: dict[str, dict[str, Any]]
    operators: tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class ProfileJob(Job[ProfileResult]):
    """Time per operator of a model on random bytes.

    Attributes:
        model: The path of an artifact, or of a model from elsewhere.
        runtime: ``litert`` or ``onnxruntime``.
        threads: Threads for one call.
        seconds: How long to call it, half of that with the profiler on.
    """

    kind: ClassVar[str] = "profile"
    result: ClassVar[type] = ProfileResult

    model: str
    runtime: str
    threads: int
    seconds: float

    def run(self, started_s: float) -> ProfileResult:
        """See `Job.run`."""
        from edgeclf.measurement.profiler.profile import measure_profile

        return ProfileResult(
            **measure_profile(self.model, self.runtime, threads=self.threads, seconds=self.seconds)
        )
