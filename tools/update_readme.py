"""Fills the tables of the README and of the benchmarks' page from results that were measured.

python tools/update_readme.py runs/demo/benchmark.json    the README's demo table
python tools/update_readme.py benchmarks/results          its device table, and benchmarks/README.md
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmark_tables

from edgeclf.reporting.benchmark_page import environment_line, main_table
from edgeclf.reporting.summary import summarize

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BENCHMARKS = ROOT / "benchmarks" / "README.md"
# Scripts in the order of the table.
DEVICE_SCRIPTS = (
    "call_overhead", "peers", "batch_throughput", "device_memory", "install_footprint",
    "decoded_frames", "runtime_agreement",
)  # fmt: skip
MEASURING_SCRIPTS = ("repeatability", "harness_cost", "method_soundness", "training_feed")


def fill(page: Path, marker: str, body: str) -> None:
    """Replaces what stands between a marker and its end."""
    begin, end = f"<!-- {marker}: written by tools/update_readme.py -->", f"<!-- /{marker} -->"
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{page.name} has no place for {marker}")
    page.write_text(pattern.sub(lambda _: f"{begin}\n{body}\n{end}", text), encoding="utf-8")


def demo_table(path: Path) -> str:
    results = json.loads(path.read_text(encoding="utf-8"))
    summary = summarize(results)
    words = " ".join(summary.sentences)
    return "\n\n".join([words, main_table(results, summary), environment_line(results)])


def figure_table(folder: Path, scripts: Sequence[str], link: str, longest_note: int) -> str:
    """The figures of some scripts.

    Args:
        folder: Of the results.
        scripts: Their names, in the order of the table.
        link: The folder as the page sees it.
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
                      f"and methods are in [{link}]({link})."])  # fmt: skip


def row(figure: dict[str, Any], longest_note: int) -> str:
    limit = {True: "yes", False: "**missed**", None: ""}[figure["met"]]
    unit = f" {figure['unit']}" * bool(figure["unit"])
    wanted = ""
    if figure["at_most"] is not None:
        wanted = f"≤ {figure['at_most']:g}{unit}"
    if figure["at_least"] is not None:
        wanted = f"≥ {figure['at_least']:g}{unit}"
    note = f" ({figure['note']})" * (0 < len(figure["note"]) <= longest_note)
    return f"| {figure['what']}{note} | {figure['value']:.3g}{unit} | {wanted} | {limit} |"


def main() -> int:
    source = Path(sys.argv[1])
    if source.is_dir():
        of_device = figure_table(source, DEVICE_SCRIPTS, "benchmarks/results", 60)
        fill(README, "device-table", of_device)
        fill(BENCHMARKS, "measuring", figure_table(source, MEASURING_SCRIPTS, "results", 200))
        fill(BENCHMARKS, "peers", benchmark_tables.peers(source))
        fill(BENCHMARKS, "scaling", benchmark_tables.scaling(source))
    else:
        fill(README, "demo-table", demo_table(source))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
