"""Memory by phase and then latency, from one process: a row of a quick benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgeclf.measurement.jobs.base import CallJob
from edgeclf.measurement.jobs.latency import LatencyJob, LatencyResult
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
class RowJob(CallJob[RowResult]):
    """An engine is imported once for both: of a large one, that is most of a quick row's work.

    Attributes:
        timing: What is done with the model once its memory is known; of the same calls.
    """

    kind: ClassVar[str] = "row"
    result: ClassVar[type] = RowResult

    timing: LatencyJob

    @staticmethod
    def nested() -> dict[str, type]:
        """Fields that are records."""
        return {"timing": LatencyJob}

    @property
    def pictures(self) -> int:
        """See `Job.pictures`."""
        return self.timing.pictures

    def run(self, started_s: float) -> RowResult:
        """See `Job.run`."""
        memory, classifier = measure_memory(self, started_s)
        return RowResult(memory, self.timing.measure(classifier))
