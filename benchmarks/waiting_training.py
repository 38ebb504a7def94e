"""How long training, distilling and the demo keep an engineer waiting, beside the build before.

What `waiting.py` does for `convert`, for the rest: the frozen work (features of the backbone for
every mug photo and a variation of it, the teacher's answers to eight views of each) and `edgeclf
demo` from photos to report, each a fresh process, in turns with a checkout of the build before. At
last the demo runs beside two processes that do nothing but keep a CPU busy each.

    git worktree add ../before 7d51560
    python benchmarks/waiting_training.py --before ../before --write

The checkout's own dependencies must be among those installed here. Needs `edgeclf[all]` and the
demo's teacher, `mugs-teacher.keras`. A round takes a quarter of an hour on two CPUs. CPU seconds
count those of the processes a build starts, too.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared import ROOT, Figure, checkout_before, finish, parse

MUGS = ROOT / "examples" / "mugs"
FROZEN = "features of the backbone, a teacher's answers to 640 photos x 8 views"
DEMO = "edgeclf demo"
FROZEN_OF_BEFORE, DEMO_OF_BEFORE, DEMO_S, BUSY = 0.4, 0.45, 210.0, 2.5
# Of the largest number. The answers are to views as photos are, of whole numbers: of a million, two
# are rounded the other way, where the build before had another last bit.
ALIKE = {"rows": 1e-4, "logits": 1e-3}
# Loading is not what is compared: it is the same, and the time starts behind it.
FROZEN_PROGRAM = """
import sys, time
from pathlib import Path
import numpy as np
from edgeclf.artifact import load_artifact
from edgeclf.image import ImageSpec, load_image
from edgeclf.training import fit, teachers
artifact = load_artifact(sys.argv[1])
paths = sorted(Path(sys.argv[2]).glob("*/*.jpg"))
images = np.stack([load_image(path, artifact.metadata.image) for path in paths])
teacher = teachers.open_teacher(artifact, artifact.metadata.labels)
start, cpu = time.monotonic(), time.process_time()
try:
    from edgeclf.training import soft_targets
    from edgeclf.training.config import TrainingConfig
    rows = fit._features(teacher.model, images, TrainingConfig(), {})
    logits, *_ = soft_targets._answers(
        teacher, images, soft_targets._Views(8, 0, True), False, None)
except ImportError:  # the build before
    from edgeclf.training import lessons
    rows = fit._features(teacher.model, images, 0, 1.0)
    logits, *_ = lessons._answers(teacher, images, 8, 0, False, None)
