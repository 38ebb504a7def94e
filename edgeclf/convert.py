"""`edgeclf convert`: a trained model to TFLite and ONNX artifacts that answer the same."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.converters.config import ConversionConfig
from edgeclf.options import declaration as options

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact


@options.takes(ConversionConfig)
def convert(model: str | os.PathLike[str], config: ConversionConfig) -> tuple[Artifact, ...]:
    """Converts a model and keeps only results that answer like it.

    int8 that loses too much is tried again: with other calibrations, with its worst layers in
    float, with 16-bit activations, and as fp16. The first that holds is written, under the name of
    what it is; the report tells what was tried.

    Args:
        model: A ``.keras`` artifact of edgeclf, or a model from elsewhere: ``.keras``, ``.h5``,
            ``.tflite``, ``.onnx`` or the folder of a SavedModel.
        config: All of the following at once, instead of one by one.

    Returns:
        The artifacts, in the order of `to`. ``NAME.conversion.json``, ``.md`` and ``.html`` beside
        them tell how each compares with its source; with `calibrate`, ``NAME.trust.json``, ``.md``
        and ``.html`` what each can be trusted with.

    Raises:
        QualityGateError: A result lost more than `tolerance`, whatever was tried. It was not
            written; the others and the report were.
        ConversionError: The model cannot be converted, or holds code and is not trusted.
        DataError: Calibration and evaluation share photos, or cannot be used.
        OptionError: An option is out of its range, `out` cannot be written to, a precision needs
            calibration photos, or what was said of the model does not fit it.

    Examples:
        ```python
        small, exact = edgeclf.convert(
            "runs/photos.keras",
            calibration="photos/train",
            evaluation="photos/eval",
            to=["int8.tflite", "fp32.onnx"],
        )
        print(small.path, small.size_bytes)
        ```
    """
    from edgeclf.calibrate import write_pages as write_trust_pages
    from edgeclf.converters.pipeline import convert_all
    from edgeclf.reporting.conversion_page import to_html, to_markdown
    from edgeclf.reporting.html import write_pages
    from edgeclf.trust.record import record_path

    result = convert_all(Path(model), config)
    write_pages(result.path, result.report, to_markdown, to_html)
    if config.calibrate and result.artifacts:
        write_trust_pages(record_path(result.path.parent, result.artifacts[0].metadata))
    if result.error is not None:
        raise result.error
    return result.artifacts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("model", help="a .keras artifact; or a .keras, .h5, .tflite or .onnx "
                        "file or SavedModel folder from elsewhere")  # fmt: skip
    options.add_arguments(parser, ConversionConfig)


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    for artifact in convert(args.model, options.from_arguments(args, ConversionConfig)):
        print(artifact.path)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["convert", *sys.argv[1:]]))
