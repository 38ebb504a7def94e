"""How long `edgeclf convert` keeps an engineer waiting, beside the build before.

Each conversion is a fresh process, in turns with the same one by a checkout of the build before, on
the same photos: CPU seconds, wall time and peak memory, and how often the artifacts answer like
their source. On a machine with other work, believe the CPU seconds.

    git worktree add ../before 7d51560
    python benchmarks/waiting.py --before ../before --write

The checkout's own dependencies must be among those installed here. Needs `edgeclf[all]` and the
demo's teacher, `mugs-teacher.keras`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from conversion_time import IMAGES, SIDE, write_images
from shared import ROOT, Figure, checkout_before, finish, parse

MUGS = ROOT / "examples" / "mugs"
# Of the build before, at most: CPU seconds, peak memory (None where none was asked for).
LIMITS: dict[str, tuple[float, float | None]] = {
    "EfficientNet-Lite0, 160 px, to the four default targets": (0.25, 0.3),
    f"MobileNetV2, {SIDE} px, to int8 TFLite": (0.35, None),
}
LOST = 0.002  # of the agreement, at most
PROGRAM = """
import json, re, sys, time
start = time.monotonic()
from edgeclf.cli import main
code = main(sys.argv[1:])
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print(json.dumps({"code": code, "CPU": time.process_time(), "wall": time.monotonic() - start,
                  "peak": int(peak) / 1e3}))
"""
MODEL = """
import sys
from edgeclf.networks.backend import keras
keras.utils.set_random_seed(0)
side = int(sys.argv[1])
keras.applications.MobileNetV2(input_shape=(side, side, 3), weights=None).save(sys.argv[2])
"""


def convert(checkout: Path, words: list[object], out: Path) -> dict[str, Any]:
    """One conversion by the code of a checkout, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", PROGRAM, "convert", *words, "--out", out]
    done = subprocess.run([*map(str, command)], env=environment, cwd=checkout, capture_output=True,
                          text=True)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{checkout} cannot convert: {done.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["code"]:
        raise SystemExit(f"{checkout}: a result did not pass the gate: {done.stderr[-2000:]}")
    (report,) = out.glob("*.conversion.json")
    results = json.loads(report.read_text(encoding="utf-8"))["results"]
    found["agreement"] = {
        name.partition(".")[2]: result["comparison"]["top1_agreement"]
        for name, result in results.items()
    }
    return found


def jobs(teacher: Path, folder: Path) -> dict[str, list[object]]:
    """What is converted, by its name in `LIMITS`: the words behind `edgeclf convert`."""
    for name, seed in (("calibration", 1), ("evaluation", 2)):
        write_images(folder / name, seed)
    (folder / "labels.txt").write_text("".join(f"class {i}\n" for i in range(1000)))
    model = folder / "mobilenet.keras"
    subprocess.run([sys.executable, "-c", MODEL, str(SIDE), str(model)], check=True)
    words: tuple[list[object], list[object]] = (
        [teacher, "--calibration", MUGS / "train", "--evaluation", MUGS / "eval"],
        [model, "--calibration", folder / "calibration", "--evaluation", folder / "evaluation",
         "--labels", folder / "labels.txt", "--input-range", -127 / 128, 1, "--tolerance", 1,
         "--to", "int8.tflite"],
    )  # fmt: skip
    return dict(zip(LIMITS, words, strict=True))


def figures_of(
    job: str, found: dict[str, list[dict[str, Any]]], limits: tuple[float, float | None]
) -> list[Figure]:
    """The figures of one conversion, medians over the rounds."""

    def median(build: str, what: str) -> float:
        return statistics.median(each[what] for each in found[build])

    figures = []
    for what, unit, limit in (("CPU", "s", limits[0]), ("wall", "s", None),
                              ("peak", "MB", limits[1])):  # fmt: skip
        before, now = median("before", what), median("now", what)
        figures += [
            Figure(f"{job}: {what}, before", before, unit),
            Figure(f"{job}: {what}", now, unit),
            Figure(f"{job}: {what}, of before", now / before, at_most=limit),
        ]
    if job.startswith("EfficientNet"):  # the other's weights are random: it answers nothing
        for target, share in found["now"][0]["agreement"].items():
            lost = found["before"][0]["agreement"][target] - share
            what = f"{job}: agreement of {target} lost"
            figures.append(Figure(what, lost, at_most=LOST))
    return figures


def main() -> int:
    args = parse(__doc__, before=("", "checkout of the build before"),
                 rounds=(3, "conversions of each"))  # fmt: skip
    before, commit = checkout_before(args.before)
    builds = {"before": before, "now": ROOT}
    figures, rows = [], []
    with tempfile.TemporaryDirectory() as name:
        for job, words in jobs(
            (args.artifacts / "mugs-teacher.keras").resolve(), Path(name)
        ).items():
            found: dict[str, list[dict[str, Any]]] = {build: [] for build in builds}
            for turn in range(args.rounds):
                for build in builds if turn % 2 == 0 else reversed(builds):
                    out = Path(name) / f"{time.monotonic_ns()}"
                    found[build].append(convert(builds[build], words, out))
                    rows.append({"job": job, "build": build, **found[build][-1]})
                    print(json.dumps(rows[-1]), flush=True)
            figures += figures_of(job, found, LIMITS[job])
    method = (
        f"{args.rounds} fresh processes of each build, in turns, medians; before is {commit}; "
        f"640 photos to calibrate from and 240 to judge on, MobileNetV2 {IMAGES} and {IMAGES}"
    )
    return finish(__file__, figures, method, args.write, rows=rows)


if __name__ == "__main__":
    raise SystemExit(main())
