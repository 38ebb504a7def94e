"""What a conversion's files are called, and whether they can be written, before there is work."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeclf.artifact import is_artifact
from edgeclf.converters import find_converter
from edgeclf.converters.base import Target
from edgeclf.converters.config import ConversionConfig
from edgeclf.converters.ptq import fallback_recipes
from edgeclf.errors import OptionError
from edgeclf.system import files


def file_name(name: str, target: Target) -> str:
    """What the artifact of a model is called; another's converter adds the format to its own name.

    Args:
        name: The model's.
        target: What it became.
    """
    format_ = find_converter(target.converter).format
    return f"{name}.{target}" + ("" if target.converter == format_ else f".{format_}")


def check_outputs(
    folder: Path, name: str, targets: Sequence[Target], config: ConversionConfig
) -> None:
    """Refuses what would fail, or lose a file of somebody else's, when results are written.

    Args:
        folder: For all results.
        name: The model's, with which each one's begins.
        targets: What was asked for; what it may become by a fallback is looked at too.
        config: Which pages and sources are written beside.

    Raises:
        OptionError: A name is too long or a folder's, or a model that is no artifact has it.
    """
    kinds = ("conversion", *(["trust"] if config.calibrate else []))
    pages = [f"{kind}.{suffix}" for kind in kinds for suffix in ("json", "md", "html")]
    sources = [f"{target.precision}.{suffix}" for target in targets for suffix in "hc"
               if config.c_array and target.precision == "int8-full"]  # fmt: skip
    for ending in (*sources, *pages):
        files.check_out(folder / f"{name}.{ending}")
    for target in dict.fromkeys(_possible(targets)):
        path = folder / file_name(name, target)
        files.check_out(path)
        if path.is_file() and not is_artifact(path.read_bytes()):
            raise OptionError(
                f"{path} is no artifact of edgeclf, and {target} could be written over it. Move "
                "it, or choose another folder with --out."
            )


def _possible(targets: Sequence[Target]) -> Iterator[Target]:
    for target in targets:
        for recipe in fallback_recipes(target.precision):
            yield dataclasses.replace(target, precision=recipe.precision)
