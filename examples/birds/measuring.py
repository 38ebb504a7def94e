"""Where the time of a picture goes, and what would move it: measured, as one record.

Everything is measured here and now, on the artifact that is served and the pictures of the batch:
by `edgeclf load` and the service's own log, by `edgeclf benchmark`, and in turns where two ways of
doing the same thing are compared.
"""

from __future__ import annotations

import dataclasses
import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

import edgeclf
from edgeclf.metrics.statistics import percentiles
from edgeclf.system.environment import environment
from edgeclf.system.progress import log

if TYPE_CHECKING:
    from plan import Run

SCHEMA = "birds.report/1"
STAGES = ("queue", "decode", "preprocess", "inference", "service")
WARM_UP = 20  # first lines of a log, which are not counted
BUSY = 0.7  # of what one worker answers: the rate at which waiting is looked at
CLIENTS = 8
REPLICAS = (1, 2, 4, 8)
SHRUNK = 2  # times the model's input: what a client may shrink a picture to
SIDE = 224


def measure(plan: Run) -> dict[str, Any]:
    """All of it, as plain JSON types.

    Raises:
        EdgeclfError: Something could not be measured.
    """
    seconds = 1.0 if plan.quick else 25.0
    pictures = sorted(path for path in plan.batch.iterdir() if path.is_file())
    artifact = edgeclf.load_artifact(plan.artifacts[0])
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "quick": plan.quick,
        "stand_in": plan.is_stand_in,
        "drawn": plan.batch.name == "batch",
        "file": plan.artifacts[0].name,
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "classes": len(artifact.metadata.labels),
        "pictures": _about(pictures),
        "fetched": fetch_times(plan.out / "pictures.json"),
    }
    log("  the SavedModel in TensorFlow, one picture after another")
    record["as_given"] = as_given(plan.model / "birds", plan.batch, 1.0 if plan.quick else 10.0)
    log("  the service, asked by one client, and at a rate")
    record["service"], record["service_ms"] = of_service(plan, seconds)
    record["replicas"] = replicas(record["service_ms"], record["service"]["rate_per_s"])
    log("  what would move it")
    record["decoding"] = decoding(pictures, 3 if plan.quick else 12)
    record["engines"] = engines(plan)
    machine = environment()
    record["environment"] = {name: value for name, value in machine.items() if name != "command"}
    del record["service_ms"]
    return record


def _about(pictures: Sequence[Path]) -> dict[str, Any]:
    sizes = [path.stat().st_size for path in pictures]
    with Image.open(pictures[0]) as first:
        side = first.size
    return {"count": len(pictures), "mean_bytes": statistics.fmean(sizes),
            "first_pixels": list(side)}  # fmt: skip


def fetch_times(file: Path) -> dict[str, Any] | None:
    """What fetching a picture took when it was fetched; None where none was."""
    try:
        fetched = json.loads(file.read_text(encoding="utf-8"))["pictures"]
        times = [float(each["ms"]) for each in fetched]
    except (OSError, ValueError, LookupError):
        return None
    return dataclasses.asdict(percentiles(times)) if times else None


