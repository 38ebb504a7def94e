"""`edgeclf demo`: every verb in turn on the mugs example, ending in a report."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any

from edgeclf.errors import DataError

_QUICK_TOLERANCE = 0.5


def demo(
    data: str | os.PathLike[str] = "examples/mugs",
    *,
    out: str | os.PathLike[str] = "runs/demo",
    quick: bool = False,
) -> Path:
    """Trains, distils, converts, verifies, measures and reports, reusing what is still good.

    Args:
        data: A folder with ``train`` and ``eval``, each with one folder of photos a class.
        out: Folder for all results.
        quick: One epoch a stage, and the teacher stays a Keras file: shows that everything runs,
            not what it can do.

    Returns:
        The report, ``report.html`` in `out`.

    Raises:
        DataError: `data` does not hold the two folders.
        EdgeclfError: What the stages raise.
    """
    from edgeclf.benchmark import benchmark
    from edgeclf.convert import convert
    from edgeclf.converters.base import DEFAULT_TARGETS
    from edgeclf.converters.gate import DEFAULT_TOLERANCE
    from edgeclf.distill import distill
    from edgeclf.report import report
    from edgeclf.system.progress import log
    from edgeclf.system.stages import Stages
    from edgeclf.train import train
    from edgeclf.verify import verify

    data, out = Path(data), Path(out)
    for part in ("train", "eval"):
        if not (data / part).is_dir():
            raise DataError(
                f"{data / part} is not a folder. Run the demo from the repository's root, or give "
                "it a folder that holds train/ and eval/."
            )
    start = time.monotonic()
    train_photos, eval_photos = data / "train", data / "eval"
    name = data.resolve().name
    teacher, student = out / f"{name}-teacher.keras", out / f"{name}.keras"
    sources = (student,) if quick else (teacher, student)
    artifacts = {m: [out / f"{m.stem}.{t}" for t in DEFAULT_TARGETS] for m in sources}
    stages = Stages(out / "stages")
    fewer: dict[str, Any] = {"epochs": 1} if quick else {}
    # After one epoch a model is right by chance, and int8 moves its answers about.
    tolerance = _QUICK_TOLERANCE if quick else DEFAULT_TOLERANCE
    fewer_views: dict[str, Any] = {"epochs": 1, "views": 1} if quick else {}

    stages.run(
        "train the teacher",
        lambda: train(train_photos, evaluation=eval_photos, out=out, **fewer),
        settings=fewer,
        inputs=[
            train_photos,
            eval_photos,
            *_code_of("train"),
        ],
        outputs=[teacher],
    )
    stages.run(
        "distil the student",
        lambda: distill(teacher, train_photos, evaluation=eval_photos, out=out, **fewer_views),
        settings=fewer_views,
        inputs=[
            teacher,
            train_photos,
            eval_photos,
            *_code_of("distill"),
        ],
        outputs=[student],
    )
    for model in sources:

        def convert_model(model: Path = model) -> Any:
            return convert(
                model, evaluation=eval_photos, calibration=train_photos, tolerance=tolerance
            )

        stages.run(
            f"convert {model.stem}",
            convert_model,
            settings=[DEFAULT_TARGETS, tolerance],
            inputs=[
                model,
                train_photos,
                eval_photos,
                *_code_of("convert"),
            ],
            outputs=artifacts[model],
        )
    log("== verify every artifact against its certificate")
    for path in itertools.chain(*artifacts.values()):
        verified = verify(path)
        log(f"  {path.name:<28} repeats its {verified.images} golden answers")
    models = [p for m in (teacher, student) for p in (m, *artifacts.get(m, ()))]
    results = out / "benchmark.json"
    stages.run(
        "benchmark",
        lambda: benchmark(models, eval_photos, out=results, quick=True),
        settings={},
        inputs=[*models, *_code_of("benchmark")],
        outputs=[results],
    )
    log("== report")
    page = report(results, out=out)
    log(f"done in {time.monotonic() - start:.0f} s: open {page}")
    return page


def _code_of(verb: str) -> list[Path]:
    """The code whose change makes what a verb has made out of date; pages decide no result."""
    from edgeclf.system.imports import sources_of

    return sources_of(f"edgeclf.{verb}", without=("edgeclf.cli", "edgeclf.reporting"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("data", nargs="?", default="examples/mugs",
                        help="folder with train/ and eval/ (default: %(default)s)")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", default="runs/demo", help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one epoch a stage, to see it run")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    print(demo(args.data, out=args.out, quick=args.quick))
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["demo", *sys.argv[1:]]))
