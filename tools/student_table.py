"""What the benchmarks' page shows of `students.py`: students and peers, data set by data set."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeclf.reporting import text
from edgeclf.reporting.markdown import markdown_table

COLUMNS = ("Network", "Start", "Pixels", "Parameters", "Passes", "CPU (s)", "Seeds",
           "Float", "LiteRT", "ONNX Runtime", "LiteRT (ms)", "ONNX Runtime (ms)",
           "Answer (ms)", "TFLite", "ONNX", "Ours ahead")  # fmt: skip
RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime"}


def students(folder: Path) -> str:
    """The plot; a table for each data set; what was asked, and what came of it."""
    parts = []
    for path in sorted(folder.glob("students.*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        picture = path.with_suffix(".svg")
        if picture.exists():
            what = "Accuracy of students and peers against the latency of a call"
            parts.append(f"![{what}]({folder.name}/{picture.name})")
        for data in dict.fromkeys(row["data"] for row in document["rows"]):
            rows = [row for row in document["rows"] if row["data"] == data]
            teacher, photos = text.percent(rows[0]["teacher_top1"]), rows[0]["judged_by"]
            parts.append(f"### {data}, judged by {photos:,} photos, teacher {teacher}")
            parts.append(markdown_table(COLUMNS, [_cells(row, rows) for row in rows], 2))
        found = document["environment"]
        parts.append(
            f"Measured on {found['cpu']}, {found['cpus_available']} CPUs, kernel "
            f"{found['kernel']}; commit {found['commit']}: `{found['command']}`. "
            f"{document['method']}."
        )
    return "\n\n".join(parts)


def _cells(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    one = {runtime: row["latency"][f"{runtime}, 1 thread"] for runtime in RUNTIMES.values()}
    return (
        row["title"],
        row["start"],
        str(row["side"]),
        f"{row['parameters']:,}",
        str(row["passes"]),
        f"{statistics.mean(row['cpu_s']):.0f}",
        str(len(row["cpu_s"])),
        *(_accuracy(row[format_]) for format_ in ("keras", *RUNTIMES)),
        *(f"{statistics.median(calls['call_ms']):.3f}" for calls in one.values()),
        f"{statistics.median(one['litert']['answer_ms']):.2f}",
        *(f"{row[format_]['size_bytes'] / 1e3:,.0f} kB" for format_ in RUNTIMES),
        text.DASH if row["ours"] else ", ".join(_behind(row, rows)) or "no",
    )


def _accuracy(found: Mapping[str, Any]) -> str:
    if found["interval_95"] is None:
        return text.percent(found["mean"])
    half = (found["interval_95"][1] - found["interval_95"][0]) / 2
    return f"{100 * found['mean']:.1f} ± {100 * half:.1f} %"


def _behind(peer: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """On which runtimes one of ours is as accurate at least, and no slower."""
    for format_, runtime in RUNTIMES.items():
        for own in rows:
            faster = _call_ms(own, runtime) <= _call_ms(peer, runtime)
            if own["ours"] and faster and own[format_]["mean"] >= peer[format_]["mean"]:
                yield runtime
                break


def _call_ms(row: Mapping[str, Any], runtime: str) -> float:
    return statistics.median(row["latency"][f"{runtime}, 1 thread"]["call_ms"])
