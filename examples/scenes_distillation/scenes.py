"""Distils ResNet152, trained on photos of six scenes, into a student hundreds of times smaller.

Stages that are finished are not repeated: run the same line again after an interruption.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from make_stand_in import FOLDERS, draw_all

import edgeclf
from edgeclf.system import files
from edgeclf.system.progress import log, print_every_letter, track
from edgeclf.training.stages import Stages

TEACHER = "resnet152"
SIDE = 150  # pixels of the photos, and of the teacher's input
CLASSES = ("buildings", "forest", "glacier", "mountain", "sea", "street")
WANTED = {"size": 400.0, "parameters": 300.0, "latency_ms": 100.0}  # teacher / student
STAND_IN = {"train": 8, "eval": 4}  # scenes a class


@dataclass(frozen=True)
class Plan:
    """What a run does; `--smoke` does the same with less."""

    data: Path
    out: Path
    weights: str
    student: str
    teacher_epochs: int
    views: int
    epochs: int
    formats: tuple[str, ...]
    tolerance: float
    seed: int

    @property
    def teacher(self) -> Path:
        return self.out / "scenes-teacher.keras"

    @property
    def comparison(self) -> Path:
        return self.out / f"{self.teacher.stem}.comparison.json"

    def table(self, split: str) -> Path:
        # The name of the training table becomes the student's.
        return self.out / ("scenes.csv" if split == "train" else "scenes-eval.csv")

    def photos(self, split: str) -> Path:
        return self.data / FOLDERS[split]


def main() -> int:
    args = parse_args()
    print_every_letter()
    try:
        plan = make_plan(args)
        # At once, and not after an hour of reading photos.
        weights = find_master_weights(plan.weights)
        if args.smoke:
            draw_all(plan.data, STAND_IN)
        run(plan, weights)
    except edgeclf.EdgeclfError as exc:
        print(f"scenes.py: {exc}", file=sys.stderr)
        return 2
    print_metrics(json.loads(plan.comparison.read_text()))
    for ending in (".json", ".md", ".html"):
        print(plan.comparison.with_suffix(ending))
    return 0


def run(plan: Plan, weights: Path | None) -> None:
    write_tables(plan)
    train_table, eval_table = plan.table("train"), plan.table("eval")
    photos = [train_table, eval_table, plan.photos("train"), plan.photos("eval")]
    student = plan.out / f"{train_table.stem}.keras"
    teachers = [plan.out / f"{plan.teacher.stem}.fp32.{format_}" for format_ in plan.formats]
    students = [plan.out / f"{student.stem}.int8.{format_}" for format_ in plan.formats]
    stages = Stages(plan.out / "stages")
    stages.run(
        "train the teacher",
        lambda: train_teacher(plan),
        settings=[plan.weights, plan.teacher_epochs, plan.seed],
        inputs=[*photos, *([] if weights is None else [weights])],
        outputs=[plan.teacher],
    )
    stages.run(
        "distil the student",
        lambda: edgeclf.distill(
            plan.teacher,
            train_table,
            evaluation=eval_table,
            out=plan.out,
            student=plan.student,
            views=plan.views,
            epochs=plan.epochs,
            seed=plan.seed,
        ),
        settings=[plan.student, plan.views, plan.epochs, plan.seed],
        inputs=[plan.teacher, *photos],
        outputs=[student],
    )
    stages.run(
        "convert the teacher",
        lambda: edgeclf.convert(
            plan.teacher,
            evaluation=eval_table,
            to=[f"fp32.{format_}" for format_ in plan.formats],
            tolerance=plan.tolerance,
        ),
        settings=[plan.formats, plan.tolerance],
        inputs=[plan.teacher, eval_table, plan.photos("eval")],
        outputs=teachers,
    )
    stages.run(
        "convert the student",
        lambda: edgeclf.convert(
            student,
            evaluation=eval_table,
            calibration=train_table,
            to=[f"int8.{format_}" for format_ in plan.formats],
            tolerance=plan.tolerance,
            seed=plan.seed,
        ),
        settings=[plan.formats, plan.tolerance, plan.seed],
        inputs=[student, *photos],
        outputs=students,
    )
    # For the student in ONNX, the teacher's ONNX file beside it is found by itself.
    stages.run(
        "compare",
        lambda: edgeclf.compare(teachers[0], students, eval_table, out=plan.out),
        settings=[],
        inputs=[*teachers, *students, eval_table, plan.photos("eval")],
        outputs=[plan.comparison],
    )


def train_teacher(plan: Plan) -> None:
    """A frozen ResNet152, global average pooling, and one dense layer that learns six logits.

    Nothing before the dense layer changes, and no photo is varied. So the network answers each
    photo with the same features in every epoch: they are computed once, and the dense layer is
    trained on them, which comes to the same as training the whole model with a frozen backbone and
    costs a twentieth.
    """
    import keras
    import numpy as np

    from edgeclf.networks.builder import build_classifier, find_backbone
    from edgeclf.networks.keras_model import BATCH_SIZE, in_batches
    from edgeclf.training.data import open_training_data
    from edgeclf.training.fit import use_seed
    from edgeclf.training.models import save_model
    from edgeclf.training.progress_callback import ProgressCallback

    use_seed(plan.seed)
    training_data = open_training_data(plan.table("train"), plan.table("eval"), plan.out, plan.seed)
    spec = edgeclf.ImageSpec(SIDE, SIDE)
    model = build_classifier(find_backbone(TEACHER), len(CLASSES), spec, weights=plan.weights)
    backbone = keras.Model(model.input, model.get_layer("features").output)
    images = training_data.images(training_data.photos, spec)
    steps = -(-len(images) // BATCH_SIZE)
    batches = track(in_batches(images), f"features of {TEACHER}", steps)
    features = np.concatenate([backbone.predict_on_batch(batch) for batch in batches])

    head = keras.Sequential([keras.Input(features.shape[1:]), model.get_layer("logits")])
    head.compile(
        optimizer=keras.optimizers.Adam(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    head.fit(
        features,
        training_data.photos.targets,
        batch_size=BATCH_SIZE,
        epochs=plan.teacher_epochs,
        verbose=0,
        callbacks=[ProgressCallback("dense layer of the teacher")],
    )
    settings = {"backbone": TEACHER, "weights": Path(plan.weights).name, "frozen": True,
                "epochs": plan.teacher_epochs, "seed": plan.seed}  # fmt: skip
    save_model(training_data, plan.teacher.stem, model, spec, settings)


def find_master_weights(weights: str) -> Path | None:
    """The file that the teacher starts from; None for none.

    Raises:
        OptionError: It is not on this machine.
    """
    if weights == "none":
        return None
    (info,) = edgeclf.backbones([TEACHER])
    from edgeclf.networks.registry import keras_cache

    cached = keras_cache() / str(info.weights_source)
    file = cached if weights == "imagenet" else Path(weights)
    if file.is_file():
        return file
    given = f"{weights!r} is no file" if weights != "imagenet" else (
        f"the ImageNet weights of ResNet152 are not on this machine, and nothing is downloaded "
        f"unasked; expected {cached}"
    )  # fmt: skip
    raise edgeclf.OptionError(
        f"{given}. Choose one:\n"
        "  --teacher-weights imagenet  once Keras has fetched them; where there is a network:\n"
        "                             python -c 'import keras; "
        "keras.applications.ResNet152(include_top=False)'\n"
        f"  --teacher-weights FILE      a copy of {info.weights_source}\n"
        "  --teacher-weights none      random weights: sizes and times are right, answers are not"
    )


def write_tables(plan: Plan) -> None:
    """Names the photos in a table for each split, so that every stage works on the same ones.

    A photo that lies in two classes is left out, and so is one to learn from that is also one to
    judge by: edgeclf refuses such sets, and a folder that thousands have copied may hold some.
    """
    found = {split: list(photos_of(plan.photos(split))) for split in FOLDERS}
    labels, splits = defaultdict(set), defaultdict(set)
    for split, photos in found.items():
        for label, _, digest in photos:
            labels[digest].add(label)
            splits[digest].add(split)
    for split, photos in found.items():
        kept = [
            (path, label)
            for label, path, digest in photos
            if len(labels[digest]) == 1 and (split == "eval" or splits[digest] == {"train"})
        ]
        if len(kept) < len(photos):
            log(f"{len(photos) - len(kept)} photos of {plan.photos(split)} were left out: they "
                "lie in two classes, or in both sets")  # fmt: skip
        plan.out.mkdir(parents=True, exist_ok=True)
        with open(plan.table(split), "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "label"), *kept])


def photos_of(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Class, file and SHA-256 of each photo.

    Raises:
        DataError: A class has no photo.
    """
    for label in CLASSES:
        photos = sorted((folder / label).glob("*.jpg"))
        if not photos:
            raise edgeclf.DataError(
                f"There is no .jpg in {folder / label}. Download the Intel Image Classification "
                "data set (see README.md) and name the folder that holds seg_train and seg_test "
                "with --data; or see the example run on drawn scenes with --smoke."
            )
        for photo in photos:
            yield label, photo.resolve(), files.sha256_of(photo)


