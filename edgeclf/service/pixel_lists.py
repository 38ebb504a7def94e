"""Pixels written as JSON numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from edgeclf.image import UInt8Array
from edgeclf.service.problem import Problem


def read_pixels(values: list[Any], shape: Sequence[int], what: str) -> UInt8Array:
    """Turns lists of whole numbers into pixels.

    Args:
        values: What the JSON holds: lists in lists, or one list of all values.
        shape: How many lists of how many there must be.
        what: Whose pixels they are, for the message.

    Returns:
        uint8 of that shape, 0..255.

    Raises:
        Problem: 400 the numbers are others, or not as many.
    """
    expected = f"expected whole numbers 0..255 of the shape {list(shape)}"
    flat = bool(values) and not isinstance(values[0], list)
    level: list[Any] = [values]
    for size in [math.prod(shape)] if flat else shape:
        wrong = [each for each in level if type(each) is not list or len(each) != size]
        if wrong:
            found = f"a list of {len(wrong[0])}" if type(wrong[0]) is list else "no list"
            raise Problem(
                400, "bad_pixels", f"{what} has {found} in place of a list of {size}; {expected}."
            )
        level = list(chain.from_iterable(level))
    try:
        pixels = bytes(level)  # refuses what is no whole number, and what no byte holds
    except TypeError:
        kind = next(type(value).__name__ for value in level if type(value) is not int)
        hint = ": normalisation is inside the model" if kind == "float" else ""
        raise Problem(400, "bad_pixels", f"{what} holds a {kind}; {expected}{hint}.") from None
    except (ValueError, OverflowError):
        raise Problem(
            400, "bad_pixels", f"{what} holds numbers below 0 or above 255; {expected}."
        ) from None
    return np.frombuffer(pixels, np.uint8).reshape(shape)
