"""Trains a mug classifier on train/ and eval/, trains the final one on both, and answers requests.

python examples/mugs/mugs.py train             # learns from train/, is judged on eval/
python examples/mugs/mugs.py retrain           # the final model, which learns from both
python examples/mugs/mugs.py answer REQUEST    # a text file with the path of a photo a line
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import edgeclf
from edgeclf.datasets.photos import LABELS_FILE, Photos, find_photos
from edgeclf.system.progress import print_every_letter

HERE = Path(__file__).parent
GATE_PHOTOS = 10  # of each class; what the final model's conversion is checked on
QUICK_TOLERANCE = 0.5  # after one epoch a model is right by chance


@dataclass(frozen=True)
class Run:
    """A teacher, its student and the student's int8 artifact, in one folder.

    Attributes:
        folder: Where all of it goes.
        name: Of the data set and the student.
        train: Photos to learn from: a folder, or a CSV.
        evaluation: Photos to judge by.
        photos: The files behind the two; what they hold decides whether a stage is repeated.
        quick: One epoch a stage, to see it run.
    """

    folder: Path
    name: str
    train: Path
    evaluation: Path
    photos: tuple[Path, ...]
    quick: bool

    @property
    def teacher(self) -> Path:
        return self.folder / f"{self.name}-teacher.keras"

    @property
    def student(self) -> Path:
        return self.folder / f"{self.name}.keras"

    @property
    def report(self) -> Path:
        return self.folder / f"{self.name}.conversion.json"

    def artifact(self) -> Path | None:
        """What the conversion wrote; the name says int8, unless int8 lost too much."""
        return next(iter(sorted(self.folder.glob(f"{self.name}.*.tflite"))), None)

    def make(self) -> Path:
        """Trains, distils and converts, as far as that has not been done; returns the artifact."""
        from edgeclf.training.stages import Stages  # a device, which only answers, has none

        one: dict[str, Any] = {"epochs": 1} if self.quick else {}
        few: dict[str, Any] = {"epochs": 1, "views": 1} if self.quick else {}
        gate: dict[str, Any] = {"tolerance": QUICK_TOLERANCE} if self.quick else {}
        sets: dict[str, Any] = {"evaluation": self.evaluation, "out": self.folder}

        def convert() -> None:
            for old in self.folder.glob(f"{self.name}.*.tflite"):
                old.unlink()
            edgeclf.convert(
                self.student, calibration=self.train, evaluation=self.evaluation,
                to=["int8.tflite"], **gate,
            )  # fmt: skip

        stages = Stages(self.folder / "stages")
        stages.run(
            "train the teacher",
            lambda: edgeclf.train(self.train, **sets, **one),
            settings=[version("edgeclf"), one],
            inputs=self.photos,
            outputs=[self.teacher],
        )
        stages.run(
            "distil the student",
            lambda: edgeclf.distill(self.teacher, self.train, **sets, **few),
            settings=[version("edgeclf"), few],
            inputs=[self.teacher, *self.photos],
            outputs=[self.student],
        )
        stages.run(
            "convert the student",
            convert,
            settings=[version("edgeclf"), gate],
            inputs=[self.student, *self.photos],
            outputs=[self.report, self.folder / f"{self.name}.int8.tflite"],
        )
        found = self.artifact()
        assert found is not None  # a conversion that wrote nothing has raised an error
        return found


def first_run(args: argparse.Namespace) -> Run:
    name = args.data.resolve().name
    train, evaluation = args.data / "train", args.data / "eval"
    return Run(args.out, name, train, evaluation, (train, evaluation), args.quick)


def final_run(args: argparse.Namespace) -> Run:
    name = args.data.resolve().name
    folder = args.out / "final"
    table = folder / f"{name}.csv"
    photos = (table, args.data / "train", args.data / "eval")
    return Run(folder, name, table, table, photos, args.quick)


def write_table(first: Run, table: Path, labels_file: Path) -> tuple[int, int]:
    """Names all photos in a CSV, a few of eval/ as those that the conversion is checked on.

    Returns:
        How many to learn from, and how many to check on.
    """
    learnt, judged = find_photos(first.train), find_photos(first.evaluation)
    aside = spread(judged, GATE_PHOTOS)
    table.parent.mkdir(parents=True, exist_ok=True)
    if labels_file.is_file():
        shutil.copy(labels_file, table.parent)
    with open(table, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("path", "label", "split"))
        for photos in (learnt, judged):
            for path, target in zip(photos.paths, photos.targets, strict=True):
                split = "eval" if path in aside else "train"
                rows.writerow((os.path.relpath(path, table.parent), photos.labels[target], split))
    return len(learnt) + len(judged) - len(aside), len(aside)


def spread(photos: Photos, count: int) -> set[Path]:
    """Photos of each class, evenly spaced; at most every second one."""
    chosen: set[Path] = set()
    for index in range(len(photos.labels)):
        members = [p for p, t in zip(photos.paths, photos.targets, strict=True) if t == index]
        step = max(2, len(members) // count)
        chosen.update(members[step - 1 :: step][:count])
    return chosen


def accuracies(run: Run, artifact: Path) -> str:
    """Top-1 of the three models on the photos that the run was judged by, as a table."""
    lines = [f"{'MODEL':<28}  {'TOP-1':<22}  {'SIZE':>9}"]
    for path, of in ((run.teacher, "source"), (run.student, "source"), (artifact, "artifact")):
        model = edgeclf.load_artifact(path)
        record = (model.metadata.accuracy or {})[of]
        low, high = record["top1_interval_95"]
        top1 = f"{record['top1']:.1%} [{low:.1%}–{high:.1%}]"
        lines.append(f"{path.name:<28}  {top1:<22}  {model.size_bytes / 1e3:>6,.0f} kB")
    lines.append(f"on {record['images']} photos that no model has learnt from")
    return "\n".join(lines)


def train(args: argparse.Namespace) -> int:
    run = first_run(args)
    artifact = run.make()
    print(accuracies(run, artifact))
    print(artifact)
    return 0


def retrain(args: argparse.Namespace) -> int:
    first, final = first_run(args), final_run(args)
    judged = edgeclf.load_artifact(first.make())  # or what an earlier run left
    learnt, aside = write_table(first, final.train, args.data / LABELS_FILE)
    artifact = final.make()

    accuracy: Any = judged.metadata.accuracy
    gate: Any = edgeclf.load_artifact(artifact).metadata.accuracy
    print(
        f"The final model learnt from {learnt} photos of train/ and eval/. None are left to judge "
        f"it by: the accuracy to quote is the one\nthat the same recipe reached on eval/ before, "
        f"{accuracy['artifact']['top1']:.1%} of {accuracy['images']} photos."
    )
    print(
        f"{aside} photos of eval/ were kept out, to check the conversion: on "
        f"{gate['top1_agreement']:.1%} of them the converted model answers\nlike its source. "
        "That is enough to notice a broken conversion, and too few for an accuracy."
    )
    print(artifact)
    return 0


def answer(args: argparse.Namespace) -> int:
    artifact = final_run(args).artifact() or first_run(args).artifact()
    if artifact is None:
        raise edgeclf.ArtifactError(f"There is no model in {args.out}. Run: mugs.py train")
    try:
        lines = args.request.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise edgeclf.DataError(f"Cannot read {args.request}: {exc}.") from exc
    photos = [args.request.parent / line.strip() for line in lines if line.strip()]
    if not photos:
        raise edgeclf.DataError(f"{args.request} names no photo; expected a path a line.")
    print(f"answered by {artifact}", file=sys.stderr)
    failed = 0
    with edgeclf.Classifier(artifact) as classifier:
        width = max(len("CLASSES"), *map(len, classifier.artifact.metadata.labels))
        for photo, given in zip(photos, classifier.classify_batch(photos), strict=True):
            if isinstance(given, edgeclf.Failure):  # the other photos still get their answer
                print(f"mugs.py: {given.error}", file=sys.stderr)
                failed += 1
                continue
            print(f"{photo}\n  {'CLASSES':<{width}}  PROBABILITIES")
            for score in given.scores:
                print(f"  {score.label:<{width}}  {score.probability:>13.1%}")
    return 2 if failed else 0


def main() -> int:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data", type=Path, default=HERE, metavar="DIR",
                        help="folder with train/ and eval/ (default: %(default)s)")  # fmt: skip
    shared.add_argument("--out", type=Path, default=Path("runs/mugs"), metavar="DIR",
                        help="where the models are (default: %(default)s)")  # fmt: skip
    shared.add_argument("--quick", action="store_true", help="one epoch a stage, to see it run")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="train | retrain | answer")
    for work, text in (
        (train, "teacher, student and int8 artifact, judged on eval/"),
        (retrain, "the final model, on train/ and eval/ together"),
        (answer, "classes and probabilities of the photos that a file names"),
    ):
        verb = verbs.add_parser(work.__name__, help=text, parents=[shared])
        verb.set_defaults(work=work)
        if work is answer:
            verb.add_argument("request", type=Path, metavar="REQUEST", help="text file with the "
                              "path of a photo a line, relative to the file")  # fmt: skip
    args = parser.parse_args()
    print_every_letter()
    try:
        return int(args.work(args))
    except edgeclf.EdgeclfError as exc:
        print(f"mugs.py: {exc}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
