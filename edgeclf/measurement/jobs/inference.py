"""Latency of the engine alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgeclf.measurement.jobs.base import ModelJob

if TYPE_CHECKING:
    from edgeclf.metrics.statistics import Percentiles
    from edgeclf.runtimes.base import RuntimeInfo

_WARMUP_CALLS = 10


@dataclass(frozen=True)
class InferenceResult:
    """Calls of an engine.

    Attributes:
        runtime: What it really ran on.
        inference_ms: Time of a call.
    """

    runtime: RuntimeInfo
    inference_ms: Percentiles

    @staticmethod
    def nested() -> dict[str, type]:
        """Fields that are records."""
        from edgeclf.metrics.statistics import Percentiles
        from edgeclf.runtimes.base import RuntimeInfo

        return {"runtime": RuntimeInfo, "inference_ms": Percentiles}


@dataclass(frozen=True, kw_only=True)
class InferenceJob(ModelJob[InferenceResult]):
    """Latency of the engine alone, on pictures that already are tensors.

    Attributes:
        seconds: How long to call it.
        pictures: In one call.
    """

    kind: ClassVar[str] = "inference"
    result: ClassVar[type] = InferenceResult

    seconds: float
    pictures: int = 1

    def run(self, started_s: float) -> InferenceResult:
        """See `Job.run`."""
        from edgeclf.measurement.workloads.latency import random_pixels
        from edgeclf.metrics.statistics import percentiles

        classifier = self.load_lean()
        tensor = random_pixels(classifier, self.pictures)
        for _ in range(_WARMUP_CALLS):
            classifier.probabilities(tensor)
        times_ms: list[float] = []
        end = time.perf_counter() + self.seconds
        while (start := time.perf_counter()) < end:
            classifier.probabilities(tensor)
            times_ms.append((time.perf_counter() - start) * 1e3)
        return InferenceResult(classifier.describe(), percentiles(times_ms))
