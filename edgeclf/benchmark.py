"""`edgeclf benchmark`: artifacts on runtimes, measured on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeclf.errors import OptionError


def benchmark(
    models: Sequence[str | os.PathLike[str]],
    images: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] = "benchmark.json",
    threads: int | None = None,
    quick: bool = False,
) -> dict[str, Any]:
    """Measures each artifact on its runtime: accuracy, latency by stage, memory by phase.

    Every figure comes from a process of its own; memory and latency from different ones.

    Args:
        models: Artifacts; a ``.keras`` one among them is the reference that the others of its
            name are compared with.
        images: Labelled photos: a folder that holds one folder a class, or a CSV.
        out: Where the results go, as JSON.
        threads: Threads for one call; by default the CPUs this process may use.
        quick: Fewer samples: enough for p50 and p90, not for a published figure.

    Returns:
        The results as written; a row that failed holds its reason.

    Raises:
        ArtifactError: A model is no artifact, or `models` is empty.
        DataError: The photos cannot be used, or have other classes than the models.
    """
    if not models:
        raise OptionError("No model was given; expected at least one artifact.")
    from edgeclf.measurement.matrix import measure_matrix

    paths = [Path(model) for model in models]
    return measure_matrix(paths, Path(images), Path(out), threads=threads, quick=quick)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("models", nargs="+", help="artifacts: .keras, .tflite, .onnx")
    parser.add_argument("--images", metavar="DIR", required=True,
                        help="labelled photos, a folder a class or a CSV")  # fmt: skip
    parser.add_argument("--out", metavar="FILE", default="benchmark.json",
                        help="default: %(default)s")  # fmt: skip
    parser.add_argument("--threads", type=int, help="default: the CPUs this process may use")
    parser.add_argument("--quick", action="store_true", help="fewer samples, for a first look")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    results = benchmark(
        args.models, args.images, out=args.out, threads=args.threads, quick=args.quick
    )
    print(args.out)
    return 1 if any(row["error"] for row in results["rows"]) else 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["benchmark", *sys.argv[1:]]))
