"""One row of a benchmark: what is measured for it, by which processes, and what it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact
from edgeclf.datasets.photos import Photos
from edgeclf.errors import MeasurementError
from edgeclf.measurement.harness.cold_start import ColdStart, measure_cold_start
from edgeclf.measurement.harness.process import measure
from edgeclf.measurement.jobs.answers import AnswersJob
from edgeclf.measurement.jobs.latency import LatencyJob, LatencyResult
from edgeclf.measurement.jobs.memory import MemoryJob, MemoryResult
from edgeclf.measurement.jobs.row import RowJob
from edgeclf.measurement.jobs.start import StartJob
from edgeclf.measurement.matrix.cases import BenchmarkCase, plan_cases
from edgeclf.measurement.probes.affinity import choose_cpus
from edgeclf.measurement.workloads import sampling as sampling_rules
from edgeclf.measurement.workloads.sampling import Sampling
from edgeclf.metrics.accuracy import Probabilities, accuracy_record, agreement_record
from edgeclf.runtimes import Device
from edgeclf.system.progress import log
from edgeclf.system.variables import variables_in_force

_IMAGES_FOR_LATENCY = 32


@dataclass(frozen=True)
class SamplingPlan:
    """What a row may cost.

    Attributes:
        sampling: Of the single stream.
        throughput_s: Of batches back to back, in seconds.
        arrivals_s: Of an open stream, in seconds.
        cold_starts: Starts of each kind. 0 takes the one that is seen anyway, and measures memory
            and then latency in one process, not each in its own: a large engine is imported once.
    """

    sampling: Sampling
    throughput_s: float
    arrivals_s: float
    cold_starts: int


PUBLISHED = SamplingPlan(sampling_rules.PUBLISHED, throughput_s=3.0, arrivals_s=20.0, cold_starts=3)
QUICK = SamplingPlan(sampling_rules.QUICK, throughput_s=0.3, arrivals_s=2.0, cold_starts=0)


class CaseRunner:
    """Measures rows, and keeps the answers that they are compared by.

    Args:
        plan: What a row may cost.
        photos: Labelled photos; None for random pixels.
        sources: By model, the artifact that the others of its name are compared with.
        device: Where the models run.
        arrivals_per_s: Rate of an open stream; 0 for none.
    """

    def __init__(
        self,
        plan: SamplingPlan,
        photos: Photos | None,
        sources: Mapping[str, Artifact],
        device: Device,
        arrivals_per_s: float,
    ) -> None:
        self._plan, self._photos, self._sources = plan, photos, sources
        self._device, self._arrivals_per_s = device, arrivals_per_s
        self._paths = tuple(str(path.resolve()) for path in photos.paths) if photos else ()
        count = len(self._paths)
        spread = np.linspace(0, count - 1, min(_IMAGES_FOR_LATENCY, count)).astype(int)
        self._images = tuple(self._paths[i] for i in spread)
        self._answers: dict[tuple[str, str], Probabilities] = {}  # by file's hash and runtime
        self._source_answers: dict[str, Probabilities | None] = {}  # by file's hash

    def is_source(self, case: BenchmarkCase) -> bool:
        """Whether other rows are compared with this one's artifact."""
        return any(case.artifact is source for source in self._sources.values())

    def settings(self, case: BenchmarkCase) -> dict[str, Any]:
        """What decides a row beside machine and libraries, as plain JSON types."""
        source = self._sources.get(case.artifact.metadata.name)
        return {
            "id": case.id,
            "sha256": case.artifact.sha256,
            "source_sha256": source.sha256 if source else None,
            "sampling_plan": asdict(self._plan),
            "data_sha256": self._photos.sha256 if self._photos else None,
            "device": self._device,
            "arrivals_per_s": self._arrivals_per_s,
            "cpus": choose_cpus(case.threads),
        }

    def make(self, case: BenchmarkCase) -> dict[str, Any]:
        """A row as plain JSON types; without figures and with the reason, if anything failed."""
        row = _empty_row(case, "photos" if self._photos else "random")
        row["cpus"] = list(choose_cpus(case.threads))
        row["variables"] = variables_in_force()
        try:
            return {**row, **self._figures(case)}
        except MeasurementError as exc:
            return {**row, "error": str(exc)}

    def _figures(self, case: BenchmarkCase) -> dict[str, Any]:
        latency_job, memory_job, start_job = self._jobs(case)
        key = (case.artifact.sha256, case.runtime)
        if key in self._answers:
            latency_job = replace(latency_job, answer=())
        if starts := self._plan.cold_starts:
            timed = measure(latency_job)
            cold_start = measure_cold_start(start_job, starts)
            # After the files were dropped and read again: what has just been installed counts as
            # some megabytes more while the page cache holds it as it was written.
            memory = measure(memory_job)
        else:
            together = measure(RowJob(**vars(latency_job)))
            timed, memory = together.latency, together.memory
            cold_start = _quick_start(memory.start_ms)
        if timed.probabilities is not None:
            self._answers[key] = np.array(timed.probabilities, np.float32)
        return {
            "runtime": asdict(timed.runtime),
            "latency": timed.latency,
            "throughput": timed.throughput,
            "open_loop": timed.open_loop,
            "memory": _memory(memory),
            "cold_start": asdict(cold_start),
            "energy": _energy(timed, case.batch),
            "state": timed.state,
            "throttled": timed.throttled,
            **(self._judge(case, self._answers[key]) if self._photos else {}),
        }

    def _jobs(self, case: BenchmarkCase) -> tuple[LatencyJob, MemoryJob, StartJob]:
        """The processes of a row: the same calls, for each kind of figure."""
        shared: dict[str, Any] = {
            **_how(case, self._device),
            "images": self._images,
            "batch": case.batch,
        }
        latency = LatencyJob(
            **shared,
            sampling=self._plan.sampling,
            throughput_s=self._plan.throughput_s,
            arrivals_per_s=self._arrivals_per_s,
            arrivals_s=self._plan.arrivals_s,
            answer=self._paths,
        )
        return latency, MemoryJob(**shared), StartJob(**shared)

    def _judge(self, case: BenchmarkCase, answers: Probabilities) -> dict[str, Any]:
        """Accuracy on all photos, and agreement with the source's answers to them."""
        assert self._photos is not None
        source = self._sources.get(case.artifact.metadata.name)
        given = None if source is None else self._answers_of(source)
        return {
            "accuracy": accuracy_record(answers, self._photos),
            "agreement": None if given is None else agreement_record(given, answers),
        }

    def _answers_of(self, source: Artifact) -> Probabilities | None:
        """A source's answers; None if it cannot be run."""
        sha256 = source.sha256
        known = [answers for key, answers in self._answers.items() if key[0] == sha256]
        if known:
            return known[0]
        if sha256 not in self._source_answers:  # its rows failed or were reused
            (case,) = plan_cases([source], None, [None], [1])
            job = AnswersJob(**_how(case, self._device), images=self._paths)
            try:
                answers = np.array(measure(job).probabilities, np.float32)
            except MeasurementError as exc:
                log(f"\nno agreement with {case.file}, which cannot be run: {exc}")
                answers = None
            self._source_answers[sha256] = answers
        return self._source_answers[sha256]


