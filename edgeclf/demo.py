"""`edgeclf demo`: every verb in turn on the mugs example, ending in a report."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.errors import DataError

if TYPE_CHECKING:
    from edgeclf.training.stages import Stages

_QUICK_TOLERANCE = 0.5


def demo(
    data: str | os.PathLike[str] = "examples/mugs",
    *,
    out: str | os.PathLike[str] = "runs/demo",
    quick: bool = False,
) -> Path:
    """Runs every stage from photos to reports, and reuses what is still good.

    Trains, distils, converts and calibrates, verifies, measures, reports.

    Args:
        data: A folder with ``train`` and ``eval``, each with one folder of photos a class. In a
            folder ``unknown`` beside them, photos of anything else show what is recognised as that.
        out: Folder for all results.
        quick: One epoch a stage, and the teacher stays a Keras file: shows that everything runs,
            not what it can do.

    Returns:
        The report, ``report.html`` in `out`. ``NAME.trust.html`` tells of each model how far its
        files can be believed: one half of ``eval``, told by hashes, fits that, the other measures
        it.

    Raises:
        DataError: `data` does not hold the two folders.
        OptionError: Nothing can be written to `out`.
        EdgeclfError: What the stages raise.

    Examples:
        ```python
        page = edgeclf.demo("examples/mugs", out="runs/demo", quick=True)
        ```
    """
    from edgeclf.report import report
    from edgeclf.system.files import out_folder
    from edgeclf.system.progress import log
    from edgeclf.training.stages import Stages

    plan = _Plan(Path(data), out_folder(out), quick)
    for folder in (plan.train, plan.evaluation):
        if not folder.is_dir():
            raise DataError(
                f"{folder} is not a folder. Run the demo from the repository's root, or give it a "
                "folder that holds train/ and eval/."
            )
    start = time.monotonic()
    stages = Stages(plan.out / "stages")
    _train(plan, stages)
    pages = _convert(plan, stages)
    _verify(plan)
    results = _measure(plan, stages)
    log("== report")
    page = report(results, out=plan.out)
    for record, is_new in pages.items():
        if not is_new:
            report(record)
    shown = [page, *(record.with_suffix(".html") for record in pages)]
    log(f"done in {time.monotonic() - start:.0f} s: open {', '.join(map(str, shown))}")
    return page


@dataclass(frozen=True)
class _Plan:
    """What lies where, and what is made of it."""

    data: Path
    out: Path
    quick: bool

    @property
    def train(self) -> Path:
        return self.data / "train"

    @property
    def evaluation(self) -> Path:
        return self.data / "eval"

    @property
    def unknown(self) -> Path | None:
        """Photos of what no class stands for, where there are some."""
        folder = self.data / "unknown"
        return folder if folder.is_dir() else None

    @property
    def teacher(self) -> Path:
        return self.out / f"{self.data.resolve().name}-teacher.keras"

    @property
    def student(self) -> Path:
        return self.out / f"{self.data.resolve().name}.keras"

    @property
    def artifacts(self) -> dict[Path, list[Path]]:
        """What each model is converted to."""
        from edgeclf.converters.config import DEFAULT_TARGETS

        models = (self.student,) if self.quick else (self.teacher, self.student)
        return {m: [self.out / f"{m.stem}.{target}" for target in DEFAULT_TARGETS] for m in models}


def _train(plan: _Plan, stages: Stages) -> None:
    from edgeclf.distill import distill
    from edgeclf.train import train
    from edgeclf.training.config import TrainingConfig
    from edgeclf.training.distillation_config import DistillationConfig

    photos = [plan.train, plan.evaluation]
    training = TrainingConfig(evaluation=plan.evaluation, out=plan.out)
    distillation = DistillationConfig(evaluation=plan.evaluation, out=plan.out)
    if plan.quick:
        training = replace(training, epochs=1)
        distillation = replace(distillation, epochs=1, views=1)
    stages.run(
        "train the teacher",
        lambda: train(plan.train, training),
        settings=training.record(),
        inputs=[*photos, *_code_of("train")],
        outputs=[plan.teacher],
    )
    stages.run(
        "distil the student",
        lambda: distill(plan.teacher, plan.train, distillation),
        settings=distillation.record(),
        inputs=[plan.teacher, *photos, *_code_of("distill")],
        outputs=[plan.student],
    )


def _convert(plan: _Plan, stages: Stages) -> dict[Path, bool]:
    """Converts each model.

    Returns:
        The records of how far the calibrated files can be believed, and of each whether it has its
        page of this run already.
    """
    from edgeclf.convert import convert
    from edgeclf.converters.config import ConversionConfig

    config = ConversionConfig(evaluation=plan.evaluation, calibration=plan.train)
    photos = [plan.train, plan.evaluation]
    calibrates = _can_calibrate(plan)
    if calibrates:
        config = replace(config, calibrate=True, unknown=plan.unknown)
        photos += [plan.unknown] if plan.unknown else []
    if plan.quick:
        # After one epoch a model is right by chance, and int8 moves its answers about.
        config = replace(config, tolerance=_QUICK_TOLERANCE)
    pages = {}
    for model, artifacts in plan.artifacts.items():
        made = [model.with_suffix(".trust.json")] if calibrates else []
        converted = stages.run(
            f"convert {model.stem}",
            partial(convert, model, config),
            settings={**config.record(), "calibrate": calibrates},
            inputs=[model, *photos, *_code_of("convert")],
            outputs=[*artifacts, *made],
        )
        for record in made:
            pages[record] = converted and record.with_suffix(".html").exists()
    return pages


def _can_calibrate(plan: _Plan) -> bool:
    """Whether there are photos enough; says how many are needed where not."""
    from edgeclf.datasets.photos import find_photos
    from edgeclf.system.progress import log
    from edgeclf.trust.photos import check_enough

    try:
        check_enough(find_photos(plan.evaluation))
    except DataError as exc:
        log(f"  the files will not be calibrated: {exc}")
        return False
    return True


def _verify(plan: _Plan) -> None:
    from edgeclf.system.progress import log
    from edgeclf.verify import verify

    log("== verify every artifact against its certificate")
    for path in itertools.chain(*plan.artifacts.values()):
        verified = verify(path)
        log(f"  {path.name:<28} repeats its {verified.images} golden answers")


def _measure(plan: _Plan, stages: Stages) -> Path:
    from edgeclf.benchmark import benchmark

    artifacts = plan.artifacts
    models = [p for m in (plan.teacher, plan.student) for p in (m, *artifacts.get(m, ()))]
    results = plan.out / "benchmark.json"
    stages.run(
        "benchmark",
        lambda: benchmark(models, plan.evaluation, out=results, quick=True),
        settings={},
        inputs=[*models, *_code_of("benchmark")],
        outputs=[results],
    )
    return results


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
