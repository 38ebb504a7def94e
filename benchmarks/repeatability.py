"""Whether `edgeclf benchmark` says the same again: two rows, five times, some minutes apart.

One row has one thread, the other one for each CPU. What decides is the p50 of a row, from the bytes
of a file to the answer; that of the engine alone stands in the notes.

python benchmarks/repeatability.py --minutes 3
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from shared import PHOTOS, Figure, finish, parse

import edgeclf
from edgeclf.system.cpu import available_cpus
from edgeclf.system.words import counted

MODEL = "mugs.int8.tflite"
SPREAD_PERCENT = 5.0
THREADS = sorted({1, available_cpus()})


def main() -> int:
    args = parse(
        __doc__,
        runs=(5, "how often the rows are measured"),
        minutes=(3.0, "from the start of one run to that of the next"),
    )
    found: dict[str, dict[str, list[float]]] = {}
    start = time.monotonic()
    for number in range(args.runs):
        time.sleep(max(0.0, start + number * args.minutes * 60 - time.monotonic()))
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "benchmark.json"
            matrix = edgeclf.BenchmarkMatrix(threads=THREADS)
            results = edgeclf.benchmark([args.artifacts / MODEL], PHOTOS, matrix=matrix, out=out)
        for row in results["rows"]:
            name = counted(row["threads"], "thread")
            for stage, told in row["latency"]["stages_ms"].items():
                found.setdefault(name, {}).setdefault(stage, []).append(told["p50"])
            now = ", ".join(f"{stage} {values[-1]:.4f}" for stage, values in found[name].items())
            print(f"{datetime.now():%H:%M:%S}  {name}: p50 in ms of {now}", flush=True)
    figures = [
        Figure(
            f"p50 of the row with {name} in {args.runs} runs: the largest above the smallest",
            spread_percent(stages["total"]), "%", at_most=SPREAD_PERCENT,
            note=f"{', '.join(f'{value:.3f}' for value in stages['total'])} ms; the engine alone: "
            f"{spread_percent(stages['inference']):.1f} %, "
            f"{', '.join(f'{value:.3f}' for value in stages['inference'])} ms",
        )
        for name, stages in found.items()
    ]  # fmt: skip
    method = f"{args.runs} runs of 'edgeclf benchmark' on {MODEL}, {args.minutes:g} minutes apart"
    return finish(__file__, figures, method, args.write)


def spread_percent(values: Sequence[float]) -> float:
    return 100 * (max(values) / min(values) - 1)


if __name__ == "__main__":
    raise SystemExit(main())