def print_metrics(comparison: dict[str, Any]) -> None:
    """Teacher and student side by side, with what was wanted of the ratios."""
    teacher = comparison["teacher"]
    for student in comparison["students"]:
        latency, model = student["latency_ms"], student["model"]
        print(f"\n{teacher['file']} and {model['file']}, {comparison['images']} photos")
        print(f"latency: {latency['note']}\n")
        rows = [("", "teacher", "student", "ratio", "wanted", "")]
        rows += [
            ratio_row("size, bytes", student["size"], "{:,.0f}", WANTED["size"]),
            ratio_row("parameters", student["parameters"], "{:,.0f}", WANTED["parameters"]),
            ratio_row("multiply-adds", student["multiply_adds"], "{:,.0f}", None),
            ratio_row("latency, ms", latency, "{:.3g}", WANTED["latency_ms"]),
            ("top-1", top1(teacher), top1(model), "", "", ""),
            ("same answer", "", share(student["agreement"], student["agreement_interval_95"]),
             "", "", ""),
        ]  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for name, *cells in rows:
            right = [f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)]
            print("  ".join([f"{name:<{widths[0]}}", *right]).rstrip())
    print()


def ratio_row(name: str, ratio: dict[str, Any], form: str, wanted: float | None) -> tuple[str, ...]:
    if ratio["value"] is None:
        return (name, "", "", "none", "" if wanted is None else f">= {wanted:.0f}", "unknown")
    figures = (name, form.format(ratio["teacher"]), form.format(ratio["student"]))
    if wanted is None:
        return (*figures, f"{ratio['value']:.0f}", "", "")
    # Of a measured ratio, the lower end of its interval decides.
    low = (ratio["interval_95"] or [ratio["value"]])[0]
    return (*figures, f"{ratio['value']:.0f}", f">= {wanted:.0f}",
            "yes" if low >= wanted else "missed")  # fmt: skip


