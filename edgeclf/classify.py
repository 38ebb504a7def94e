"""`edgeclf classify`: photos to answers."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from typing import TYPE_CHECKING

from edgeclf.errors import OptionError
from edgeclf.system.arguments import add_device, add_runtime
from edgeclf.system.device import Device
from edgeclf.system.words import json_line, printable

if TYPE_CHECKING:
    from edgeclf.image import ImageSource
    from edgeclf.inference.confidence import Unknown
    from edgeclf.inference.prediction import Prediction, Score


def classify(
    model: str | os.PathLike[str],
    image: ImageSource,
    *,
    runtime: str = "auto",
    device: Device = "cpu",
    unknown: Unknown = "flag",
) -> Prediction:
    """Classifies one picture; for several, keep a `Classifier`.

    Args:
        model: Path of an artifact.
        image: A path, bytes, a file object, a PIL image or an array uint8 RGB [H, W, 3].
        runtime: A runtime's name, or ``auto``.
        device: ``cpu`` or ``cuda``.
        unknown: ``flag``, ``label`` or ``off``, as for `Classifier.classify`.

    Raises:
        ArtifactError: The model is no artifact.
        ImageError: The picture cannot be read.
        RuntimeLoadError: The runtime cannot load the model as asked.

    Examples:
        >>> import edgeclf
        >>> import numpy as np
        >>> from edgeclf import ImageSpec, Metadata
        >>> from edgeclf.artifact import save_artifact, seal_artifact
        >>> metadata = Metadata("mugs", ("dark", "bright"), ImageSpec(96, 96))
        >>> file = save_artifact(seal_artifact(b"", metadata), "mugs.onnx").path
        >>> edgeclf.classify(file, np.zeros((480, 640, 3), np.uint8), runtime="fake").label
        'dark'
    """
    from edgeclf.inference.classifier import Classifier

    with Classifier(model, runtime=runtime, device=device) as classifier:
        return classifier.classify(image, unknown=unknown)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("model", help="an artifact: .tflite, .onnx or .keras")
    parser.add_argument("images", nargs="+", metavar="image",
                        help="photos, and folders of them")  # fmt: skip
    add_runtime(parser)
    add_device(parser)
    parser.add_argument("--threads", type=int, help="default: the CPUs this process may use")
    parser.add_argument("--top", type=int, default=3, help="classes to show (default: 3)")
    parser.add_argument("--allow", nargs="+", metavar="LABEL", help="only these classes")
    parser.add_argument("--deny", nargs="+", metavar="LABEL", default=[], help="not these")
    parser.add_argument("--threshold", type=float, default=0.0, metavar="P",
                        help="least probability to show, 0..1")  # fmt: skip
    parser.add_argument("--unknown", choices=("flag", "label", "off"), default="flag",
                        help="of a calibrated file: say what is unknown, refuse files that cannot "
                        "tell, or do not look (default: flag)")  # fmt: skip
    parser.add_argument("--coverage", type=float, metavar="SHARE",
                        help="show the labels that hold the right one so often")  # fmt: skip
    parser.add_argument("--probe", action="store_true",
                        help="try the model in a child process first")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    from edgeclf.inference.classifier import Classifier
    from edgeclf.inference.prediction import Failure
    from edgeclf.system.progress import log

    if args.top < 1:
        raise OptionError(f"--top is {args.top}; expected at least 1.")
    images = [path for image in args.images for path in _photos_of(image)]
    failed = 0
    with Classifier(
        args.model, runtime=args.runtime, device=args.device, threads=args.threads, probe=args.probe
    ) as classifier:
        answers = classifier.classify_batch(images, unknown=args.unknown)
        for image, answer in zip(images, answers, strict=True):
            if isinstance(answer, Failure):  # the other pictures still get their answer
                log(f"edgeclf: {answer.error}")
                failed = 2
                continue
            scores = answer.top(
                args.top, allow=args.allow, deny=args.deny, threshold=args.threshold
            )
            wanted = args.coverage is not None
            labels = _set_of(args.model, answer, args.coverage) if wanted else None
            print((_as_json if args.json else _as_text)(image, answer, scores, labels))
    return failed


def _photos_of(image: str) -> list[str]:
    if not os.path.isdir(image):  # noqa: PTH112 - False too where it may not be looked at
        return [image]
    from edgeclf.datasets.photos import find_unlabelled

    return list(map(str, find_unlabelled(image).paths))


def _set_of(model: str, answer: Prediction, coverage: float) -> tuple[str, ...]:
    labels = answer.set(coverage)
    if labels is None:
        raise OptionError(
            f"--coverage needs a calibrated file, and {model} is none. See 'edgeclf calibrate'."
        )
    return labels


def _as_text(
    image: str, answer: Prediction, scores: tuple[Score, ...], labels: tuple[str, ...] | None
) -> str:
    words = "  ".join(f"{s.label} {s.probability:.1%}" for s in scores) or "none of those wanted"
    if answer.unknown:
        words = f"UNKNOWN (novelty {answer.novelty:.2f})  {words}"
    notes = [f"{answer.timing.total_ms:.1f} ms"]
    if answer.confidence is not None:
        notes.insert(0, f"confidence {answer.confidence:.1%}")
    if labels is not None:
        notes.append(f"set: {', '.join(labels)}")
    return f"{printable(image)}: {words}  ({'; '.join(notes)})"


def _as_json(
    image: str, answer: Prediction, scores: tuple[Score, ...], labels: tuple[str, ...] | None
) -> str:
    document = {
        "image": image,
        "scores": [dataclasses.asdict(score) for score in scores],
        "confidence": answer.confidence,
        "unknown": answer.unknown,
        "novelty": answer.novelty,
        "set": labels,
        "timing": dataclasses.asdict(answer.timing),
    }
    return json_line(document, sys.stdout)


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["classify", *sys.argv[1:]]))