print(time.process_time() - cpu, time.monotonic() - start)
np.savez(sys.argv[3], rows=rows, logits=logits)
"""
DEMO_PROGRAM = "import sys; from edgeclf.cli import main; sys.exit(main(sys.argv[1:]))"


def run(checkout: Path, program: str, *words: object) -> tuple[float, float, str]:
    """CPU seconds, wall time in seconds and what is printed, of a program on a checkout's code."""
    command = [sys.executable, "-c", program, *map(str, words)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(checkout)}, cwd=checkout,
                          capture_output=True, text=True)  # fmt: skip
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stderr.strip()[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall, done.stdout


def frozen(checkout: Path, teacher: Path, out: Path) -> dict[str, float]:
    """The frozen work by the code of a checkout; its numbers go to `out`."""
    *_, printed = run(checkout, FROZEN_PROGRAM, teacher, MUGS / "train", out)
    cpu, wall = map(float, printed.split()[-2:])
    return {"CPU": cpu, "wall": wall}


def demo(checkout: Path, out: Path) -> dict[str, float]:
    """The demo by the code of a checkout, into an empty folder, and how well its student does."""
    import edgeclf

    cpu, wall, _ = run(checkout, DEMO_PROGRAM, "demo", MUGS, "--out", out)
    found = {"CPU": cpu, "wall": wall}
    for name in ("mugs-teacher", "mugs"):
        accuracy = edgeclf.load_artifact(out / f"{name}.keras").metadata.accuracy
        assert accuracy is not None
        found[f"top-1 of {name}"] = accuracy["source"]["top1"]
    return found


@contextmanager
def busy(count: int = 2) -> Iterator[None]:
    """A block beside processes that keep a CPU busy each."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def figures_of(
    job: str, found: dict[str, list[dict[str, float]]], limit: float, most_s: float | None
) -> list[Figure]:
    """The figures of one job, medians over the rounds."""

    def median(build: str, what: str) -> float:
        return statistics.median(each[what] for each in found[build])

    figures = []
    for what in ("CPU", "wall"):
        before, now = median("before", what), median("now", what)
        ratio_limit = limit if what == "CPU" or most_s else None
        figures += [
            Figure(f"{job}: {what}, before", before, "s"),
            Figure(f"{job}: {what}", now, "s", at_most=most_s if what == "wall" else None),
            Figure(f"{job}: {what}, of before", now / before, at_most=ratio_limit),
        ]
    for what in found["now"][0]:
        if what.startswith("top-1"):
            figures.append(Figure(f"{job}: {what}, before", median("before", what)))
            figures.append(Figure(f"{job}: {what}", median("now", what)))
    return figures


def differences(before: Path, now: Path) -> dict[str, float]:
    """The largest difference of two builds' numbers, of the largest number of their kind."""
    import numpy as np

    with np.load(before) as one, np.load(now) as other:
        return {
            name: float(np.abs(one[name] - other[name]).max() / np.abs(one[name]).max())
            for name in one
        }


def main() -> int:
    args = parse(__doc__, before=("", "checkout of the build before"),
                 rounds=(3, "runs of each"), only=("", "'frozen', 'demo' or 'busy'"))  # fmt: skip
    before, commit = checkout_before(args.before)
    builds = {"before": before, "now": ROOT}
    teacher = (args.artifacts / "mugs-teacher.keras").resolve()
    jobs = {"frozen": (FROZEN, FROZEN_OF_BEFORE, None), "demo": (DEMO, DEMO_OF_BEFORE, DEMO_S)}
    figures: list[Figure] = []
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, (job, limit, most_s) in jobs.items():
            if args.only not in ("", kind):
                continue
            found: dict[str, list[dict[str, float]]] = {build: [] for build in builds}
            for turn in range(args.rounds):
                for build in builds if turn % 2 == 0 else reversed(builds):
                    out = folder / f"{build}-{turn}"
                    if kind == "frozen":
                        found[build].append(frozen(builds[build], teacher, out.with_suffix(".npz")))
                    else:
                        found[build].append(demo(builds[build], out))
                    rows.append({"job": job, "build": build, **found[build][-1]})
                    print(json.dumps(rows[-1]), flush=True)
            figures += figures_of(job, found, limit, most_s)
            if kind == "frozen":
                worst = differences(folder / "before-0.npz", folder / "now-0.npz")
                figures += [
                    Figure(f"{job}: largest difference of {name}", worst[name], at_most=limit)
                    for name, limit in ALIKE.items()
                ]
        if args.only in ("", "busy"):
            quiet = [row["wall"] for row in rows if (row["job"], row["build"]) == (DEMO, "now")]
            if not quiet:
                quiet = [demo(ROOT, folder / "quiet")["wall"]]
            with busy():
                beside = demo(ROOT, folder / "busy")["wall"]
            ratio = beside / statistics.median(quiet)
            figures.append(Figure(f"{DEMO}: wall beside two busy loops, of quiet", ratio,
                                  at_most=BUSY))  # fmt: skip
    method = f"{args.rounds} fresh processes of each build, in turns, medians; before is {commit}"
    return finish(__file__, figures, method, args.write, rows=rows)


if __name__ == "__main__":
    raise SystemExit(main())
