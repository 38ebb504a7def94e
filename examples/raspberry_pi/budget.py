"""Tells how much memory a model takes on this device, phase by phase, against a budget.

Figures are PSS in MB (10^6 bytes): what this process occupies, with a fair share of the libraries
that other processes use as well.
"""

from __future__ import annotations

import argparse
import io
import sys

import edgeclf
from edgeclf.measurement.probes.memory import memory_use  # neither imports more than Python's own

ANSWERS = 200
PHOTO_SIZE = (1600, 1200)


def phase(name: str) -> float:
    """Prints what the process occupies now, in MB, and returns it."""
    pss_mb = memory_use().pss_bytes / 1e6
    print(f"{name:<18} {pss_mb:6.1f} MB", flush=True)
    return pss_mb


def stand_in_photo() -> bytes:
    """A JPEG of two megapixels: a bright disc with noise, as a camera would give it."""
    from PIL import Image

    disc = Image.radial_gradient("L").resize(PHOTO_SIZE)
    photo = Image.merge("RGB", (disc, Image.effect_noise(PHOTO_SIZE, 40), disc))
    content = io.BytesIO()
    photo.save(content, "JPEG", quality=90)
    return content.getvalue()


def measure(args: argparse.Namespace) -> int:
    phase("baseline")
    from edgeclf import Classifier  # with numpy and Pillow

    phase("imported")
    with Classifier(args.model) as classifier:  # with the runtime's engine
        phase("loaded")
        photo = stand_in_photo()
        classifier.classify(photo)
        phase("first answer")
        for _ in range(ANSWERS - 1):
            classifier.classify(photo)
        pss_mb = phase(f"{ANSWERS} answers")
    over = pss_mb > args.memory_mb
    print(f"{'over' if over else 'within'} the budget of {args.memory_mb:g} MB")
    return 1 if over else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="an artifact: .tflite, .onnx or .keras")
    parser.add_argument("--memory-mb", type=float, default=64.0, metavar="MB",
                        help="the budget after all answers (default: 64)")  # fmt: skip
    args = parser.parse_args()
    try:
        return measure(args)
    except edgeclf.EdgeclfError as exc:
        print(f"budget.py: {exc}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
