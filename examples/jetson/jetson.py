"""Classifies photos on CUDA or on the CPU, and tells the first call's time from the later ones'.

What is asked for is what runs: without CUDA, --device cuda is an error that says why.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from time import perf_counter

import edgeclf
from edgeclf.system.progress import print_every_letter


def classify(args: argparse.Namespace) -> None:
    start = perf_counter()
    with edgeclf.Classifier(args.model, device=args.device) as classifier:
        load_ms = (perf_counter() - start) * 1e3
        info = classifier.describe()
        print(f"runtime   {info.name} ({info.library} {info.library_version}), {info.reason}")
        print(f"provider  {info.delegate} on {info.device}")

        first = classifier.classify(args.photos[0])  # CUDA prepares its kernels in this call
        for photo in args.photos:
            prediction = classifier.classify(photo)
            print(f"{photo}: {prediction.label} {prediction.probability:.1%}")
        later_ms = [
            classifier.classify(args.photos[index % len(args.photos)]).timing.inference_ms
            for index in range(args.calls)
        ]
    print(f"load      {load_ms:.1f} ms")
    print(f"first     {first.timing.inference_ms:.2f} ms inference")
    print(f"later     {statistics.median(later_ms):.2f} ms inference, median of {args.calls}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="an .onnx artifact")
    parser.add_argument("photos", nargs="+", metavar="photo")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--calls", type=int, default=100, metavar="N",
                        help="calls that the median is taken over (default: 100)")  # fmt: skip
    args = parser.parse_args()
    print_every_letter()
    if args.calls < 1:
        parser.error("--calls is at least 1")
    try:
        classify(args)
    except edgeclf.EdgeclfError as exc:
        print(f"jetson.py: {' '.join(str(exc).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
