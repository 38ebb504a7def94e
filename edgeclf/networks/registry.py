"""What is known of the backbones without a framework: names, and whether weights are here.

Nothing in this module downloads anything; it only looks.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from edgeclf.errors import MissingDependencyError, OptionError

SMALLEST_INPUT = 32
# Written by tools/update_backbones.py from the built networks, which take a minute to build.
_TABLE = Path(__file__).with_name("backbones.json")
_EXTENSIONS = (".weights.h5", ".keras", ".h5")
WeightsState = Literal["installed", "cached", "not installed", "file needed", "none"]


def read_table() -> dict[str, dict[str, Any]]:
    """Figures and weights of all backbones by name."""
    table: dict[str, dict[str, Any]] = json.loads(_TABLE.read_text())
    return table


def match_name(name: str, known: Iterable[str]) -> str:
    """The known name meant by `name`; case, hyphens and underscores do not count.

    Raises:
        OptionError: There is none.
    """
    names = {plain_name(candidate): candidate for candidate in known}
    try:
        return names[plain_name(name)]
    except KeyError:
        raise OptionError(
            f"There is no backbone {name!r}; expected one of {', '.join(names.values())}."
        ) from None


def keras_cache() -> Path:
    """The folder where Keras keeps the weights that it downloaded."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "models"


def weights_state(package: str | None, file: str | None) -> WeightsState:
    """Whether a backbone's ImageNet weights are on this machine.

    Args:
        package: The pip package that carries them, or None.
        file: Their name in Keras's cache, or None.
    """
    if package is not None:
        return "installed" if importlib.util.find_spec(package) else "not installed"
    if file is not None:
        return "cached" if (keras_cache() / file).is_file() else "file needed"
    return "none"


def check_start(
    backbone: str,
    weights: str | os.PathLike[str] = "none",
    *,
    download: bool = False,
) -> None:
    """Refuses a network that cannot be built so, before photos are read and TensorFlow is imported.

    Args:
        backbone: Its name.
        weights: Where it is to start: ``imagenet``, a file or ``none``.
        download: Whether Keras may fetch ImageNet weights that are not on this machine.

    Raises:
        OptionError: There is no such network or file of weights, it has no ImageNet weights or
            they are not on this machine.
        MissingDependencyError: The package of the weights is not installed.
    """
    table = read_table()
    name = match_name(backbone, table)
    row = table[name]
    locate_weights(
        weights,
        backbone=name,
        package=row["weights_package"],
        extra=row["weights_extra"],
        file=row["weights_file"],
        download=download,
    )


def check_input_size(size: int) -> None:
    """Refuses what is smaller than any of these networks can take.

    Raises:
        OptionError: `size`, rows and columns, is.
    """
    if size < SMALLEST_INPUT:
        raise OptionError(f"The input size is {size}; expected at least {SMALLEST_INPUT} pixels.")


def locate_weights(
    weights: str | os.PathLike[str] | None,
    *,
    backbone: str,
    package: str | None,
    extra: str,
    file: str | None,
    download: bool = False,
) -> Path | None:
    """The file that a backbone's weights are in, or will be once Keras has fetched it.

    Args:
        weights: ``imagenet``, a file, or ``none`` or None.
        backbone: The network's name.
        package: The pip package that carries its ImageNet weights, or None.
        extra: The edgeclf extra that brings the package.
        file: Their name in Keras's cache, or None.
        download: Whether Keras may fetch them where they are not there.

    Returns:
        None for none; a path that is not there only with `download`.

    Raises:
        MissingDependencyError: They come in a pip package that is not installed.
        OptionError: There is no such file, the backbone has no ImageNet weights, or Keras would
            have to download them and may not.
    """
    if weights is None or weights == "none":
        return None
    if weights != "imagenet":
        path = Path(weights)
        if not path.name.endswith(_EXTENSIONS) or not path.is_file():
            raise OptionError(
                f"The weights {os.fspath(weights)!r} are not a file; expected imagenet, none or a "
                f"file that ends in {', '.join(_EXTENSIONS)}."
            )
        return path
    if package is not None:
        return file_of_package(package, extra)
    if file is None:
        raise OptionError(
            f"{backbone} has no ImageNet weights. Train it from scratch with --weights none, "
            "or give a file with --weights FILE."
        )
    path = keras_cache() / file
    if not path.is_file() and not download:
        raise OptionError(
            f"The ImageNet weights of {backbone} are not on this machine: Keras would "
            f"download {path.name}, and edgeclf fetches nothing by itself. Put that file into "
            f"{path.parent}, give it with --weights FILE, let Keras fetch it with --download, "
            "or train from scratch with --weights none."
        )
    return path


def file_of_package(package: str, extra: str) -> Path:
    """The checkpoint in a pip package of weights.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError:
        raise MissingDependencyError(package, extra, "Starting from ImageNet weights") from None
    (holder,) = (v for k, v in vars(module).items() if k.endswith("ModelFile"))
    return Path(holder.get_model_file_path())


def plain_name(name: str) -> str:
    """A name without what does not count in it: case, hyphens and underscores."""
    return name.lower().replace("-", "").replace("_", "")
