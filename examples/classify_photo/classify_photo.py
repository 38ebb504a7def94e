"""Classifies photos: the three most probable classes of each, and where the time went."""

from __future__ import annotations

import argparse
import sys

import edgeclf
from edgeclf.system.progress import print_every_letter


def as_table(prediction: edgeclf.Prediction, top: int) -> str:
    """The most probable classes, one a line, and the time by stage."""
    scores = prediction.top(top)
    width = max(len("CLASSES"), *(len(score.label) for score in scores))
    lines = [f"  {'CLASSES':<{width}}  PROBABILITIES"]
    lines += [f"  {score.label:<{width}}  {score.probability:>13.1%}" for score in scores]
    if prediction.confidence is not None:  # the file was calibrated
        known = ", but this is nothing it was taught" if prediction.unknown else ""
        lines.append(f"  {prediction.label} is right at {prediction.confidence:.1%}{known}")
    timing = prediction.timing
    lines.append(
        f"  decode {timing.decode_ms:.2f} ms, preprocess {timing.preprocess_ms:.2f} ms, "
        f"inference {timing.inference_ms:.2f} ms, total {timing.total_ms:.2f} ms"
    )
    return "\n".join(lines)


def classify(args: argparse.Namespace) -> int:
    failed = 0
    with edgeclf.Classifier(args.model) as classifier:
        answers = classifier.classify_batch(args.photos)
        for photo, answer in zip(args.photos, answers, strict=True):
            if isinstance(answer, edgeclf.Failure):  # the other photos still get their answer
                print(f"classify_photo.py: {answer.error}", file=sys.stderr)
                failed += 1
            else:
                print(f"{photo}\n{as_table(answer, args.top)}")
    return 2 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="an artifact: .tflite, .onnx or .keras")
    parser.add_argument("photos", nargs="+", metavar="photo")
    parser.add_argument("--top", type=int, default=3, help="classes to show (default: 3)")
    args = parser.parse_args()
    print_every_letter()
    try:
        return classify(args)
    except edgeclf.EdgeclfError as exc:
        print(f"classify_photo.py: {exc}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
