"""A task that takes no time to learn: bright and dark pictures, and a network that knows them."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from PIL import Image

import edgeclf
from edgeclf.artifact import Metadata, save_artifact, seal_artifact
from edgeclf.image import ImageSpec, load_image

SPEC = ImageSpec(32, 32)
LABELS = ("bright", "dark")


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Smooth pictures, of which every second is bright."""
    coarse = np.random.default_rng(seed).integers(0, 90, (count, 3, 3, 3), np.uint8)
    coarse[::2] += 150
    return np.stack([load_image(picture, SPEC) for picture in coarse])


def by_brightness(sign: float = 1.0) -> keras.Model:
    """A network in our frame that finds a photo bright when its mean is above 127."""
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="normalize")(image)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    logits = keras.layers.Dense(2, name="logits")
    x = logits(x)
    logits.set_weights([sign * np.array([[4.0, -4.0]] * 3, np.float32), np.zeros(2, np.float32)])
    return keras.Model(image, keras.layers.Softmax(name="probabilities")(x))


def write_photos(root: Path) -> None:
    """24 pictures of each class to learn from, 12 of each to judge by."""
    for split, count, seed in (("train", 48, 0), ("eval", 24, 1)):
        for index, picture in enumerate(pictures(count, seed)):
            folder = root / split / LABELS[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{index}.png")


def write_teachers(folder: Path) -> None:
    """A teacher that swaps the two classes: in every format, and as a model from elsewhere."""
    by_brightness(-1.0).save(folder / "plain.keras")
    metadata = Metadata("swapped", LABELS, SPEC, parameters=8)
    content = (folder / "plain.keras").read_bytes()
    save_artifact(seal_artifact(content, metadata), folder / "swapped.keras")
    edgeclf.convert(folder / "swapped.keras", to=["fp32.tflite", "fp32.onnx"])
