"""`edgeclf classify`: photos to answers."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING

from edgeclf.errors import ImageError, OptionError

if TYPE_CHECKING:
    from edgeclf.image import ImageSource
    from edgeclf.prediction import Prediction
    from edgeclf.runtimes import Device


def classify(
    model: str | os.PathLike[str],
    image: ImageSource,
    *,
    runtime: str = "auto",
    device: Device = "cpu",
) -> Prediction:
    """Classifies one picture; for several, keep a `Classifier`.

    Args:
        model: Path of an artifact.
        image: A path, bytes, a file object, a PIL image or an array uint8 RGB [H, W, 3].
        runtime: A runtime's name, or ``auto``.
        device: ``cpu`` or ``cuda``.

    Raises:
        ArtifactError: The model is no artifact.
        ImageError: The picture cannot be read.
        RuntimeLoadError: The runtime cannot load the model as asked.
    """
    from edgeclf.classifier import Classifier

    with Classifier(model, runtime=runtime, device=device) as classifier:
        return classifier.classify(image)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("model", help="an artifact: .tflite, .onnx or .keras")
    parser.add_argument("images", nargs="+", metavar="image", help="photos")
    parser.add_argument("--runtime", default="auto", help="default: the file format's usual one")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, help="default: the CPUs this process may use")
    parser.add_argument("--top", type=int, default=3, help="classes to show (default: 3)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    from edgeclf.classifier import Classifier

    if args.top < 1:
        raise OptionError(f"--top is {args.top}; expected at least 1.")
    failed = 0
    with Classifier(
        args.model, runtime=args.runtime, device=args.device, threads=args.threads
    ) as classifier:
        for image in args.images:
            try:
                prediction = classifier.classify(image)
            except ImageError as exc:  # the other pictures still get their answer
                print(f"edgeclf: {exc}", file=sys.stderr)
                failed = 2
                continue
            print(_as_json(image, prediction, args.top) if args.json
                  else _as_text(image, prediction, args.top))  # fmt: skip
    return failed


def _as_text(image: str, prediction: Prediction, k: int) -> str:
    scores = "  ".join(f"{s.label} {s.probability:.1%}" for s in prediction.top(k))
    return f"{image}: {scores}  ({prediction.timing.total_ms:.1f} ms)"


def _as_json(image: str, prediction: Prediction, k: int) -> str:
    scores = [dataclasses.asdict(score) for score in prediction.top(k)]
    timing = dataclasses.asdict(prediction.timing)
    return json.dumps({"image": image, "scores": scores, "timing": timing}, ensure_ascii=False)


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["classify", *sys.argv[1:]]))
