"""Rounding weights to a few levels so that a layer's answers change least, not its weights.

After Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers" (2022), section 3: the weights of an output are rounded one after the other, and the
error of each is made up for by those not rounded yet, as far as their inputs go together on the
calibration images. Neighbouring pixels and channels do go together, so rounding each weight to its
nearest level leaves several times the error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.converters.layer_inputs import Layer
from edgeclf.errors import MissingDependencyError

_MOST_INPUTS = 8192  # of an output: their moments are a square, of doubles while they are factored
_DAMPING = 0.01  # relative to the mean of the diagonal, as in the paper
_WAITING = 2**18  # values of a layer that are multiplied at once; more where a square is larger
_BLOCK = 64  # weights of an output that are rounded before the others hear of it
_SMALL = 64  # rows of a triangle that LAPACK inverts by itself


class Moments:
    """Second moments of what a layer is given, summed up as it comes.

    Args:
        groups: How many the layer has.
        inputs: How many an output has.
    """

    def __init__(self, groups: int, inputs: int) -> None:
        self._sums = np.zeros((groups, inputs, inputs), np.float32)
        self._waiting: list[npt.NDArray[np.float32]] = []
        self._values = self._count = 0
        self._at_once = max(_WAITING, inputs**2)

    def add(self, samples: npt.NDArray[np.float32]) -> None:
        """Adds float32 [groups, samples, inputs]."""
        self._waiting.append(np.ascontiguousarray(samples))
        self._values += samples.size
        if self._values >= self._at_once:
            self._multiply()

    def _multiply(self) -> None:
        if self._waiting:
            seen = np.concatenate(self._waiting, axis=1)
            self._sums += seen.transpose(0, 2, 1) @ seen  # NumPy computes half of it, as BLAS can
            self._count += seen.shape[1]
        self._waiting, self._values = [], 0

    def mean(self) -> npt.NDArray[np.float32]:
        """float32 [groups, inputs, inputs]; nothing can be added any more."""
        self._multiply()
        self._sums /= max(1, self._count)
        return self._sums


@dataclass(frozen=True)
class Factor:
    """What GPTQ goes by: which input is rounded when, and who makes up for its error.

    Attributes:
        upper: float32 [groups, inputs, inputs], the upper Cholesky factor of the inverse of the
            inputs' moments, in the order of rounding.
        order: int64 [groups, inputs], the strongest input first.
    """

    upper: npt.NDArray[np.float32] = field(repr=False)
    order: npt.NDArray[np.intp] = field(repr=False)

    @classmethod
    def of(cls, moments: npt.NDArray[np.float32]) -> Factor:
        """The factor of second moments float32 [groups, inputs, inputs]."""
        diagonal = np.einsum("gii->gi", moments)
        order = np.argsort(-diagonal, axis=1, kind="stable")
        backwards = order[:, ::-1]
        turned = np.take_along_axis(
            np.take_along_axis(moments, backwards[:, :, None], axis=1),
            backwards[:, None, :],
            axis=2,
        ).astype(np.float64)
        damping = _DAMPING * np.maximum(diagonal.mean(axis=1, dtype=np.float64), 1e-12)
        np.einsum("gii->gi", turned)[...] += damping[:, None]
        # H = R R' with R upper, so H^-1 = (R^-1)' R^-1: no inverse of the whole is needed.
        upper = np.ascontiguousarray(np.linalg.cholesky(turned)[:, ::-1, ::-1])  # as BLAS wants it
        return cls(_inverted(upper).astype(np.float32), order)


def _inverted(upper: Any) -> Any:
    """The inverse of upper triangles, float64 [groups, n, n], by halves."""
    size = upper.shape[-1]
    if size <= _SMALL:
        return np.linalg.inv(upper)
    half = size // 2
    result = np.zeros_like(upper)
    first, last = (_inverted(upper[:, part, part]) for part in (slice(half), slice(half, None)))
    result[:, :half, :half], result[:, half:, half:] = first, last
    result[:, :half, half:] = -(first @ upper[:, :half, half:]) @ last
    return result


def round_weights(
    weights: npt.NDArray[np.float32], factor: Factor, levels: int, *, per_tensor: bool = False
) -> npt.NDArray[np.float32]:
    """Rounds weights to multiples of each output's largest weight over `levels`.

    Args:
        weights: float32 [groups, outputs, inputs], see `Layer.weights`.
        factor: Of what the layer is given.
        levels: Positive levels of the grid, 127 for int8.
        per_tensor: Whether all outputs share one grid, that of the largest weight of all.

    Returns:
        float32 [groups, outputs, inputs] on the grid; the largest weight of each output is as it
        was, so a quantiser that looks for it finds the same grid.
    """
    scales = np.abs(weights).max(axis=None if per_tensor else 2, keepdims=True) / levels
    scales[scales == 0] = 1
    upper, order = factor.upper, factor.order
    # [groups, inputs, outputs]: what one step changes lies together
    remaining = np.ascontiguousarray(
        np.take_along_axis(weights / scales, order[:, None, :], axis=2).transpose(0, 2, 1)
    )
    largest = np.abs(remaining).argmax(axis=1)
    extremes = np.rint(np.take_along_axis(remaining, largest[:, None, :], axis=1))[:, 0]
    rounded, errors = np.empty_like(remaining), np.empty_like(remaining)
    for start in range(0, remaining.shape[1], _BLOCK):
        end = min(start + _BLOCK, remaining.shape[1])
        for step in range(start, end):
            values = remaining[:, step]
            nearest = np.minimum(np.maximum(np.rint(values), -levels), levels)
            nearest = np.where(largest == step, extremes, nearest)
            rounded[:, step] = nearest
            error = (values - nearest) / upper[:, step, step, None]
            errors[:, step] = error
            row = upper[:, step, step + 1 : end, None]
            remaining[:, step + 1 : end] -= row * error[:, None]
        rows = upper[:, start:end, end:].transpose(0, 2, 1)
        remaining[:, end:] -= rows @ errors[:, start:end]
    unsorted = np.empty_like(weights)
    np.put_along_axis(unsorted, order[:, None, :], rounded.transpose(0, 2, 1), axis=2)
    result: npt.NDArray[np.float32] = (unsorted * scales).astype(np.float32)
    return result


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keeps NumPy's BLAS to one thread: between matrices of this size, others wait by spinning.

    Raises:
        MissingDependencyError: What can tell BLAS so is not installed.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        raise MissingDependencyError("threadpoolctl", "convert", "Rounding weights") from None
    with threadpool_limits(1, "blas"):
        yield


class RoundingInputs:
    """Collects what layers are given, and tells what their weights are rounded by.

    Args:
        layers: What to round. Those with more than 8192 inputs an output are left to the
            quantiser, which takes the nearest level.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = [layer for layer in layers if layer.weights.shape[2] <= _MOST_INPUTS]
        self._rng = np.random.default_rng(0)
        self._moments = {layer.name: Moments(len(layer.weights), layer.weights.shape[2])
                         for layer in self._layers}  # fmt: skip

    def add(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Draws from what each layer is given of one image, by the tensor's name.

        See `Layer.sample` for the shapes; images may be [1, H, W, C] too.
        """
        for layer in self._layers:
            given = tensors[layer.given]
            image = given[0] if given.ndim == 4 else given
            self._moments[layer.name].add(layer.sample(image, self._rng))

    def factors(self) -> dict[str, Factor]:
        """For each layer's name its factor; nothing can be added any more."""
        return {layer.name: Factor.of(self._moments.pop(layer.name).mean())
                for layer in self._layers}  # fmt: skip
