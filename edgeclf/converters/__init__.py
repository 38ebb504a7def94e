"""Converters by name: the built-in ones, and those that other distributions register.

A third party adds a converter with one class and one entry point in the group
``edgeclf.converters``; see `edgeclf.converters.base.Converter` for the seam. It is then asked for
by its name: ``--to int8.NAME``.
"""

from __future__ import annotations

from typing import Any

from edgeclf.errors import OptionError
from edgeclf.system.plugins import Plugins

_CONVERTERS = Plugins(
    "edgeclf.converters",
    {
        "onnx": "edgeclf.converters.onnx:OnnxConverter",
        "tflite": "edgeclf.converters.tflite:TFLiteConverter",
    },
)


def find_converter(name: str) -> Any:
    """The converter class of that name.

    Raises:
        OptionError: There is none.
    """
    try:
        return _CONVERTERS.find(name)
    except KeyError:
        raise OptionError(
            f"There is no converter {name!r}; expected one of {', '.join(_CONVERTERS.names())}."
        ) from None
