"""How well EfficientNet-Lite0 with its ImageNet weights survives int8, as TFLite and as ONNX.

Photos are what installed packages carry (scikit-image, scikit-learn, matplotlib) and this
repository's rendered mugs: random crops, turned and recoloured a little. Those that int8 is
calibrated on come from other photos than those that it is judged on. There are no labels for them,
so the figure is how often int8 answers like float.

    pip install scikit-image scikit-learn matplotlib
    python benchmarks/conversion_quality.py

Targets: the same top-1 on at least 90 % of 200 pictures, and float's top-1 among int8's first
five on at least 99 %.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

import edgeclf
from edgeclf import Classifier, ImageSpec, SourceSpec, load_image

CROPS = 200
SIDE = 224
FOLDERS = {"skimage": "data", "sklearn": "datasets/images", "matplotlib": "mpl-data/sample_data"}
SMALLEST = 250  # pixels a side: below that it is no photo
MUGS = Path(__file__).resolve().parent.parent / "examples" / "mugs"


def photos() -> list[Path]:
    found = []
    for package, folder in FOLDERS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{package} is not installed; see the first lines of this script.")
        for path in sorted((Path(spec.origin).parent / folder).iterdir()):
            if path.suffix.lower() in (".jpg", ".png"):
                with Image.open(path) as image:
                    if min(image.size) >= SMALLEST:
                        found.append(path)
    return found


def crop(path: Path, rng: np.random.Generator) -> Image.Image:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    side = int(min(image.size) * rng.uniform(0.45, 1.0))
    left, top = (int(rng.integers(0, size - side + 1)) for size in image.size)
    image = image.crop((left, top, left + side, top + side)).rotate(float(rng.uniform(-15, 15)))
    image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(float(rng.uniform(0.75, 1.25)))
    return image


def write_crops(paths: list[Path], folder: Path, seed: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for index in range(CROPS):
        crop(paths[index % len(paths)], rng).save(folder / f"{index:03d}.png")


def write_model(path: Path) -> None:
    """EfficientNet-Lite0 with all its ImageNet weights, from normalised floats."""
    from edgeclf.networks.builder import (
        build_classifier,
        find_backbone,
        part,
    )
    from edgeclf.networks.torch_weights import read_state_dict
    from edgeclf.networks.weights import weights_file

    backbone = find_backbone("efficientnet-lite0")
    model = build_classifier(backbone, 1000, ImageSpec(SIDE, SIDE), weights="imagenet")
    state = read_state_dict(weights_file(backbone))
    model.get_layer("logits").set_weights([state["_fc.weight"].T, state["_fc.bias"]])
    part(model, "normalize", "probabilities").save(path)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = photos()
        mugs = sorted((MUGS / "eval").rglob("*.jpg"))[::24]
        calibrating, judging = base[::2] + mugs[::2], base[1::2] + mugs[1::2]
        write_crops(calibrating, folder / "calibration", seed=1)
        write_crops(judging, folder / "evaluation", seed=2)
        write_model(folder / "lite0.keras")
        (folder / "labels.txt").write_text("".join(f"class {i}\n" for i in range(1000)))
        artifacts = edgeclf.convert(
            folder / "lite0.keras",
            evaluation=folder / "evaluation",
            calibration=folder / "calibration",
            to=["fp32.onnx", "int8.tflite", "int8.onnx"],
            tolerance=0.1,
            source=SourceSpec(labels=folder / "labels.txt", input_range=(-127 / 128, 1.0)),
        )
        spec = artifacts[0].metadata.image
        files = sorted((folder / "evaluation").iterdir())
        images = np.stack([load_image(path, spec) for path in files])
        answers = {}
        for artifact in artifacts:
            with Classifier(artifact) as classifier:
                answers[f"{artifact.metadata.precision}.{artifact.format}"] = (
                    classifier.probabilities(images)
                )
    top1 = answers.pop("fp32.onnx").argmax(axis=1)
    print(
        f"EfficientNet-Lite0, {SIDE} px, {len(images)} crops of {len(judging)} photos, "
        f"calibrated on {CROPS} crops of {len(calibrating)} others; "
        f"float gives {len(set(top1.tolist()))} different answers"
    )
    missed = False
    for name, probabilities in answers.items():
        order = np.argsort(-probabilities, axis=1)
        same, among = (
            float((order[:, 0] == top1).mean()),
            float((order[:, :5] == top1[:, None]).any(axis=1).mean()),
        )
        missed |= same < 0.9 or among < 0.99
        print(f"{name:<12} same top-1 {same:6.1%} (at least 90 %)   "
              f"float's top-1 in the first five {among:6.1%} (at least 99 %)")  # fmt: skip
    return int(missed or len(answers) < 2)


if __name__ == "__main__":
    sys.exit(main())
