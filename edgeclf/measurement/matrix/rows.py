"""One row of a benchmark: what is measured for it, by which processes, and what it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact
from edgeclf.datasets.photos import Photos
from edgeclf.errors import MeasurementError
from edgeclf.measurement.harness import sampling as sampling_rules
from edgeclf.measurement.harness.cold_start import ColdStart, measure_cold_start
from edgeclf.measurement.harness.process import measure
from edgeclf.measurement.harness.sampling import Sampling
from edgeclf.measurement.matrix.cases import BenchmarkCase, plan_cases
from edgeclf.measurement.probes.affinity import choose_cpus
from edgeclf.metrics.accuracy import Probabilities, accuracy_record, agreement_record
from edgeclf.runtimes import Device
from edgeclf.system.progress import log

_IMAGES_FOR_LATENCY = 32


@dataclass(frozen=True)
class SamplingPlan:
    """What a row may cost.

    Attributes:
        sampling: Of the single stream.
        throughput_s: Of batches back to back, in seconds.
        arrivals_s: Of an open stream, in seconds.
        cold_starts: Starts of each kind; 0 to take the one that the memory run shows anyway.
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
        budget: What a row may cost.
        photos: Labelled photos; None for random pixels.
        sources: By model, the artifact that the others of its name are compared with.
        device: Where the models run.
        arrivals_per_s: Rate of an open stream; 0 for none.
    """

    def __init__(
        self,
        budget: SamplingPlan,
        photos: Photos | None,
        sources: Mapping[str, Artifact],
        device: Device,
        arrivals_per_s: float,
    ) -> None:
        self._budget, self._photos, self._sources = budget, photos, sources
        self._device, self._arrivals_per_s = device, arrivals_per_s
        self._paths = [str(path.resolve()) for path in photos.paths] if photos else []
        count = len(self._paths)
        spread = np.linspace(0, count - 1, min(_IMAGES_FOR_LATENCY, count)).astype(int)
        self._images = [self._paths[i] for i in spread]
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
            "budget": asdict(self._budget),
            "data_sha256": self._photos.sha256 if self._photos else None,
            "device": self._device,
            "arrivals_per_s": self._arrivals_per_s,
            "cpus": choose_cpus(case.threads),
        }

    def make(self, case: BenchmarkCase) -> dict[str, Any]:
        """A row as plain JSON types; without figures and with the reason, if anything failed."""
        row = _empty_row(case, "photos" if self._photos else "random")
        job = self._job(case)
        row["cpus"] = job["cpus"]
        key = (case.artifact.sha256, case.runtime)
        try:
            timed = measure(
                {
                    **job,
                    "measure": "latency",
                    "sampling": asdict(self._budget.sampling),
                    "throughput_s": self._budget.throughput_s,
                    "arrivals_per_s": self._arrivals_per_s,
                    "arrivals_s": self._budget.arrivals_s,
                    "answer": [] if key in self._answers else self._paths,
                }
            )
            cold_start = self._cold_start(job)
            # After the files were dropped and read again: what has just been installed counts as
            # some megabytes more while the page cache holds it as it was written.
            memory = measure({**job, "measure": "memory"})
            start_ms = memory.pop("start_ms")
            if timed["probabilities"] is not None:
                self._answers[key] = np.array(timed["probabilities"], np.float32)
            figures = {
                "runtime": timed["runtime"],
                "latency": timed["latency"],
                "throughput": timed["throughput"],
                "open_loop": timed["open_loop"],
                "memory": memory,
                "cold_start": asdict(cold_start or _quick_start(start_ms)),
                "energy": _energy(timed, case.batch),
                "state": timed["state"],
                "throttled": timed["throttled"],
                **(self._judge(case, self._answers[key]) if self._photos else {}),
            }
        except MeasurementError as exc:
            figures = {"error": str(exc)}
        return {**row, **figures}

    def _job(self, case: BenchmarkCase) -> dict[str, Any]:
        assert case.artifact.path is not None
        return {
            "model": str(case.artifact.path.resolve()),
            "runtime": case.runtime,
            "device": self._device,
            "threads": case.threads,
            "batch": case.batch,
            "cpus": list(choose_cpus(case.threads)),
            "images": self._images,
        }

    def _cold_start(self, job: dict[str, Any]) -> ColdStart | None:
        starts = self._budget.cold_starts
        return measure_cold_start(job, starts) if starts else None

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
            job = {**self._job(case), "measure": "answers", "images": self._paths}
            try:
                answers = np.array(measure(job)["probabilities"], np.float32)
            except MeasurementError as exc:
                log(f"\nno agreement with {case.file}, which cannot be run: {exc}")
                answers = None
            self._source_answers[sha256] = answers
        return self._source_answers[sha256]


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
    """The start that the memory run shows anyway."""
    return ColdStart(start_ms, None, "left out of a quick run", None, None, 1)


def _energy(timed: Mapping[str, Any], batch: int) -> dict[str, Any] | None:
    """Joules of the single stream for each picture; None without a meter."""
    if timed["joules"] is None:
        return None
    return {"source": timed["source"], "joules_per_image": timed["joules"] / timed["calls"] / batch}
