"""`edgeclf convert`: a trained model to TFLite and ONNX artifacts that answer the same."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.converters.base import DEFAULT_TARGETS
from edgeclf.converters.gate import DEFAULT_TOLERANCE
from edgeclf.errors import OptionError

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact


def convert(
    model: str | os.PathLike[str],
    *,
    evaluation: str | os.PathLike[str],
    calibration: str | os.PathLike[str] | None = None,
    to: Sequence[str] = DEFAULT_TARGETS,
    out: str | os.PathLike[str] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    seed: int = 0,
) -> tuple[Artifact, ...]:
    """Converts a model and keeps only results that answer like it.

    Args:
        model: A ``.keras`` artifact.
        evaluation: Labelled photos that source and result are compared on.
        calibration: Photos that int8 measures its ranges on; none of them in `evaluation`.
        to: What to write, as the ends of file names: ``int8.tflite``, ``fp32.onnx``, ...
        out: Folder for the artifacts; by default the model's.
        tolerance: How much top-1 a result may lose, 0..1.
        seed: Decides which calibration photos are used.

    Returns:
        The artifacts, in the order of `to`. ``NAME.conversion.json`` beside them tells how each
        compares with its source.

    Raises:
        QualityGateError: A result lost more than `tolerance`. It was not written; the others
            and the report were.
        ConversionError: The model cannot be converted.
        DataError: Calibration and evaluation share photos, or cannot be used.
    """
    if not 0 <= tolerance <= 1:
        raise OptionError(f"tolerance is {tolerance}; expected 0 to 1, 0.01 being one point.")
    from edgeclf.converters.pipeline import convert_all

    folder = Path(out) if out is not None else Path(model).parent
    return convert_all(Path(model), evaluation, calibration, to, folder, tolerance, seed)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("model", help="the .keras artifact to convert")
    parser.add_argument("--evaluation", metavar="DIR", required=True,
                        help="labelled photos to compare on")  # fmt: skip
    parser.add_argument("--calibration", metavar="DIR",
                        help="photos for int8 ranges; needed for int8")  # fmt: skip
    parser.add_argument("--to", nargs="+", metavar="PRECISION.FORMAT", default=DEFAULT_TARGETS,
                        help=f"default: {' '.join(DEFAULT_TARGETS)}")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", help="where results go (default: the model's)")
    parser.add_argument("--tolerance", type=float, default=DEFAULT_TOLERANCE,
                        help="top-1 that may be lost, 0..1 (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    artifacts = convert(
        args.model,
        evaluation=args.evaluation,
        calibration=args.calibration,
        to=args.to,
        out=args.out,
        tolerance=args.tolerance,
        seed=args.seed,
    )
    for artifact in artifacts:
        print(artifact.path)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["convert", *sys.argv[1:]]))
