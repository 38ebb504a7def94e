"""Fills the tables of the README and of the benchmarks' page from results that were measured.

python tools/update_readme.py runs/demo/benchmark.json    the demo: four rows of it in the README
python tools/update_readme.py benchmarks/results          the other tables of benchmarks/README.md,
                                                          and those of docs/ that come from there

Of a demo, the picture of its report, docs/images/report.png, is taken as well if there is a
Chromium.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmark_tables
from pruning_table import pruning
from report_picture import take_picture
from scale_out_table import ray_serving, scale_out
from student_table import students

from edgeclf.reporting.benchmark_page import environment_line, main_table
from edgeclf.reporting.benchmark_tables import result_table
from edgeclf.reporting.summary import Summary, summarize
from edgeclf.reporting.tables import table_parts

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BENCHMARKS = ROOT / "benchmarks" / "README.md"
CONVERSION, RUNTIMES, TRUST, SCALING, TRAINING = (
    ROOT / "docs" / f"{name}.md"
    for name in ("conversion", "runtimes", "trust", "scaling", "training")
)
# Scripts in the order of the table.
DEVICE_SCRIPTS = (
    "call_overhead", "features_cost", "peers", "batch_throughput", "device_memory",
    "install_footprint", "decoded_frames", "runtime_agreement",
)  # fmt: skip
# Of the demo, what the README shows: the models as they were trained, and as they go to a device.
README_ROWS = (".keras", ".int8.tflite")
README_COLUMNS = ("File", "Top-1", "Agreement", "Size", "p50, ms", "Memory", "Cold start")
MEASURING_SCRIPTS = ("repeatability", "harness_cost", "method_soundness", "training_feed")
BULK_SCRIPTS = ("bulk", "bulk_million")
SERVING_SCRIPTS = ("serving_overhead", "serving_throughput", "serving_overload", "serving_start")
PAGE_SCRIPTS = ("browser", "page_soak", "link", "stress")
MAP_SCRIPTS = ("explanation_quality",)
WAITING_SCRIPTS = ("waiting", "waiting_training")


def fill(page: Path, marker: str, body: str) -> None:
    """Replaces what stands between a marker and its end."""
    begin, end = f"<!-- {marker}: written by tools/update_readme.py -->", f"<!-- /{marker} -->"
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{page.name} has no place for {marker}")
    page.write_text(pattern.sub(lambda _: f"{begin}\n{body}\n{end}", text), encoding="utf-8")


def demo_table(results: dict[str, Any], summary: Summary) -> str:
    words = " ".join(summary.sentences)
    return "\n\n".join([words, main_table(results, summary), environment_line(results)])


def demo_rows(results: dict[str, Any], summary: Summary) -> str:
    """The rows and columns that the README has room for, and the finding in a sentence."""
    (table,) = result_table(results, summary)
    kept = [index for index, name in enumerate(table.columns) if name in README_COLUMNS]
    rows = [row for row in table.rows if row[0].text.endswith(README_ROWS)]
    short = dataclasses.replace(
        table,
        columns=[table.columns[index] for index in kept],
        rows=[[row[index] for index in kept] for row in rows],
        first_number=1,
        caption="Latency from the bytes of an image file to the answer. "
        f"{'A quick run' if results['method']['quick'] else 'Measured'} on "
        f"{results['environment']['cpu']}; all rows and conditions are in the benchmarks.",
        notes=(),
    )
    return "\n\n".join([summary.sentences[0], *table_parts(short)])


def figure_table(folder: Path, scripts: Sequence[str], longest_note: int) -> str:
    """The figures of some scripts.

    Args:
        folder: Of the results.
        scripts: Their names, in the order of the table.
        longest_note: In characters; longer ones are in the results alone.
    """
    lines = ["| What | Measured | Wanted | |", "|---|---:|---:|---|"]
    machines = set()
    for script in scripts:
        for path in sorted(folder.glob(f"{script}.*.json")):
            document = json.loads(path.read_text(encoding="utf-8"))
            found = document["environment"]
            libraries = ", ".join(f"{n} {v}" for n, v in found["libraries"].items())
            machines.add(
                f"{found['cpu']} ({' '.join(found['cpu_flags'])}), {found['cpus_available']} CPUs, "
                f"Python {found['python']}, {libraries}"
            )
            lines += [row(figure, longest_note) for figure in document["figures"]]
    return "\n".join([*lines, "", f"Measured on {'; and on '.join(sorted(machines))}. Conditions "
                      "and methods are in [results](results)."])  # fmt: skip


def row(figure: dict[str, Any], longest_note: int) -> str:
    limit = {True: "yes", False: "**missed**", None: ""}[figure["met"]]
    unit = f" {figure['unit']}" * bool(figure["unit"])
    wanted = ""
    if figure["at_most"] is not None:
        wanted = f"≤ {short(figure['at_most'])}{unit}"
    if figure["at_least"] is not None:
        wanted = f"≥ {short(figure['at_least'])}{unit}"
    note = f" ({figure['note']})" * (0 < len(figure["note"]) <= longest_note)
    return f"| {figure['what']}{note} | {short(figure['value'])}{unit} | {wanted} | {limit} |"


def short(value: float) -> str:
    """Three digits that count, and from 1,000 on a whole number."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def main() -> int:
    source = Path(sys.argv[1])
    if source.is_dir():
        of_device = figure_table(source, DEVICE_SCRIPTS, 60)
        fill(BENCHMARKS, "device-table", of_device)
        fill(BENCHMARKS, "measuring", figure_table(source, MEASURING_SCRIPTS, 200))
        fill(BENCHMARKS, "waiting", figure_table(source, WAITING_SCRIPTS, 80))
        fill(BENCHMARKS, "prediction", figure_table(source, ("latency_prediction",), 60))
        fill(BENCHMARKS, "serving", figure_table(source, SERVING_SCRIPTS, 60))
        fill(BENCHMARKS, "zoo", figure_table(source, ("zoo_quality",), 60))
        fill(BENCHMARKS, "page", figure_table(source, PAGE_SCRIPTS, 80))
        fill(BENCHMARKS, "maps", figure_table(source, MAP_SCRIPTS, 60))
        fill(BENCHMARKS, "bulk", figure_table(source, BULK_SCRIPTS, 80))
        fill(BENCHMARKS, "servers", benchmark_tables.servers(source))
        fill(BENCHMARKS, "peers", benchmark_tables.peers(source))
        fill(BENCHMARKS, "scaling", benchmark_tables.scaling(source))
        fill(BENCHMARKS, "students", students(source))
        fill(BENCHMARKS, "pruning", pruning(source, plot=True))
        fill(TRAINING, "pruning", pruning(source, plot=False))
        fill(CONVERSION, "precisions", benchmark_tables.precisions(source))
        fill(RUNTIMES, "idle-threads", benchmark_tables.idle_threads(source))
        fill(TRUST, "beyond", benchmark_tables.beyond(source))
        fill(BENCHMARKS, "scale-out", scale_out(source, plot=True))
        fill(SCALING, "scale-out", scale_out(source, plot=False))
        fill(SCALING, "ray", ray_serving(source))
    else:
        results = json.loads(source.read_text(encoding="utf-8"))
        summary = summarize(results)
        fill(README, "demo-rows", demo_rows(results, summary))
        fill(BENCHMARKS, "demo-table", demo_table(results, summary))
        take_picture(source.with_name("report.html"), ROOT / "docs" / "images" / "report.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
