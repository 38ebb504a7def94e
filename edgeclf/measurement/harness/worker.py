"""The process that one measurement runs in: fresh, and ended with it.

`python -m edgeclf.measurement.harness.worker` reads a job as JSON from stdin and writes its
result as the last line of stdout. Nothing but the standard library is imported before the first
figure is taken. A job with ``cpus`` runs on those alone, from before its first import.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.errors import EdgeclfError
from edgeclf.measurement.probes.memory import memory_use, peak_rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeclf.inference.classifier import Classifier
    from edgeclf.measurement.probes.memory import MemoryUse

_WARMUP_CALLS = 10
_STEADY_IMAGES = 50


def _load(job: dict[str, Any]) -> Any:
    from edgeclf.inference.classifier import Classifier

    return Classifier(
        job["model"], runtime=job["runtime"], device=job["device"], threads=job["threads"]
    )


def measure_memory(job: dict[str, Any]) -> dict[str, Any]:
    """Memory by phase, and the time from the process's start to its first answer.

    Args:
        job: ``model``, ``runtime``, ``device``, ``threads``, ``images`` (paths; without any, random
            pixels), ``batch``, ``started_s`` (the parent's monotonic clock when it started this
            process).
    """
    phases: dict[str, MemoryUse] = {}
    looking_s = 0.0

    def look(phase: str) -> None:
        nonlocal looking_s
        start = time.monotonic()
        phases[phase] = memory_use()
        looking_s += time.monotonic() - start

    look("baseline")
    from edgeclf.measurement.probes.gpu import gpu_bytes, gpu_memory
    from edgeclf.runtimes import import_runtime

    start = time.monotonic()
    card_before = gpu_memory()
    looking_s += time.monotonic() - start
    import_runtime(job["runtime"])
    look("imported")
    classifier = _load(job)
    look("loaded")
    answer = _answering(classifier, job)
    answer()
    start_ms = (time.monotonic() - job["started_s"] - looking_s) * 1e3
    look("first inference")
    for _ in range(math.ceil(_STEADY_IMAGES / job["batch"])):
        answer()
    look("steady")
    peak = peak_rss_bytes()
    return {
        "phases": {name: asdict(use) for name, use in phases.items()},
        "peak_rss_bytes": peak,
        "gpu_bytes": gpu_bytes(card_before, gpu_memory()),
        "start_ms": start_ms,
    }


def _answering(classifier: Classifier, job: dict[str, Any]) -> Callable[[], object]:
    """What answers one call as the row's calls are, on the same pictures every time."""
    batch = job["batch"]
    if not job["images"]:
        from edgeclf.measurement.harness.latency import random_pixels

        pixels = random_pixels(classifier, batch)
        return lambda: classifier.probabilities(pixels)
    content = Path(job["images"][0]).read_bytes()
    if batch == 1:
        return lambda: classifier.classify(content)
    return lambda: list(classifier.classify_batch([content] * batch, batch_size=batch))


def measure_start(job: dict[str, Any]) -> dict[str, Any]:
    """The time from the process's start to its first answer, and nothing else.

    Args:
        job: As for `measure_memory`, and ``list_files``: whether to tell which files were used.
    """
    classifier = _load(job)
    _answering(classifier, job)()
    start_ms = (time.monotonic() - job["started_s"]) * 1e3
    files: list[str] = []
    if job["list_files"]:
        from edgeclf.measurement.probes.page_cache import files_in_use

        files = [job["model"], *job["images"][:1], *files_in_use()]
    return {"start_ms": start_ms, "files": files}


def measure_latency(job: dict[str, Any]) -> dict[str, Any]:
    """Latency by stage, throughput and, if asked for, an open stream and all answers, in turn.

    Args:
        job: As for `measure_memory`, and ``sampling`` (fields of
            `edgeclf.measurement.harness.sampling.Sampling`), ``throughput_s``, ``arrivals_per_s``
            (0 for none), ``arrivals_s``, ``answer`` (paths of photos to classify at the end),
            ``cpus``.
    """
    from edgeclf.measurement.harness import latency
    from edgeclf.measurement.harness.open_loop import measure_open_loop
    from edgeclf.measurement.harness.sampling import Sampling

    classifier, batch = _load(job), job["batch"]
    contents = [Path(path).read_bytes() for path in job["images"]]
    workload: latency.Workload = (
        latency.PhotoWorkload(classifier, contents, batch)
        if contents
        else latency.RandomWorkload(classifier, batch)
    )
    result = latency.measure_single_stream(workload, Sampling(**job["sampling"]), job["cpus"])
    result["throughput"] = latency.measure_throughput(workload, batch, job["throughput_s"])
    result["open_loop"] = None
    if job["arrivals_per_s"]:
        found = measure_open_loop(
            workload.call, job["arrivals_per_s"], duration_s=job["arrivals_s"]
        )
        result["open_loop"] = asdict(found)
    result["probabilities"] = (
        classifier.probabilities(job["answer"]).tolist() if job["answer"] else None
    )
    return {"runtime": asdict(classifier.describe()), **result}


def measure_inference(job: dict[str, Any]) -> dict[str, Any]:
    """Latency of the engine alone, on one picture that already is a tensor.

    Args:
        job: ``model``, ``runtime``, ``device``, ``threads``, ``seconds``.
    """
    import numpy as np

    from edgeclf.metrics.statistics import percentiles

    classifier = _load(job)
    image = classifier.artifact.metadata.image
    rng = np.random.default_rng(0)
    tensor = rng.integers(0, 256, (1, image.height, image.width, 3), np.uint8)
    for _ in range(_WARMUP_CALLS):
        classifier.probabilities(tensor)
    times_ms: list[float] = []
    end = time.perf_counter() + job["seconds"]
    while (start := time.perf_counter()) < end:
        classifier.probabilities(tensor)
        times_ms.append((time.perf_counter() - start) * 1e3)
    return {
        "runtime": asdict(classifier.describe()),
        "inference_ms": asdict(percentiles(times_ms)),
    }


def measure_answers(job: dict[str, Any]) -> dict[str, Any]:
    """The probabilities for every image, in order; float32 as lists."""
    classifier = _load(job)
    return {"probabilities": classifier.probabilities(job["images"]).tolist()}


def measure_import(job: dict[str, Any]) -> dict[str, Any]:
    """The time to import a runtime and its engine, and what that was built for.

    Args:
        job: ``runtime``.
    """
    from edgeclf.runtimes import import_runtime

    start = time.perf_counter()
    runtime_class = import_runtime(job["runtime"])
    import_ms = (time.perf_counter() - start) * 1e3
    accelerators = getattr(runtime_class, "accelerators", lambda: ())
    return {"import_ms": import_ms, "devices": list(accelerators())}


def measure_profile(job: dict[str, Any]) -> dict[str, Any]:
    """Time per operator; see `edgeclf.measurement.profiler.profile`."""
    from edgeclf.measurement.profiler import profile

    return profile.measure_profile(job)


_MEASUREMENTS = {
    "import": measure_import,
    "memory": measure_memory,
    "start": measure_start,
    "latency": measure_latency,
    "inference": measure_inference,
    "answers": measure_answers,
    "profile": measure_profile,
}


def main() -> int:
    """Reads a job, measures, writes the result; an error is a result too."""
    job = json.loads(sys.stdin.read())
    if job.get("cpus"):  # before anything counts the CPUs
        os.sched_setaffinity(0, job["cpus"])
    try:
        result = _MEASUREMENTS[job["measure"]](job)
    except EdgeclfError as exc:
        result = {"error": str(exc)}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
