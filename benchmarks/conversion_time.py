"""How long int8 TFLite takes from a Keras model of 3.5 million parameters, gate and certificate in.

MobileNetV2 at 224 x 224 with 1000 classes, 200 calibration and 200 evaluation images. The weights
are random, so it says nothing of quality, and the tolerance is set to take the first result.

    python benchmarks/conversion_time.py

Target: at most 60 s on 2 cores.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from edgeclf import SourceSpec

IMAGES = 200
SIDE = 224
LIMIT_S = 60


def write_images(folder: Path, seed: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for index in range(IMAGES):
        coarse = Image.fromarray(rng.integers(0, 256, (14, 14, 3), np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{index:03d}.png")


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "calibration", seed=1)
        write_images(folder / "evaluation", seed=2)
        (folder / "labels.txt").write_text("".join(f"class {i}\n" for i in range(1000)))
        import keras

        import edgeclf.training

        model = keras.applications.MobileNetV2(input_shape=(SIDE, SIDE, 3), weights=None)
        model.save(folder / "mobilenet.keras")
        start = time.monotonic()
        (artifact,) = edgeclf.convert(
            folder / "mobilenet.keras",
            evaluation=folder / "evaluation",
            calibration=folder / "calibration",
            to=["int8.tflite"],
            tolerance=1.0,
            source=SourceSpec(labels=folder / "labels.txt", input_range=(-127 / 128, 1.0)),
        )
        seconds = time.monotonic() - start
    size = artifact.size_bytes / 1e6
    print(
        f"MobileNetV2, {artifact.metadata.parameters:,} parameters, to int8 TFLite of "
        f"{size:.1f} MB with {IMAGES} calibration and {IMAGES} evaluation images: {seconds:.0f} s "
        f"(at most {LIMIT_S})"
    )
    return int(seconds > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
