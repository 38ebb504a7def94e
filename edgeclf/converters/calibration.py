"""Calibration: which range of values each activation takes, measured on the user's photos.

Both int8 converters share this, so that TFLite and ONNX quantise by the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeclf.image import UInt8Array

CalibrationMethod = Literal["min-max", "average", "percentile", "mse"]
Ranges: TypeAlias = dict[str, tuple[float, float]]

CALIBRATION_IMAGES = 200
_PERCENTILE = 99.99
_SEARCH_SAMPLE = 1024  # values of one tensor and image that a range is searched on
_SEARCH_FACTORS = tuple(np.linspace(1.0, 0.3, 15))
_SEARCH_ROUNDS = 2
_SAMPLE = 65_536  # values of one tensor that a percentile is taken of


class Observations:
    """Collects the extremes of every tensor, one image at a time.

    Args:
        method: How the images' extremes become one range:
            ``min-max`` takes the outermost of all images; nothing is clipped, and one odd photo
            widens every step.
            ``average`` takes the mean over the images, what a moving average estimates without
            depending on their order.
            ``percentile`` takes the mean of each image's 0.01st and 99.99th percentile, of an
            even sample of large tensors.
            ``mse`` narrows the outermost range as long as that lowers the mean squared error of
            8-bit rounding and clipping together, on a sample of all images' values.
    """

    def __init__(self, method: CalibrationMethod) -> None:
        self._method = method
        self._lows: dict[str, list[float]] = {}
        self._highs: dict[str, list[float]] = {}
        self._samples: dict[str, list[npt.NDArray[np.float32]]] = {}

    def add(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Notes one image's activations, by the tensor's name."""
        for name, values in tensors.items():
            low, high = self._extremes(values)
            self._lows.setdefault(name, []).append(low)
            self._highs.setdefault(name, []).append(high)
            if self._method == "mse":
                flat = values.reshape(-1)
                step = max(1, flat.size // _SEARCH_SAMPLE)
                self._samples.setdefault(name, []).append(flat[::step].astype(np.float32))

    def _extremes(self, values: npt.NDArray[Any]) -> tuple[float, float]:
        if self._method != "percentile":
            return float(values.min()), float(values.max())
        flat = values.reshape(-1)
        low, high = np.percentile(
            flat[:: max(1, flat.size // _SAMPLE)], (100 - _PERCENTILE, _PERCENTILE)
        )
        return float(low), float(high)

    def ranges(self) -> Ranges:
        """The range of each tensor; zero lies in all of them, because padding is zero."""
        ranges: Ranges = {}
        for name, lows in self._lows.items():
            highs = self._highs[name]
            if self._method in ("min-max", "mse"):
                low, high = min(lows), max(highs)
            else:
                low, high = float(np.mean(lows)), float(np.mean(highs))
            ranges[name] = (min(low, 0.0), max(high, 0.0))
            if self._method == "mse":
                ranges[name] = _narrowed(np.concatenate(self._samples.pop(name)), *ranges[name])
        return ranges


def _narrowed(values: npt.NDArray[np.float32], low: float, high: float) -> tuple[float, float]:
    """The range with the least squared error among narrower ones, one end after the other."""

    def error(low: float, high: float) -> float:
        scale = (high - low) / 255
        if scale <= 0:
            return 0.0
        zero_point = round(-low / scale)
        steps = np.clip(np.rint(values / scale) + zero_point, 0, 255)
        return float(np.mean(np.square((steps - zero_point) * scale - values)))

    for _ in range(_SEARCH_ROUNDS):
        high = min((high * factor for factor in _SEARCH_FACTORS), key=lambda h: error(low, h))
        low = min((low * factor for factor in _SEARCH_FACTORS), key=lambda b: error(b, high))
    return low, high


def relative_error(reference: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """RMS of the difference over RMS of the reference; 0 is equal, 1 is as wrong as silence."""
    scale = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64))))
    error = float(np.sqrt(np.mean(np.square(reference - other, dtype=np.float64))))
    return error / scale if scale else float(error > 0)


def spread(images: UInt8Array, count: int) -> UInt8Array:
    """Up to `count` images from all over the array, which is sorted by class."""
    picked: UInt8Array = images[
        np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    ]
    return picked
