"""What is known of the backbones without a framework: names, and whether weights are here.

Nothing in this module downloads anything; it only looks.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from edgeclf.errors import OptionError

WeightsState = Literal["installed", "cached", "not installed", "file needed", "none"]


def match_name(name: str, known: Iterable[str]) -> str:
    """The known name meant by `name`; case, hyphens and underscores do not count.

    Raises:
        OptionError: There is none.
    """
    names = {_plain(candidate): candidate for candidate in known}
    try:
        return names[_plain(name)]
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


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
