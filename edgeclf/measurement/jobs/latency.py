"""Latency by stage, throughput, an open stream and all answers, from one process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgeclf.measurement.jobs.base import CallJob, R
from edgeclf.measurement.workloads.sampling import Sampling

if TYPE_CHECKING:
    from edgeclf.inference.classifier import Classifier
    from edgeclf.runtimes.base import RuntimeInfo


@dataclass(frozen=True)
class LatencyResult:
    """What a process measured; the dictionaries are those of a row, see docs/benchmarking.md.

    Attributes:
        runtime: What it really ran on.
        latency: Percentiles by stage, the histogram and the windows of the single stream.
        calls: Calls of the single stream.
        joules: What they took; None without a meter.
        source: The meter.
        state: The machine before and after them.
        throttled: Whether it slowed down meanwhile; None where nothing tells.
        throughput: Batches back to back.
        open_loop: An open stream; None if none was asked for.
        probabilities: The answers to `LatencyJob.answer`, a row each; None if none was asked for.
    """

    runtime: RuntimeInfo
    latency: dict[str, Any]
    calls: int
    joules: float | None
    source: str | None
    state: dict[str, Any]
    throttled: bool | None
    throughput: dict[str, Any]
    open_loop: dict[str, Any] | None
    probabilities: tuple[list[float], ...] | None

    @staticmethod
    def nested() -> dict[str, type]:
        """Fields that are records."""
        from edgeclf.runtimes.base import RuntimeInfo

        return {"runtime": RuntimeInfo}


@dataclass(frozen=True, kw_only=True)
class TimedJob(CallJob[R]):
    """A job with latency by stage, throughput and, if asked for, an open stream and all answers.

    Attributes:
        sampling: When the single stream has samples enough.
        throughput_s: Seconds of batches back to back.
        arrivals_per_s: Rate of the open stream; 0 for none.
        arrivals_s: Seconds of it.
        answer: Paths of photos to classify at the end.
    """

    sampling: Sampling
    throughput_s: float = 0.0
    arrivals_per_s: float = 0.0
    arrivals_s: float = 0.0
    answer: tuple[str, ...] = ()

    @staticmethod
    def nested() -> dict[str, type]:
        """Fields that are records."""
        return {"sampling": Sampling}

    @property
    def pictures(self) -> int:
        """See `Job.pictures`."""
        return len(self.images) + len(self.answer)

    def measure(self, classifier: Classifier) -> LatencyResult:
        """Measures a model that is open already."""
        from edgeclf.measurement.workloads import latency

        workload = latency.open_workload(classifier, self.images, self.batch)
        stream = latency.measure_single_stream(workload, self.sampling, self.cpus)
        throughput = latency.measure_throughput(workload, self.batch, self.throughput_s)
        return LatencyResult(
            runtime=classifier.describe(),
            **stream,
            throughput=throughput,
            open_loop=self._open_loop(workload),
            probabilities=(
                tuple(classifier.probabilities(self.answer).tolist()) if self.answer else None
            ),
        )

    def _open_loop(self, workload: Any) -> dict[str, Any] | None:
        if not self.arrivals_per_s:
            return None
        from edgeclf.measurement.workloads.open_loop import measure_open_loop

        return asdict(
            measure_open_loop(workload.call, self.arrivals_per_s, duration_s=self.arrivals_s)
        )


@dataclass(frozen=True, kw_only=True)
class LatencyJob(TimedJob[LatencyResult]):
    """These and nothing else."""

    kind: ClassVar[str] = "latency"
    result: ClassVar[type] = LatencyResult

    def run(self, started_s: float) -> LatencyResult:
        """See `Job.run`."""
        return self.measure(self.load_lean())
