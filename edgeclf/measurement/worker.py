"""The process that one measurement runs in: fresh, and ended with it.

`python -m edgeclf.measurement.worker` reads a job as JSON from stdin and writes its result as the
last line of stdout. Nothing but the standard library is imported before the first figure is
taken.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.errors import EdgeclfError
from edgeclf.measurement.memory import memory_use, peak_rss_bytes

if TYPE_CHECKING:
    from edgeclf.prediction import Timing

_WARMUP_CALLS = 10
_STEADY_CALLS = 50


def _load(job: dict[str, Any]) -> Any:
    from edgeclf.classifier import Classifier

    return Classifier(
        job["model"], runtime=job["runtime"], device=job["device"], threads=job["threads"]
    )


def measure_memory(job: dict[str, Any]) -> dict[str, Any]:
    """Memory by phase, and the time from the process's start to its first answer.

    Args:
        job: ``model``, ``runtime``, ``device``, ``threads``, ``images`` (paths), ``started_s``
            (the parent's monotonic clock when it started this process).
    """
    phases = {"baseline": memory_use()}
    from edgeclf.runtimes import import_runtime

    import_runtime(job["runtime"])
    phases["imported"] = memory_use()
    classifier = _load(job)
    phases["loaded"] = memory_use()
    content = Path(job["images"][0]).read_bytes()
    classifier.classify(content)
    cold_start_ms = (time.monotonic() - job["started_s"]) * 1e3
    phases["first inference"] = memory_use()
    for _ in range(_STEADY_CALLS):
        classifier.classify(content)
    phases["steady"] = memory_use()
    return {
        "phases": {name: asdict(use) for name, use in phases.items()},
        "peak_rss_bytes": peak_rss_bytes(),
        "cold_start_ms": cold_start_ms,
    }


def measure_latency(job: dict[str, Any]) -> dict[str, Any]:
    """Single-stream latency by stage, from the bytes of image files to the answer.

    Args:
        job: As for `measure_memory`, and ``min_samples``, ``max_samples``, ``max_seconds``.
    """
    from edgeclf.measurement.statistics import percentiles

    classifier = _load(job)
    contents = [Path(path).read_bytes() for path in job["images"]]
    for index in range(_WARMUP_CALLS):
        classifier.classify(contents[index % len(contents)])
    timings: list[Timing] = []
    end = time.monotonic() + job["max_seconds"]
    while len(timings) < job["max_samples"]:
        if len(timings) >= job["min_samples"] and time.monotonic() > end:
            break
        timings.append(classifier.classify(contents[len(timings) % len(contents)]).timing)
    stages = {
        "decode": [t.decode_ms for t in timings],
        "preprocess": [t.preprocess_ms for t in timings],
        "inference": [t.inference_ms for t in timings],
        "total": [t.total_ms for t in timings],
    }
    return {
        "runtime": asdict(classifier.describe()),
        "warmup": _WARMUP_CALLS,
        "stages_ms": {name: asdict(percentiles(samples)) for name, samples in stages.items()},
    }


def measure_inference(job: dict[str, Any]) -> dict[str, Any]:
    """Latency of the engine alone, on one picture that already is a tensor.

    Args:
        job: ``model``, ``runtime``, ``device``, ``threads``, ``seconds``.
    """
    import numpy as np

    from edgeclf.measurement.statistics import percentiles

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
    """Time per operator; see `edgeclf.measurement.profiling`."""
    from edgeclf.measurement import profiling

    return profiling.measure_profile(job)


_MEASUREMENTS = {
    "import": measure_import,
    "memory": measure_memory,
    "latency": measure_latency,
    "inference": measure_inference,
    "answers": measure_answers,
    "profile": measure_profile,
}


def main() -> int:
    """Reads a job, measures, writes the result; an error is a result too."""
    job = json.loads(sys.stdin.read())
    try:
        result = _MEASUREMENTS[job["measure"]](job)
    except EdgeclfError as exc:
        result = {"error": str(exc)}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
