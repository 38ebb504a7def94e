"""Whether `edgeclf benchmark` says the same again: one row, five times, some minutes apart.

python benchmarks/repeatability.py --minutes 3
"""

from __future__ import annotations

import tempfile
import time
from datetime import datetime
from pathlib import Path

from shared import PHOTOS, Figure, finish, parse

import edgeclf

MODEL = "mugs.int8.tflite"
SPREAD_PERCENT = 5.0
STAGES = ("inference", "total")


def main() -> int:
    args = parse(
        __doc__,
        runs=(5, "how often the row is measured"),
        minutes=(3.0, "from the start of one run to that of the next"),
    )
    found: dict[str, list[float]] = {stage: [] for stage in STAGES}
    start = time.monotonic()
    for number in range(args.runs):
        time.sleep(max(0.0, start + number * args.minutes * 60 - time.monotonic()))
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "benchmark.json"
            (row,) = edgeclf.benchmark([args.artifacts / MODEL], PHOTOS, out=out)["rows"]
        for stage in STAGES:
            found[stage].append(row["latency"]["stages_ms"][stage]["p50"])
        now = ", ".join(f"{stage} {found[stage][-1]:.4f} ms" for stage in STAGES)
        print(f"{datetime.now():%H:%M:%S}  p50 of {now}", flush=True)
    figures = [
        Figure(
            f"p50 of {stage} in {args.runs} runs: the largest above the smallest",
            100 * (max(values) / min(values) - 1), "%", at_most=SPREAD_PERCENT,
            note=", ".join(f"{value:.3f}" for value in values) + " ms",
        )
        for stage, values in found.items()
    ]  # fmt: skip
    method = f"{args.runs} runs of 'edgeclf benchmark' on {MODEL}, {args.minutes:g} minutes apart"
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
