"""Verbs that take minutes, in name only, for tests of what puts them together."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import edgeclf


def stand_in(
    patch: pytest.MonkeyPatch, verb: str, leave: Callable[[dict[str, Any]], object]
) -> list[dict[str, Any]]:
    """Puts a function that only leaves files in the place of a verb.

    It refuses arguments that the verb itself would refuse.

    Args:
        patch: Undoes it.
        verb: The verb's name.
        leave: Writes what the verb would, for its arguments and options by name, or their defaults.

    Returns:
        The arguments of each call so far; it grows.
    """
    module = importlib.import_module(f"edgeclf.{verb}")
    signature = inspect.signature(getattr(module, verb))
    calls: list[dict[str, Any]] = []

    def call(*args: object, **options: object) -> None:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        given = dict(bound.arguments)
        if (config := given.pop("config", None)) is not None:
            given |= vars(config)
        calls.append(given)
        leave(given)

    patch.setattr(edgeclf, verb, call)  # first, as it looks the name up in the module and keeps it
    patch.setattr(module, verb, call)
    return calls
