"""The results of a benchmark: reading their file, and the figures that its rows are judged by."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeclf.system import files
from edgeclf.system.words import counted

SCHEMA = "edgeclf.benchmark/2"

Row = Mapping[str, Any]


def read_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `edgeclf.benchmark` wrote.

    Raises:
        OptionError: The file cannot be read, is no benchmark result of this version, or holds no
            rows.
    """
    hint = "Expected the JSON file that 'edgeclf benchmark' wrote."
    return files.read_record(Path(path), SCHEMA, "rows", hint)


def total(row: Row) -> Mapping[str, Any] | None:
    """The percentiles of a row's whole latency in ms; None where it was not measured."""
    latency = row["latency"]
    return latency["stages_ms"]["total"] if latency else None


def steady_pss_bytes(row: Row) -> int | None:
    """PSS of the process after many answers; None where memory was not measured."""
    memory = row["memory"]
    return int(memory["phases"]["steady"]["pss_bytes"]) if memory else None


def is_unstable(row: Row) -> bool:
    """Whether the medians of the last windows of a row's latency lay too far apart."""
    return row["latency"] is not None and not row["latency"]["stable"]


def row_threads(row: Row) -> int | None:
    """The threads a row really ran with, else those asked for; None if neither is known."""
    threads: int | None = row["runtime"].get("threads") or row["threads"]
    return threads


def row_name(row: Row) -> str:
    """A row in words: its file, runtime and threads, and what else is not the usual."""
    parts = [f"{row['file']} on {row['runtime']['name']}"]
    threads = row_threads(row)
    if threads:
        parts.append(counted(threads, "thread"))
    if row["batch"] != 1:
        parts.append(f"batch {row['batch']}")
    if row["input"] != "photos":
        parts.append(f"{row['input']} input")
    return ", ".join(parts)


def _percentile(name: str) -> Callable[[Row], float | None]:
    def of(row: Row) -> float | None:
        percentiles = total(row)
        return percentiles[name] if percentiles else None

    return of


def _memory_mb(row: Row) -> float | None:
    steady = steady_pss_bytes(row)
    return None if steady is None else steady / 1e6


# What a row can be judged by. MB are 10^6 bytes; top1 is a share, 0..1.
METRICS: dict[str, Callable[[Row], float | None]] = {
    "p50_ms": _percentile("p50"),
    "p90_ms": _percentile("p90"),
    "p99_ms": _percentile("p99"),
    "memory_mb": _memory_mb,
    "size_mb": lambda row: row["size_bytes"] / 1e6,
    "top1": lambda row: row["accuracy"]["top1"] if row["accuracy"] else None,
    "cold_start_ms": lambda row: row["cold_start"]["warm_ms"] if row["cold_start"] else None,
}


IN_WORDS = {
    "p50_ms": "median latency",
    "p90_ms": "p90 latency",
    "p99_ms": "p99 latency",
    "memory_mb": "memory",
    "size_mb": "size",
    "top1": "top-1",
    "cold_start_ms": "cold start",
}


def why_missing(row: Row, metric: str) -> str:
    """Why a row has no such figure, in words."""
    if row["error"]:
        return f"it failed: {' '.join(row['error'].split())}"
    percentiles = total(row)
    if percentiles and metric in ("p90_ms", "p99_ms"):
        return f"{IN_WORDS[metric]} is withheld: {percentiles['n']:,} samples cannot carry it"
    return f"{IN_WORDS[metric]} was not measured"
