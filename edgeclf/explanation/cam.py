"""Class activation maps: what each place of the last feature map adds to a class's logit.

Zhou et al., "Learning Deep Features for Discriminative Localization" (2016). Where a mean over rows
and columns and one dense layer follow, the gradient of a logit by a feature is the dense layer's
weight over the number of places, so that this is also the Grad-CAM of Selvaraju et al. (2017), to
a factor that no normalised map shows.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from edgeclf.runtimes.base import Float32Array


def class_activation(features: Float32Array, weights: Float32Array) -> Float32Array:
    """The map of one class on the grid of the features.

    Args:
        features: float32 [h, w, c] of one picture.
        weights: float32 [c], the dense layer's for the class.

    Returns:
        float32 [h, w], 0..1: what speaks for the class, relative to where most does. All zeros
        where nothing speaks for it.
    """
    return scaled(np.maximum(features @ weights, 0))


def scaled(values: Float32Array) -> Float32Array:
    """Values of at least 0 divided by the largest, if that is above 0: float32, 0..1."""
    largest = values.max()
    return (values / largest if largest > 0 else np.zeros_like(values)).astype(np.float32)


def enlarged(
    grid: Float32Array,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
) -> Float32Array:
    """A map in finer steps, bilinear between the centres of its cells.

    Args:
        grid: float32 [h, w].
        size: (width, height) of the result.
        box: The part of the grid to show, (left, top, right, bottom) in cells; None for all.

    Returns:
        float32 [height, width].
    """
    rows, columns = grid.shape
    left, top, right, bottom = box or (0, 0, columns, rows)
    # Two small products take an eighth of the time of Pillow's resize and its copy to an array.
    fine: Float32Array = _shares(rows, size[1], top, bottom) @ grid
    return fine @ _shares(columns, size[0], left, right).T


@lru_cache(maxsize=16)
def _shares(cells: int, steps: int, start: float, end: float) -> Float32Array:
    """The share [steps, cells] of each cell in each of the steps from `start` to `end`."""
    centres = start + (np.arange(steps) + 0.5) * (end - start) / steps - 0.5
    away = np.abs(np.clip(centres, 0, cells - 1)[:, np.newaxis] - np.arange(cells))
    return np.maximum(1 - away, 0).astype(np.float32)
