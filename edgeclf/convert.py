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
from edgeclf.converters.source_spec import (
    SourceSpec,
    add_source_arguments,
    source_spec_from,
)
from edgeclf.errors import OptionError

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact


def convert(
    model: str | os.PathLike[str],
    *,
    evaluation: str | os.PathLike[str] | None = None,
    calibration: str | os.PathLike[str] | None = None,
    to: Sequence[str] = DEFAULT_TARGETS,
    out: str | os.PathLike[str] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    seed: int = 0,
    source_spec: SourceSpec | None = None,
    c_array: bool = False,
    scaled_decode: bool = True,
) -> tuple[Artifact, ...]:
    """Converts a model and keeps only results that answer like it.

    int8 that loses too much is tried again: with other calibrations, with its worst layers in
    float, with 16-bit activations, and as fp16. The first that holds is written, under the name of
    what it is; the report tells what was tried.

    Args:
        model: A ``.keras`` artifact of edgeclf, or a model from elsewhere: ``.keras``, ``.h5``,
            ``.tflite``, ``.onnx`` or the folder of a SavedModel.
        evaluation: Photos that source and result are compared on, in one folder a class or named
            by a CSV (its rows of split ``eval``, where it has such a column). Photos without
            class folders tell how many answers change; none at all (fp32 and fp16) means
            generated pictures.
        calibration: Photos that int8 measures its ranges on (of a CSV, split ``train``); none of
            them in `evaluation`.
        to: What to write, as the ends of file names: ``int8.tflite``, ``fp32.onnx``, ...
        out: Folder for the artifacts; by default the model's.
        tolerance: How much top-1 a result may lose, 0..1.
        seed: Decides which calibration photos are used.
        source_spec: What a model from elsewhere expects and answers.
        c_array: Whether ``int8-full`` is also written as C source that firmware includes.
        scaled_decode: Whether devices may decode JPEGs at a reduced scale, which is up to four
            times as fast. Without, a file and the same picture as an array give the same answer
            to the last bit.

    Returns:
        The artifacts, in the order of `to`. ``NAME.conversion.json``, ``.md`` and ``.html`` beside
        them tell how each compares with its source.

    Raises:
        QualityGateError: A result lost more than `tolerance`, whatever was tried. It was not
            written; the others and the report were.
        ConversionError: The model cannot be converted, or holds code and is not trusted.
        DataError: Calibration and evaluation share photos, or cannot be used.
        OptionError: A precision needs calibration photos, or a convention does not fit the model.
    """
    if not 0 <= tolerance <= 1:
        raise OptionError(f"tolerance is {tolerance}; expected 0 to 1, 0.01 being one point.")
    from edgeclf.converters.base import Target
    from edgeclf.converters.pipeline import ConversionRequest, convert_all
    from edgeclf.reporting.conversion_page import to_html, to_markdown
    from edgeclf.reporting.html import write_pages

    result = convert_all(
        ConversionRequest(
            model=Path(model),
            evaluation=evaluation,
            calibration=calibration,
            targets=[Target.parse(text) for text in to],
            folder=Path(out) if out is not None else Path(model).parent,
            tolerance=tolerance,
            seed=seed,
            source_spec=source_spec or SourceSpec(),
            c_array=c_array,
            scaled_decode=scaled_decode,
        )
    )
    write_pages(result.path, result.report, to_markdown, to_html)
    if result.error is not None:
        raise result.error
    return result.artifacts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("model", help="a .keras artifact; or a .keras, .h5, .tflite or .onnx "
                        "file or SavedModel folder from elsewhere")  # fmt: skip
    parser.add_argument("--evaluation", metavar="DIR", help="photos to compare on, best in a "
                        "folder a class, or a CSV (for floats by default: generated)")  # fmt: skip
    parser.add_argument("--calibration", metavar="DIR",
                        help="photos for int8 ranges; needed for int8")  # fmt: skip
    parser.add_argument("--to", nargs="+", metavar="PRECISION.FORMAT", default=DEFAULT_TARGETS,
                        help=f"default: {' '.join(DEFAULT_TARGETS)}")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", help="where results go (default: the model's)")
    parser.add_argument("--tolerance", type=float, default=DEFAULT_TOLERANCE,
                        help="top-1 that may be lost, 0..1 (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--c-array", action="store_true",
                        help="write int8-full also as C source for firmware")  # fmt: skip
    parser.add_argument("--full-decode", action="store_true",
                        help="let devices decode JPEGs at full size, never scaled")  # fmt: skip
    add_source_arguments(parser)


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
        source_spec=source_spec_from(args),
        c_array=args.c_array,
        scaled_decode=not args.full_decode,
    )
    for artifact in artifacts:
        print(artifact.path)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["convert", *sys.argv[1:]]))
