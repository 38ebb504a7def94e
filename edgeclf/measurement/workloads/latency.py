"""How fast a loaded model answers: one call after the other, in batches, and to an open stream."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgeclf.image import UInt8Array, decode_image, resize_image
from edgeclf.inference.classifier import Classifier
from edgeclf.measurement.probes.energy import find_energy_meter
from edgeclf.measurement.probes.machine_state import machine_state, throttled
from edgeclf.measurement.workloads.sampling import Sampling, sample, warm_up
from edgeclf.metrics.histogram import histogram
from edgeclf.metrics.statistics import percentiles


class Workload(Protocol):
    """Pictures for a classifier, and the stages that a call goes through.

    Attributes:
        stages: Names of the values that `call` returns.
    """

    stages: tuple[str, ...]

    def call(self) -> tuple[float, ...]:
        """Answers the next batch; milliseconds by stage, the last one their sum."""
        ...

    def answer_for(self, seconds: float) -> int:
        """Answers batches back to back; returns the number of pictures."""
        ...


class PhotoWorkload:
    """Image files in memory, over and over, to the answer.

    Args:
        classifier: What answers.
        contents: The bytes of image files.
        batch: Pictures in one call.
    """

    stages: tuple[str, ...] = ("decode", "preprocess", "inference", "total")

    def __init__(self, classifier: Classifier, contents: Sequence[bytes], batch: int) -> None:
        self._classifier, self._batch = classifier, batch
        self._spec = classifier.artifact.metadata.image
        self._endless = itertools.cycle(contents)

    def call(self) -> tuple[float, ...]:
        """See `Workload.call`."""
        if self._batch > 1:
            return self._call_batch()
        timing = self._classifier.classify(next(self._endless)).timing
        return timing.decode_ms, timing.preprocess_ms, timing.inference_ms, timing.total_ms

    def _call_batch(self) -> tuple[float, ...]:
        decode_s = 0.0
        tensors = []
        start = time.perf_counter()
        for content in itertools.islice(self._endless, self._batch):
            begin = time.perf_counter()
            decoded = decode_image(content, self._spec)
            decode_s += time.perf_counter() - begin
            tensors.append(resize_image(decoded, self._spec))
        together = np.stack(tensors)
        prepared = time.perf_counter()
        self._classifier.probabilities(together)
        end = time.perf_counter()
        seconds = (decode_s, prepared - start - decode_s, end - prepared, end - start)
        return tuple(value * 1e3 for value in seconds)

    def answer_for(self, seconds: float) -> int:
        """See `Workload.answer_for`; photos are decoded on all CPUs while the model runs."""
        end = time.perf_counter() + seconds

        def batches() -> Iterator[bytes]:
            while time.perf_counter() < end:
                yield from itertools.islice(self._endless, self._batch)

        answers = self._classifier.classify_batch(batches(), batch_size=self._batch)
        return sum(1 for _ in answers)


class RandomWorkload:
    """One batch of random pixels that needs no decoding: the model alone.

    Args:
        classifier: What answers.
        batch: Pictures in one call.
    """

    stages: tuple[str, ...] = ("inference", "total")

    def __init__(self, classifier: Classifier, batch: int) -> None:
        self._classifier = classifier
        self._pixels = random_pixels(classifier, batch)

    def call(self) -> tuple[float, ...]:
        """See `Workload.call`."""
        start = time.perf_counter()
        self._classifier.probabilities(self._pixels)
        inference_ms = (time.perf_counter() - start) * 1e3
        return inference_ms, inference_ms

    def answer_for(self, seconds: float) -> int:
        """See `Workload.answer_for`."""
        end, count = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            self._classifier.probabilities(self._pixels)
            count += len(self._pixels)
        return count


def open_workload(classifier: Classifier, images: Sequence[str], batch: int) -> Workload:
    """Photos where there are paths of some, else random pixels."""
    if not images:
        return RandomWorkload(classifier, batch)
    return PhotoWorkload(classifier, [Path(path).read_bytes() for path in images], batch)


def random_pixels(classifier: Classifier, batch: int) -> UInt8Array:
    """Random pixels uint8 [batch, H, W, 3] of the model's input size, always the same."""
    image = classifier.artifact.metadata.image
    shape = (batch, image.height, image.width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def measure_single_stream(
    workload: Workload, sampling: Sampling, cpus: Sequence[int]
) -> dict[str, Any]:
    """One call after the other, with the machine's state and energy, as plain JSON types.

    Args:
        workload: What is called.
        sampling: When it is enough.
        cpus: CPUs whose frequency is of interest.

    Returns:
        ``latency``, ``joules`` (None without a meter), ``calls``, ``source``, ``state`` and
        ``throttled``.
    """
    warmup = warm_up(workload.call)
    before = machine_state(cpus)
    meter = find_energy_meter()
    samples = sample(workload.call, sampling, after_window=meter.joules if meter else lambda: None)
    joules = meter.joules() if meter else None
    after = machine_state(cpus)
    by_stage = dict(zip(workload.stages, zip(*samples.values, strict=True), strict=True))
    distribution = histogram(by_stage["total"])
    return {
        "latency": {
            "warmup": warmup,
            "stages_ms": {name: asdict(percentiles(each)) for name, each in by_stage.items()},
            "histogram": {"edges_ms": distribution.edges, "counts": distribution.counts},
            "windows_p50_ms": samples.windows_p50,
            "stable": samples.stable,
        },
        "calls": len(samples.values),
        "joules": joules,
        "source": meter.source if meter else None,
        "state": {"before": asdict(before), "after": asdict(after)},
        "throttled": throttled(before, after),
    }


def measure_throughput(workload: Workload, batch: int, seconds: float) -> dict[str, Any]:
    """Batches back to back, nothing waits for a single answer; as plain JSON types."""
    start = time.perf_counter()
    n = workload.answer_for(seconds)
    return {"images_per_s": n / (time.perf_counter() - start), "batch": batch, "n": n}
