"""Calibration: which range of values each activation takes, measured on the user's photos.

Both int8 converters share this, so that TFLite and ONNX quantise by the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

CalibrationMethod = Literal["min-max", "average", "percentile", "mse"]
Ranges: TypeAlias = dict[str, tuple[float, float]]

CALIBRATION_IMAGES = 200
_PERCENTILE = 99.99
_SEARCH_SAMPLE = 1024  # values of one tensor and image that a range is searched on
_SEARCH_FACTORS = tuple(np.linspace(1.0, 0.3, 15).tolist())
_SEARCH_ROUNDS = 2
_SAMPLE = 65_536  # values of one tensor that a percentile is taken of


class Observations:
    """Collects what every tensor's range is chosen by, one image at a time.

    Args:
        percentiles: Whether to sort for percentiles, which no other method needs.
    """

    def __init__(self, *, percentiles: bool = False) -> None:
        self._percentiles = percentiles
        self._lows: dict[str, list[float]] = {}
        self._highs: dict[str, list[float]] = {}
        self._samples: dict[str, list[npt.NDArray[np.float32]]] = {}

    def add(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Notes one image's activations, by the tensor's name."""
        for name, values in tensors.items():
            low, high = self._extremes(values)
            self._lows.setdefault(name, []).append(low)
            self._highs.setdefault(name, []).append(high)
            if not self._percentiles:
                picked = _evenly(values, _SEARCH_SAMPLE).astype(np.float32)
                self._samples.setdefault(name, []).append(picked)

    def _extremes(self, values: npt.NDArray[Any]) -> tuple[float, float]:
        if not self._percentiles:
            return float(values.min()), float(values.max())
        low, high = np.percentile(_evenly(values, _SAMPLE), (100 - _PERCENTILE, _PERCENTILE))
        return float(low), float(high)

    def ranges(self) -> dict[CalibrationMethod, Ranges]:
        """The range of each tensor by each method; zero lies in all, because padding is zero.

        ``min-max`` takes the outermost of all images; nothing is clipped, and one odd photo widens
        every step. ``average`` takes the mean over the images, what a moving average estimates
        without depending on their order. ``mse`` narrows the outermost range as long as that lowers
        the mean squared error of 8-bit rounding and clipping together, on a sample of all images'
        values. ``percentile``, which is found alone, takes the mean of each image's 0.01st and
        99.99th percentile, of an even sample of large tensors.
        """
        both = {name: (lows, self._highs[name]) for name, lows in self._lows.items()}
        average = {
            n: _with_zero(np.mean(lows), np.mean(highs)) for n, (lows, highs) in both.items()
        }
        if self._percentiles:
            return {"percentile": average}
        outermost = {n: _with_zero(min(lows), max(highs)) for n, (lows, highs) in both.items()}
        narrowed = {
            name: _narrowed(np.concatenate(self._samples.pop(name)), *span)
            for name, span in outermost.items()
        }
        return {"min-max": outermost, "average": average, "mse": narrowed}


def _with_zero(low: Any, high: Any) -> tuple[float, float]:
    return min(float(low), 0.0), max(float(high), 0.0)


def _evenly(values: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """About `count` of the values, in one row; a turned array is not copied for them."""
    step = max(1, values.size // count)
    if values.flags.c_contiguous:
        return values.reshape(-1)[::step]
    picked: npt.NDArray[Any] = values[
        np.unravel_index(np.arange(0, values.size, step), values.shape)
    ]
    return picked


def _narrowed(values: npt.NDArray[np.float32], low: float, high: float) -> tuple[float, float]:
    """The range with the least squared error among narrower ones, one end after the other."""
    steps = np.empty_like(values)

    @cache  # an end that is zero stays so, whatever it is multiplied by
    def error(low: float, high: float) -> float:
        scale = (high - low) / 255
        if scale <= 0:
            return 0.0
        zero_point = round(-low / scale)
        np.divide(values, scale, out=steps)
        np.rint(steps, out=steps)
        np.clip(steps, -zero_point, 255 - zero_point, out=steps)
        np.multiply(steps, scale, out=steps)
        np.subtract(steps, values, out=steps)
        return float(np.mean(np.square(steps, out=steps)))

    for _ in range(_SEARCH_ROUNDS):
        high = min((high * factor for factor in _SEARCH_FACTORS), key=lambda h: error(low, h))
        low = min((low * factor for factor in _SEARCH_FACTORS), key=lambda b: error(b, high))
    return low, high


def relative_error(reference: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """RMS of the difference over RMS of the reference; 0 is equal, 1 is as wrong as silence."""
    scale = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64))))
    error = float(np.sqrt(np.mean(np.square(reference - other, dtype=np.float64))))
    return error / scale if scale else float(error > 0)


def spread_indices(images: int, count: int) -> npt.NDArray[np.intp]:
    """Where up to `count` of so many images lie, all over the array, which is sorted by class."""
    return np.linspace(0, images - 1, min(count, images)).astype(np.intp)
