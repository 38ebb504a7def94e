"""Names that stand for classes: built in, or registered by other distributions.

Runtimes and converters are both found this way.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any


class Plugins:
    """The classes behind one seam.

    Args:
        group: The entry-point group that other distributions register in.
        built_in: Each name's "module:Class"; the module is imported when it is asked for.
    """

    def __init__(self, group: str, built_in: Mapping[str, str]) -> None:
        self._group = group
        self._built_in = built_in

    def names(self) -> tuple[str, ...]:
        """Built-in and registered names, sorted."""
        return tuple(sorted({*self._built_in, *(entry.name for entry in self._registered())}))

    def find(self, name: str) -> Any:
        """The class of that name; a built-in one cannot be replaced.

        Raises:
            KeyError: There is none.
        """
        if name in self._built_in:
            module, _, attribute = self._built_in[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        for entry in self._registered():
            if entry.name == name:
                return entry.load()
        raise KeyError(name)

    def _registered(self) -> Any:
        # Imported when asked, as importlib.metadata costs 15 ms.
        from importlib.metadata import entry_points

        return entry_points(group=self._group)
