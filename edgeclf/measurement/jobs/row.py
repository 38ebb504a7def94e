"""Memory by phase and then latency, from one process: a row of a quick benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgeclf.measurement.jobs.latency import LatencyResult, TimedJob
from edgeclf.measurement.jobs.memory import MemoryResult, measure_memory


@dataclass(frozen=True)
class RowResult:
    """What both would find in processes of their own.

    Attributes:
        memory: Up to the first fifty pictures.
        latency: Of the calls after them.
    """

    memory: MemoryResult
    latency: LatencyResult

    @staticmethod
    def nested() -> dict[str, type]:
        """Fields that are records."""
        return {"memory": MemoryResult, "latency": LatencyResult}


@dataclass(frozen=True, kw_only=True)
class RowJob(TimedJob[RowResult]):
    """An engine is imported once for both: of a large one, that is most of a quick row's work."""

    kind: ClassVar[str] = "row"
    result: ClassVar[type] = RowResult

    def run(self, started_s: float) -> RowResult:
        """See `Job.run`."""
        memory, classifier = measure_memory(self, started_s)
        return RowResult(memory, self.measure(classifier))