def top1(model: dict[str, Any]) -> str:
    return share(model["top1"], model["top1_interval_95"])


def share(value: float, interval: list[float]) -> str:
    return f"{value:.1%} [{interval[0]:.1%}, {interval[1]:.1%}]"


def make_plan(args: argparse.Namespace) -> Plan:
    out = args.out or Path("runs/scenes-smoke" if args.smoke else "runs/scenes")
    weights = args.teacher_weights or ("none" if args.smoke else "imagenet")
    if args.smoke:
        # With random weights a model is right by chance, and int8 moves its answers about.
        return Plan(out / "photos", out, weights, args.student, teacher_epochs=20, views=1,
                    epochs=4, formats=("tflite",), tolerance=1.0, seed=args.seed)  # fmt: skip
    return Plan(args.data, out, weights, args.student, teacher_epochs=20, views=args.views,
                epochs=args.epochs, formats=("tflite", "onnx"), tolerance=0.01,
                seed=args.seed)  # fmt: skip


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("scenes"), metavar="DIR",
                        help="holds seg_train and seg_test (default: %(default)s)")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="where results go (default: runs/scenes)")  # fmt: skip
    parser.add_argument("--teacher-weights", metavar="imagenet|none|FILE",
                        help="where the teacher starts (default: imagenet)")  # fmt: skip
    parser.add_argument("--student", default="student", metavar="NAME",
                        help="see 'edgeclf backbones' (default: %(default)s)")  # fmt: skip
    parser.add_argument("--views", type=int, default=4, help="variations of each photo that the "
                        "teacher answers (default: %(default)s)")  # fmt: skip
    parser.add_argument("--epochs", type=int, default=10, help="the student's passes "
                        "over all views (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--smoke", action="store_true", help="see it run in minutes, on drawn "
                        "scenes and random teacher weights")  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