def as_given(model: Path, batch: Path, seconds: float) -> dict[str, Any]:
    """The SavedModel as scripts use it, in a process of its own.

    Raises:
        MeasurementError: It failed.
    """
    words = [sys.executable, __file__, str(model), str(batch), str(seconds)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise edgeclf.MeasurementError(f"TensorFlow could not be measured; it said: {said[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _as_given(model: str, batch: str, seconds: str) -> None:
    """Decodes in full, samples as OpenCV does by default, and calls TensorFlow for each picture."""
    start = time.perf_counter()
    import numpy as np

    from edgeclf.networks.backend import tf

    loaded = tf.saved_model.load(model)
    signatures = dict(loaded.signatures)
    call = signatures.get("default") or next(iter(signatures.values()))
    started_ms = 1e3 * (time.perf_counter() - start)
    contents = [path.read_bytes() for path in sorted(Path(batch).iterdir())]
    times: dict[str, list[float]] = {"decode": [], "preprocess": [], "inference": []}

    def one(content: bytes) -> tuple[float, float, float]:
        begin = time.perf_counter()
        image = Image.open(io.BytesIO(content)).convert("RGB")
        decoded = time.perf_counter()
        scale = (image.width / SIDE, 0, 0, 0, image.height / SIDE, 0)
        small = image.transform((SIDE, SIDE), Image.Transform.AFFINE, scale,
                                Image.Resampling.BILINEAR)  # fmt: skip
        pixels = tf.constant(np.asarray(small, np.float32)[None] / 255)
        ready = time.perf_counter()
        scores = next(iter(call(pixels).values())).numpy()
        scores.argsort()
        return decoded - begin, ready - decoded, time.perf_counter() - ready

    first_ms = 1e3 * sum(one(contents[0]))
    for index in range(5):
        one(contents[index % len(contents)])
    end, index, used = time.perf_counter() + float(seconds), 0, time.process_time()
    while time.perf_counter() < end:
        for values, value in zip(times.values(), one(contents[index % len(contents)]), strict=True):
            values.append(1e3 * value)
        index += 1
    total = [sum(parts) for parts in zip(*times.values(), strict=True)]
    stages = {name: _percentiles(values) for name, values in {**times, "total": total}.items()}
    cpu_ms = 1e3 * (time.process_time() - used) / index
    print(json.dumps({"start_ms": started_ms, "first_ms": first_ms, "cpu_ms": cpu_ms,
                      "stages_ms": stages}))  # fmt: skip


def of_service(plan: Run, seconds: float) -> tuple[dict[str, Any], list[float]]:
    """One client; a rate that one worker can just carry; and the same with a worker more.

    Returns:
        The figures, and how long each picture kept a worker busy.
    """
    artifact = plan.artifacts[0]

    def serve(workers: int, config: edgeclf.LoadConfig) -> tuple[Any, dict[str, Any]]:
        from edgeclf.service.load.local_server import local_server

        lines = plan.out / "load.jsonl"
        lines.unlink(missing_ok=True)
        words = [str(artifact), "--workers", str(workers), "--threads", "1", "--log", str(lines)]
        with local_server(words) as url:
            loaded = edgeclf.load(f"{url}/classify", plan.batch, config)
        step = loaded["steps"][-1]
        return read_log(lines), {
            "workers": workers, "per_s": step["accepted_per_s"], "latency_ms": step["latency_ms"],
            "means_ms": step["stages_ms"], "refused": step["refused"], "failed": step["failed"],
            "server": step["server"], "machine_cpus_busy": step["machine_cpus_busy"],
            "generator_cpus": step["generator"]["cpu_share"],
        }  # fmt: skip

    calm, alone = serve(1, edgeclf.LoadConfig(clients=1, seconds=seconds))
    service_ms = [sum(parts) for parts in zip(*(calm[s] for s in STAGES[1:4]), strict=True)]
    _, crowd = serve(1, edgeclf.LoadConfig(clients=CLIENTS, seconds=seconds))
    rate = round(BUSY * 1e3 / statistics.fmean(service_ms), 1)
    limits = {"seconds": seconds, "deadline_ms": 1000.0}
    waiting, one = serve(1, edgeclf.LoadConfig(rate=rate, **limits))
    found = {
        "stages_ms": {name: _percentiles(values) for name, values in calm.items()},
        "one_client": alone, "clients": {**crowd, "count": CLIENTS}, "rate_per_s": rate,
        "at_rate": one,
        "at_rate_stages_ms": {name: _percentiles(values) for name, values in waiting.items()},
    }  # fmt: skip
    if environment()["cpus_available"] > 1:
        _, two = serve(2, edgeclf.LoadConfig(rate=rate, **limits))
        found["two_workers"] = two
        _, more = serve(2, edgeclf.LoadConfig(clients=CLIENTS, seconds=seconds))
        found["two_workers_clients"] = {**more, "count": CLIENTS}
    return found, service_ms


def read_log(lines: Path) -> dict[str, list[float]]:
    """The times of each stage, of the requests after the first, in ms; and of all of them."""
    times: dict[str, list[float]] = {name: [] for name in (*STAGES, "total")}
    entries = lines.read_text(encoding="utf-8").splitlines()
    for line in entries[min(WARM_UP, len(entries) // 4) :]:
        entry = json.loads(line)
        if entry["status"] != 200 or len(entry["answers"]) != 1:
            continue
        (answer,) = entry["answers"]
        parts = [float(answer[f"{name}_ms"]) for name in STAGES[:-1]]
        parts.append(max(0.0, float(entry["total_ms"]) - sum(parts)))
        for name, value in zip(times, (*parts, float(entry["total_ms"])), strict=True):
            times[name].append(value)
    if not times["total"]:
        raise edgeclf.MeasurementError("The service's log holds no answer; ask for longer.")
    return times


def replicas(service_ms: Sequence[float], rate: float) -> list[dict[str, float]]:
    """What waiting comes to with more workers on CPUs of their own: computed, not measured."""
    from edgeclf.service.queueing import latency_quantile_ms

    return [
        {"replicas": count, **{
            name: latency_quantile_ms(service_ms, rate, count, share=share)
            for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99))
        }}
        for count in REPLICAS
    ]  # fmt: skip


def decoding(pictures: Sequence[Path], turns: int) -> dict[str, Any]:
    """File to tensor: decoded in full, at the scale that is needed, and of a smaller picture.

    In CPU time, as one thread does all of it: that of a busy machine is no longer.
    """
    from edgeclf.image import load_image

    scaled = edgeclf.ImageSpec(SIDE, SIDE)
    full = dataclasses.replace(scaled, scaled_decode=False)
    contents = [path.read_bytes() for path in pictures]
    smaller = [_shrunk(content) for content in contents]
    ways: dict[str, Callable[[int], object]] = {
        "full": lambda i: load_image(contents[i], full),
        "scaled": lambda i: load_image(contents[i], scaled),
        "shrunk": lambda i: load_image(smaller[i], scaled),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for index in range(len(contents)):
            for name, way in ways.items():
                start = time.thread_time()
                way(index)
                if turn:  # the first is warm-up
                    times[name].append(1e3 * (time.thread_time() - start))
    found: dict[str, Any] = {name: _percentiles(values) for name, values in times.items()}
    found["shrunk_bytes"] = statistics.fmean(map(len, smaller))
    return found


def _shrunk(content: bytes) -> bytes:
    """What a client may send instead: the shorter side twice the model's input."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    factor = min(1.0, SHRUNK * SIDE / min(image.size))
    out = io.BytesIO()
    side = (round(image.width * factor), round(image.height * factor))
    image.resize(side, Image.Resampling.LANCZOS).save(out, "JPEG", quality=90)
    return out.getvalue()


def engines(plan: Run) -> list[dict[str, Any]]:
    """The model alone, on random pixels: each file on one thread; the served one on more, and in
    batches."""
    from edgeclf.measurement.matrix.cases import BenchmarkMatrix

    served, cpus = plan.artifacts[0], environment()["cpus_available"]
    asked = [(plan.artifacts, BenchmarkMatrix(threads=(1,)))]
    if not plan.quick:
        asked.append(([served], BenchmarkMatrix(threads=(1,), batches=(8,))))
        if cpus > 1:
            asked.append(([served], BenchmarkMatrix(threads=(cpus,))))
    rows = []
    for files, matrix in asked:
        out = plan.out / "benchmark.json"
        results = edgeclf.benchmark(files, None, matrix=matrix, out=out, quick=True, fresh=True)
        for row in results["rows"]:
            if row["error"]:
                raise edgeclf.MeasurementError(f"{row['id']} could not be measured: {row['error']}")
            rows.append({
                "file": row["file"], "precision": row["precision"], "format": row["format"],
                "runtime": row["runtime"]["name"], "threads": row["threads"], "batch": row["batch"],
                "size_bytes": row["size_bytes"],
                "ms": row["latency"]["stages_ms"]["inference"]["p50"] / row["batch"],
                "stable": row["latency"]["stable"],
                "memory_bytes": row["memory"]["phases"]["steady"]["pss_bytes"],
            })  # fmt: skip
    return rows


def _percentiles(values: Sequence[float]) -> dict[str, Any]:
    return dataclasses.asdict(percentiles(values))


if __name__ == "__main__":
    _as_given(*sys.argv[1:])
