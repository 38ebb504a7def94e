"""Backbones that know ImageNet's classes, without a framework: which, and where their weights are.

Nothing in this module downloads anything; it only looks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from edgeclf.errors import OptionError, listed
from edgeclf.networks.published import CLASSES, PUBLISHED, Published
from edgeclf.networks.registry import (
    WeightsState,
    file_of_package,
    keras_cache,
    plain_name,
    read_table,
    weights_state,
)

_FLOAT_BYTES = 4
_NEAREST = 3


@dataclass(frozen=True)
class Pretrained:
    """A backbone with its ImageNet classes.

    Attributes:
        name: What the user types.
        published: What others say of it.
        parameters: Number of weights, those of the classes included.
        package: The pip package that carries its weights, or None.
    """

    name: str
    published: Published
    parameters: int
    package: str | None

    @property
    def size_bytes(self) -> int:
        """Of its weights in float; int8 takes about a quarter."""
        return self.parameters * _FLOAT_BYTES

    @property
    def state(self) -> WeightsState:
        """Whether its weights are on this machine."""
        return weights_state(self.package, self.published.weights_file)


def all_pretrained() -> tuple[Pretrained, ...]:
    """Every one of them, in the order of the backbones."""
    return tuple(
        Pretrained(
            name,
            PUBLISHED[name],
            row["parameters"] + CLASSES * (row["channels"] + 1),
            row["weights_package"],
        )
        for name, row in read_table().items()
        if name in PUBLISHED
    )


def find_pretrained(name: str) -> Pretrained:
    """The one of that name; its end will do where no other ends so, as ``lite0``.

    Raises:
        OptionError: There is none; says which are nearest.
    """
    known = {each.name: each for each in all_pretrained()}
    wanted, plain = plain_name(name), {plain_name(each): each for each in known}
    ends = [plain[each] for each in plain if wanted and each.endswith(wanted)]
    if wanted in plain or len(ends) == 1:
        return known[plain.get(wanted) or ends[0]]
    table = {plain_name(each): each for each in read_table()}
    if wanted in table:
        raise OptionError(
            f"{table[wanted]} has no ImageNet classes here; train it on photos of your own with "
            f"'edgeclf train'. The zoo has {', '.join(known)}."
        )
    near = ends or [plain[each] for each in plain if wanted and each.startswith(wanted)]
    hint = f"Did you mean {' or '.join(near or _nearest(wanted, known))}? "
    raise OptionError(f"There is no {name!r} in the zoo. {hint}It has {', '.join(known)}.")


def _nearest(wanted: str, known: Iterable[str]) -> list[str]:
    """The names, or the last parts of them, that are most alike."""

    def likeness(name: str) -> float:
        words = (plain_name(name), plain_name(name.rpartition("-")[2]))
        return max(SequenceMatcher(None, wanted, word).ratio() for word in words)

    return sorted(known, key=likeness, reverse=True)[:_NEAREST]


def locate(
    model: Pretrained, weights: str | os.PathLike[str] | None = None, *, download: bool = False
) -> Path:
    """The file that a model's weights are in, or will be once Keras has fetched it.

    Args:
        model: Which.
        weights: A file of the user's, or None for the published one.
        download: Whether Keras may fetch it where it is not there.

    Raises:
        MissingDependencyError: They come in a pip package that is not installed.
        OptionError: There is no such file, or Keras would have to download it and may not.
    """
    endings = (".pth", ".weights.h5", ".keras") if model.package else (".h5", ".keras")
    if weights is not None:
        path = Path(weights)
        if not path.name.endswith(endings) or not path.is_file():
            raise OptionError(
                f"The weights {os.fspath(weights)!r} are not a file of {model.name}; expected one "
                f"that ends in {', '.join(endings)}, with the 1,000 classes in it."
            )
        return path
    if model.package is not None:
        return file_of_package(model.package, "zoo")
    assert model.published.weights_file is not None, "else there is a package"
    path = keras_cache() / model.published.weights_file
    if not path.is_file() and not download:
        here = [each.name for each in all_pretrained() if each.state == "installed"]
        raise OptionError(
            f"The weights of {model.name} are not on this machine: Keras would download "
            f"{path.name}, and edgeclf fetches nothing by itself. Let Keras fetch it with "
            f"--download, put that file into {path.parent}, or give it with --weights FILE. "
            f"Here without a network: {listed(here) or 'none; install edgeclf[zoo]'}."
        )
    return path
