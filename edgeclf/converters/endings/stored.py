"""A head that is too large for the metadata: where its weights lie in the file itself."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.converters.endings.steps import Weights

_TYPES = {"i1": "int8", "f2": "float16", "f4": "float32"}
_ROUNDING = 1e-6  # of a product in float32


def stored_head(
    arrays: Iterable[npt.NDArray[Any]], weights: Weights, file: bytes
) -> dict[str, Any] | None:
    """The record ``features.head`` that names a place in a file, as docs/artifact.md specifies it.

    Args:
        arrays: What the graph stores.
        weights: float [channels, classes] that the graph's dense layer works with.
        file: The sealed artifact, whose model lies where it will lie: metadata come behind it.

    Returns:
        The record; None where they are stored otherwise than as these weights, or as integers
        around zero with one scale for all or for each class.
    """
    for array in arrays:
        if array.size != weights.size or array.dtype.str[1:] not in _TYPES:
            continue
        for by_class in (True, False):
            shape = weights.shape[::-1] if by_class else weights.shape
            values = array.reshape(shape).T if by_class else array.reshape(shape)
            scale = _scale(values, weights)
            position = file.find(array.tobytes()) if scale is not None else -1
            if scale is not None and position >= 0:
                return {"kind": "stored", "position": position, "by_class": by_class,
                        "type": _TYPES[array.dtype.str[1:]],
                        "scale": base64.b64encode(scale.tobytes()).decode()}  # fmt: skip
    return None


def _scale(values: npt.NDArray[Any], weights: Weights) -> npt.NDArray[np.float32] | None:
    """What stored values are to be multiplied by to be the weights: [1] or [classes], or None."""
    scale = np.ones(1, "<f4")
    if values.dtype == np.int8:
        exact = values.astype(np.float64)
        squares = np.maximum((exact * exact).sum(axis=0), 1)
        scale = ((exact * weights).sum(axis=0) / squares).astype("<f4")
    apart = np.abs(values.astype(np.float32) * scale - weights).max()
    return scale if apart <= _ROUNDING * np.abs(weights).max() else None
