"""What must be said of a model from elsewhere: labels, input range, layout, scores."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeclf.artifact import Normalization
from edgeclf.errors import OptionError


@dataclass(frozen=True)
class SourceSpec:
    """What a model from elsewhere expects and answers; its file does not say.

    Attributes:
        labels: ``labels.txt``, one name a line in the order of the output, or a CSV file with
            the columns ``id`` and ``name`` in any order.
        input_range: What the bytes 0 and 255 become.
        mean: Subtracted afterwards, in units of that range; one number or one for each of RGB.
        std: Divided by afterwards; likewise.
        layout: ``nhwc`` or ``nchw``.
        scores: Whether the output is ``probabilities`` or still needs a softmax: ``logits``.
        input_size: Rows and columns, where the model leaves them open.
        trust: Whether code in the file may run: Lambda layers, Python functions, file access.
    """

    labels: str | os.PathLike[str] | None = None
    input_range: tuple[float, float] = (0.0, 255.0)
    mean: float | tuple[float, float, float] = 0.0
    std: float | tuple[float, float, float] = 1.0
    layout: Literal["nhwc", "nchw"] = "nhwc"
    scores: Literal["probabilities", "logits"] = "probabilities"
    input_size: tuple[int, int] | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        low, high = self.input_range
        if low >= high or not np.all(np.asarray(self.std) > 0):
            raise OptionError(
                f"Input range and std are {self.input_range} and {self.std}; expected "
                "low < high, and std above 0."
            )

    def normalization(self) -> Normalization:
        """The same on raw bytes: x -> (x - mean) / std."""
        low, high = self.input_range
        step = 255 / (high - low)
        mean = tuple(float(m - low) * step for m in np.atleast_1d(self.mean))
        std = tuple(float(s) * step for s in np.atleast_1d(self.std))
        if len(mean) == len(std) == 1:
            return Normalization(mean[0], std[0])
        three = (mean * 3 if len(mean) == 1 else mean, std * 3 if len(std) == 1 else std)
        return Normalization(*three)  # type: ignore[arg-type]


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that `source_spec_from` reads."""
    foreign = parser.add_argument_group("models from elsewhere")
    foreign.add_argument("--labels", metavar="FILE", help="labels.txt, one name a line in the "
                         "order of the output, or a CSV with id and name")  # fmt: skip
    foreign.add_argument("--input-range", nargs=2, type=float, metavar=("LOW", "HIGH"),
                         default=(0.0, 255.0), help="what the bytes 0 and 255 become "
                         "(default: 0 255)")  # fmt: skip
    foreign.add_argument("--mean", nargs="+", type=float, default=[0.0],
                         help="subtracted then: one number, or three for RGB")  # fmt: skip
    foreign.add_argument("--std", nargs="+", type=float, default=[1.0],
                         help="divided by then: one number, or three for RGB")  # fmt: skip
    foreign.add_argument("--layout", choices=("nhwc", "nchw"), default="nhwc",
                         help="default: %(default)s")  # fmt: skip
    foreign.add_argument("--scores", choices=("probabilities", "logits"), default="probabilities",
                         help="what the model answers (default: %(default)s)")  # fmt: skip
    foreign.add_argument("--input-size", nargs=2, type=int, metavar=("ROWS", "COLUMNS"),
                         help="where the model leaves it open")  # fmt: skip
    foreign.add_argument("--trust", action="store_true",
                         help="let code in the file run: only if you know its origin")  # fmt: skip


def source_spec_from(args: argparse.Namespace) -> SourceSpec:
    """What was said on the command line."""
    return SourceSpec(
        labels=args.labels,
        input_range=tuple(args.input_range),
        mean=_one_or_three(args.mean, "--mean"),
        std=_one_or_three(args.std, "--std"),
        layout=args.layout,
        scores=args.scores,
        input_size=args.input_size and tuple(args.input_size),
        trust=args.trust,
    )


def _one_or_three(values: Sequence[float], flag: str) -> float | tuple[float, float, float]:
    if len(values) == 1:
        return values[0]
    if len(values) != 3:
        raise OptionError(f"{flag} has {len(values)} numbers; expected one, or three for RGB.")
    red, green, blue = values
    return red, green, blue
