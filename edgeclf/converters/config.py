"""What `edgeclf.convert` takes, declared once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from edgeclf.converters.source_spec import SourceSpec
from edgeclf.options.declaration import Options, Range, option
from edgeclf.system.progress import log

DEFAULT_TARGETS = ("fp32.tflite", "int8.tflite", "fp32.onnx", "int8.onnx")
DEFAULT_TOLERANCE = 0.01


@dataclass(frozen=True, kw_only=True)
class ConversionConfig(Options):
    """What `edgeclf.convert` takes besides the model.

    Examples:
        >>> from edgeclf import ConversionConfig
        >>> ConversionConfig(calibration="photos/train", to=["int8.tflite"]).tolerance
        0.01
    """

    evaluation: str | os.PathLike[str] | None = option(
        None,
        help="photos that source and result are compared on, best in one folder a class, or named "
        "by a CSV (its rows of split eval, where it has such a column); without class folders "
        "they tell how many answers change; fp32 and fp16 may do without, by generated pictures",
        metavar="DIR",
        recorded=False,
    )
    calibration: str | os.PathLike[str] | None = option(
        None,
        help="photos that int8 measures its ranges on (of a CSV, split train), none of them in "
        "the evaluation",
        metavar="DIR",
        recorded=False,
    )
    to: Sequence[str] = option(
        DEFAULT_TARGETS, help="what to write, as the ends of file names",
        metavar="PRECISION.FORMAT",
    )  # fmt: skip
    out: str | os.PathLike[str] | None = option(
        None, help="where results go; by default the model's folder", metavar="DIR", recorded=False
    )
    tolerance: float = option(
        DEFAULT_TOLERANCE, help="how much top-1 a result may lose, 0.01 being one point",
        metavar="SHARE", within=Range(least=0, most=1),
    )  # fmt: skip
    seed: int = option(0, help="decides which calibration photos are used", within=Range(least=0))
    calibrate: bool = option(
        False,
        help="let each result say how sure it is and what it does not know, fitted to half of the "
        "evaluation photos, see 'edgeclf calibrate'",
        recorded=False,
    )
    unknown: str | os.PathLike[str] | None = option(
        None,
        help="photos of anything else, to choose by and to measure what is recognised as unknown",
        metavar="DIR",
        recorded=False,
    )
    c_array: bool = option(
        False, help="write int8-full also as C source that firmware includes", recorded=False
    )
    full_decode: bool = option(
        False,
        help="let devices decode JPEGs at full size, never scaled: up to four times slower, and a "
        "file and the same picture as an array give the same answer to the last bit",
    )
    source: SourceSpec = option(
        SourceSpec(), help="what a model from elsewhere expects and answers",
        group="models from elsewhere",
    )  # fmt: skip


def own_targets(format_: str, to: Sequence[str]) -> Sequence[str]:
    """What was asked for, or of the default what a source of this format can become."""
    if tuple(to) != DEFAULT_TARGETS or format_ not in ("tflite", "onnx"):
        return to
    own = [target for target in to if target.endswith(f".{format_}")]
    log(f"the source becomes {' and '.join(own)}: no other format is made of {format_}")
    return own
