"""Benchmark rows as CSV: one line a row, one figure a column, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeclf.measurement.matrix.schema import METRICS, Row
from edgeclf.reporting.devices import Device
from edgeclf.reporting.summary import Summary
from edgeclf.system.words import csv_cell

_STAGES = ("decode", "preprocess", "inference", "total")
_PHASES = ("baseline", "imported", "loaded", "first inference", "steady")


def to_csv(devices: Sequence[Device], summaries: Sequence[Summary]) -> str:
    """All rows of all devices, with a header; what was not measured is empty.

    Args:
        devices: What was measured.
        summaries: What was derived from each.
    """
    lines = [
        {k: csv_cell(v) for k, v in {"device": device.name, **_columns(row, summary)}.items()}
        for device, summary in zip(devices, summaries, strict=True)
        for row in device.results["rows"]
    ]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _columns(row: Row, summary: Summary) -> dict[str, Any]:
    recommendation = summary.recommendation
    return {
        "id": row["id"],
        "recommended": row["id"] == recommendation.chosen,
        "rejected_because": recommendation.rejected.get(row["id"]),
        **{
            key: row[key]
            for key in ("model", "file", "format", "precision", "sha256", "parameters")
        },
        "size_bytes": row["size_bytes"],
        "input_height": row["input_size"][0],
        "input_width": row["input_size"][1],
        "runtime": row["runtime"]["name"],
        **{key: row["runtime"].get(key) for key in ("library", "library_version", "delegate")},
        "runs_on": row["runtime"].get("device"),
        "threads_asked": row["threads"],
        "threads": row["runtime"].get("threads"),
        "batch": row["batch"],
        "input": row["input"],
        **_accuracy(row),
        **dict(_latency(row)),
        "throughput_images_per_s": _of(row["throughput"], "images_per_s"),
        **_open_loop(row),
        **dict(_memory(row)),
        "cold_start_ms": METRICS["cold_start_ms"](row),
        "cold_start_dropped_ms": _of(row["cold_start"], "dropped_ms"),
        "joules_per_image": _of(row["energy"], "joules_per_image"),
        **dict(_state(row)),
        "throttled": row["throttled"],
        "error": row["error"],
    }


def _accuracy(row: Row) -> dict[str, Any]:
    accuracy = row["accuracy"]
    low, high = accuracy["top1_interval_95"] if accuracy else (None, None)
    return {
        "top1": METRICS["top1"](row),
        "top1_low_95": low,
        "top1_high_95": high,
        "images": _of(accuracy, "images"),
        **{key: _of(row["agreement"], key) for key in ("top1_agreement", "max_change")},
    }


def _latency(row: Row) -> Iterator[tuple[str, Any]]:
    latency = row["latency"]
    for stage in _STAGES:
        percentiles = latency["stages_ms"].get(stage) if latency else None
        for percentile in ("p50", "p90", "p99"):
            yield f"{stage}_{percentile}_ms", _of(percentiles, percentile)
    yield "latency_n", latency["stages_ms"]["total"]["n"] if latency else None
    yield "stable", _of(latency, "stable")


def _open_loop(row: Row) -> dict[str, Any]:
    stream = row.get("open_loop")
    latency = stream["latency_ms"] if stream else None
    counts, percentiles = ("rate_per_s", "sent", "served", "busy", "cpu_ms"), ("p50", "p90", "p99")
    return {
        **{f"open_loop_{key}": _of(stream, key) for key in counts},
        **{f"open_loop_{key}_ms": _of(latency, key) for key in percentiles},
    }


def _memory(row: Row) -> Iterator[tuple[str, Any]]:
    memory = row["memory"]
    for phase in _PHASES:
        use = memory["phases"].get(phase) if memory else None
        for kind in ("pss", "uss", "rss"):
            yield f"{phase.replace(' ', '_')}_{kind}_bytes", _of(use, f"{kind}_bytes")
    yield "peak_rss_bytes", _of(memory, "peak_rss_bytes")
    yield "gpu_bytes", _of(memory, "gpu_bytes")


def _state(row: Row) -> Iterator[tuple[str, Any]]:
    for name in ("frequency_mhz", "governor", "temperature_c", "load"):
        for when in ("before", "after"):
            yield f"{name}_{when}", _of(_of(row["state"], when), name)


def _of(record: Mapping[str, Any] | None, key: str) -> Any:
    return record.get(key) if record else None