def _how(case: BenchmarkCase, device: Device) -> dict[str, Any]:
    """The fields of a job that say how a case is run."""
    assert case.artifact.path is not None
    return {
        "model": str(case.artifact.path.resolve()),
        "runtime": case.runtime,
        "device": device,
        "threads": case.threads,
        "cpus": choose_cpus(case.threads),
    }


def _empty_row(case: BenchmarkCase, given: str) -> dict[str, Any]:
    artifact, metadata = case.artifact, case.artifact.metadata
    return {
        "id": case.id,
        "model": metadata.name,
        "file": case.file,
        "format": artifact.format,
        "precision": metadata.precision,
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "parameters": metadata.parameters,
        "input_size": [metadata.image.height, metadata.image.width],
        "threads": case.threads,
        "batch": case.batch,
        "input": given,
        "cpus": [],
        "variables": [],
        "runtime": {"name": case.runtime},
        "accuracy": None,
        "agreement": None,
        "latency": None,
        "throughput": None,
        "open_loop": None,
        "memory": None,
        "cold_start": None,
        "energy": None,
        "state": None,
        "throttled": None,
        "error": None,
    }


def _quick_start(start_ms: float) -> ColdStart:
    """The start that is seen with the memory anyway."""
    return ColdStart(start_ms, None, "left out of a quick run", None, None, 1)


def _memory(found: MemoryResult) -> dict[str, Any]:
    """The start beside it belongs to the cold start."""
    return {
        "phases": found.phases,
        "peak_rss_bytes": found.peak_rss_bytes,
        "gpu_bytes": found.gpu_bytes,
    }


def _energy(timed: LatencyResult, batch: int) -> dict[str, Any] | None:
    """Joules of the single stream for each picture; None without a meter."""
    if timed.joules is None:
        return None
    return {"source": timed.source, "joules_per_image": timed.joules / timed.calls / batch}
