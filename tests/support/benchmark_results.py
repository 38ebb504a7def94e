"""What `edgeclf.benchmark` writes, made up for the tests of what reads it."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

MB = 1_000_000
REASON = "RuntimeLoadError: no such\n  <operator> | here"
STATE = {"frequency_mhz": 2400.0, "governor": None, "temperature_c": None, "load": 0.5}
# What a row that failed has none of.
MEASURED = (
    "accuracy", "agreement", "latency", "throughput", "memory", "cold_start", "energy", "state",
)  # fmt: skip


def make_row(
    model: str,
    format_: str,
    precision: str,
    runtime: str,
    *,
    parameters: int,
    size_bytes: int,
    top1: float,
    total_ms: float,
    pss_bytes: int,
    p99_ms: float | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """A row that worked, with figures derived from those given."""
    stages = {"decode": 0.5, "preprocess": 0.25, "inference": total_ms - 0.8, "total": total_ms}
    phases = ("baseline", "imported", "loaded", "first inference", "steady")
    file = f"{model}.{precision}.{format_}"
    return {
        "id": f"{file} {runtime} {threads}",
        "model": model,
        "file": file,
        "format": format_,
        "precision": precision,
        "sha256": sha256(file.encode()).hexdigest(),
        "size_bytes": size_bytes,
        "parameters": parameters,
        "input_size": [160, 160],
        "threads": threads,
        "batch": 1,
        "input": "photos",
        "runtime": {
            "name": runtime,
            "library": f"lib-{runtime}",
            "library_version": "1.2.3",
            "device": "cpu",
            "delegate": None,
            "threads": threads,
        },
        "accuracy": {
            "top1": top1,
            "top1_interval_95": [top1 - 0.05, top1 + 0.02],
            "images": 400,
            "data_sha256": "cd" * 32,
        },
        "agreement": {"top1_agreement": 0.985, "max_change": 0.1, "mean_change": 0.01},
        "latency": {
            "warmup": 10,
            "stages_ms": {
                name: {"n": 1200, "p50": value, "p90": value * 1.5, "p99": p99_ms}
                for name, value in stages.items()
            },
            "histogram": {
                "edges_ms": [total_ms * factor for factor in (0.9, 1.0, 1.2, 1.6)],
                "counts": [500, 600, 100],
            },
            "windows_p50_ms": [total_ms * factor for factor in (0.98, 1.0, 1.02)],
            "stable": True,
        },
        "throughput": {"images_per_s": 1e3 / total_ms, "batch": 1, "n": 1200},
        "memory": {
            "phases": {
                name: {
                    "pss_bytes": pss_bytes * (index + 1) // 5,
                    "uss_bytes": pss_bytes * (index + 1) // 6,
                    "rss_bytes": pss_bytes * (index + 1) // 4,
                }
                for index, name in enumerate(phases)
            },
            "peak_rss_bytes": pss_bytes * 2,
            "gpu_bytes": None,
        },
        "cold_start": {"warm_ms": 1234.5, "dropped_ms": None, "dropped_reason": "not allowed"},
        "energy": None,
        "state": {"before": STATE, "after": {**STATE, "frequency_mhz": 3000.0}},
        "throttled": None,
        "error": None,
    }


def make_results() -> dict[str, Any]:
    """Teacher and student as Keras and int8 TFLite, and a student's ONNX that failed.

    They are big.fp32.keras (90 %, 20 ms, 600 MB, 16 MB), big.int8.tflite (89 %, 8 ms, 50 MB, 4 MB),
    small.int8.tflite (88 %, 2 ms, 40 MB, 0.5 MB), each +2 -5 points, and small.int8.onnx.
    """
    teacher: dict[str, Any] = {"model": "big", "parameters": 4_000_000}
    student: dict[str, Any] = {"model": "small", "parameters": 500_000}
    rows = [
        make_row(**teacher, format_="keras", precision="fp32", runtime="tensorflow",
            size_bytes=16 * MB, top1=0.9, total_ms=20.0, pss_bytes=600 * MB, p99_ms=40.0),
        make_row(**teacher, format_="tflite", precision="int8", runtime="litert",
            size_bytes=4 * MB, top1=0.89, total_ms=8.0, pss_bytes=50 * MB),
        make_row(**student, format_="tflite", precision="int8", runtime="litert",
            size_bytes=MB // 2, top1=0.88, total_ms=2.0, pss_bytes=40 * MB),
        make_row(**student, format_="onnx", precision="int8", runtime="onnxruntime",
            size_bytes=MB, top1=0.0, total_ms=1.0, pss_bytes=MB),
    ]  # fmt: skip
    rows[3].update(dict.fromkeys(MEASURED), error=REASON)
    rows[3]["runtime"] = {"name": "onnxruntime"}
    return {
        "schema": "edgeclf.benchmark/2",
        "environment": {
            "cpu": "A CPU",
            "cpu_flags": ["avx2"],
            "cpus_available": 2,
            "cpus_of_machine": 4,
            "governor": None,
            "memory_bytes": 8_000 * MB,
            "system": "Linux x86_64",
            "kernel": "6.1",
            "python": "3.11.7",
            "libraries": {"numpy": "2.0"},
            "commit": "0123456789ab+",
            "command": "edgeclf benchmark big.keras --images photos",
            "date": "2026-11-21",
        },
        "method": {
            "latency": "one process a row",
            "memory": "one process a row",
            "quick": False,
            "input": "photos",
            "images": 400,
            "data_sha256": "cd" * 32,
        },
        "complete": True,
        "rows": rows,
    }
