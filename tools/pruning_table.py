"""What the pages show of `pruning.py`: what is lost and gained, by the share that was pruned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeclf.reporting import text
from edgeclf.reporting.markdown import markdown_table

TARGETS = {
    "int8.tflite": "LiteRT int8", "int8.onnx": "ONNX Runtime int8",
    "fp32.tflite": "LiteRT fp32", "fp32.onnx": "ONNX Runtime fp32",
}  # fmt: skip
COLUMNS = (
    "Pruned", "Multiply-adds left", "Parameters", "Top-1 fp32", "Top-1 int8", "int8 TFLite",
    *(f"{name}, times faster" for name in TARGETS.values()),
)  # fmt: skip
CONTROL = ("Weights of the 1x1 convolutions", "Top-1", "Size", "Times faster")


def pruning(folder: Path, *, plot: bool) -> str:
    """The table of pruned networks, that of the control, and how both were measured."""
    parts = []
    for path in sorted(folder.glob("pruning.*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        picture = path.with_suffix(".svg")
        if plot and picture.exists():
            what = "Top-1 and times faster of pruned networks"
            parts.append(f"![{what}]({folder.name}/{picture.name})")
        shares = dict.fromkeys(row["pruned_percent"] for row in document["rows"])
        of_share = {
            share: {
                row["target"]: row for row in document["rows"] if row["pruned_percent"] == share
            }
            for share in shares
        }
        parts.append(markdown_table(COLUMNS, [_cells(rows) for rows in of_share.values()], 1))
        parts.append("The control, in float by LiteRT:")
        parts.append(markdown_table(CONTROL, [_control(row) for row in document["control"]], 1))
        found = document["environment"]
        parts.append(
            f"Measured on {found['cpu']}, {found['cpus_available']} CPUs: {document['method']}."
        )
    return "\n\n".join(parts)


def _cells(rows: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    any_row = rows["int8.tflite"]
    top1 = {target: text.percent(row["top1"]) for target, row in rows.items()}
    int8 = dict.fromkeys((top1["int8.tflite"], top1["int8.onnx"]))
    return (
        f"{any_row['pruned_percent']} %",
        text.percent(any_row["kept_multiply_adds"]),
        f"{any_row['parameters']:,}",
        top1["fp32.tflite"],
        " and ".join(int8),
        f"{any_row['size_bytes'] / 1e3:,.0f} kB",
        *(_faster(rows[target]) for target in TARGETS),
    )


def _control(row: Mapping[str, Any]) -> Sequence[str]:
    size = f"{row['size_bytes'] / 1e3:,.0f} kB"
    return row["control"], text.percent(row["top1"]), size, _faster(row)


def _faster(row: Mapping[str, Any]) -> str:
    low, high = row["times_faster_95"]
    return text.DASH if low == high else f"{row['times_faster']:.2f} ({low:.2f}–{high:.2f})"
