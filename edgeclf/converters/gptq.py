"""Rounding weights to a few levels so that a layer's answers change least, not its weights.

After Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers" (2022), section 3: the weights of an output are rounded one after the other, and the
error of each is made up for by those not rounded yet, as far as their inputs go together on the
calibration images. Neighbouring pixels and channels do go together, so rounding each weight to its
nearest level leaves several times the error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_POSITIONS = 128  # of a convolution, in each image
_MOST_INPUTS = 8192  # of an output: their moments are a square of doubles, five of them at a time
_DAMPING = 0.01  # relative to the mean of the diagonal, as in the paper


def round_weights(
    weights: npt.NDArray[np.float32],
    inputs: npt.NDArray[np.float32],
    levels: int,
    *,
    per_tensor: bool = False,
) -> npt.NDArray[np.float32]:
    """Rounds weights to multiples of each output's largest weight over `levels`.

    Args:
        weights: float32 [groups, outputs, inputs]; a depthwise layer has a group for each channel,
            others have one.
        inputs: float32 [groups, samples, inputs], what the layer is given.
        levels: Positive levels of the grid, 127 for int8.
        per_tensor: Whether all outputs share one grid, that of the largest weight of all.

    Returns:
        float32 [groups, outputs, inputs] on the grid; the largest weight of each output is as it
        was, so a quantiser that looks for it finds the same grid.
    """
    scales = np.abs(weights).max(axis=None if per_tensor else 2, keepdims=True) / levels
    scales[scales == 0] = 1
    factor, order = _factor(inputs)
    remaining = np.take_along_axis(weights / scales, order[:, None, :], axis=2)
    largest = np.abs(remaining).argmax(axis=2)
    extremes = np.rint(np.take_along_axis(remaining, largest[:, :, None], axis=2))[:, :, 0]
    rounded = np.empty_like(remaining)
    for step in range(remaining.shape[2]):
        values = remaining[:, :, step]
        nearest = np.clip(np.rint(values), -levels, levels)
        nearest = np.where(largest == step, extremes, nearest)
        rounded[:, :, step] = nearest
        error = (values - nearest) / factor[:, step, step, None]
        remaining[:, :, step + 1 :] -= error[:, :, None] * factor[:, None, step, step + 1 :]
    unsorted = np.empty_like(rounded)
    np.put_along_axis(unsorted, order[:, None, :], rounded, axis=2)
    result: npt.NDArray[np.float32] = (unsorted * scales).astype(np.float32)
    return result


def _factor(inputs: npt.NDArray[np.float32]) -> tuple[Any, npt.NDArray[np.intp]]:
    """The upper Cholesky factor of the inputs' inverse second moments, strongest input first."""
    moments = (inputs.transpose(0, 2, 1) @ inputs).astype(np.float64) / inputs.shape[1]
    diagonal = np.einsum("gii->gi", moments)  # a view
    order = np.argsort(-diagonal, axis=1, kind="stable")
    diagonal += _DAMPING * np.maximum(diagonal.mean(axis=1, keepdims=True), 1e-12)
    by_row = np.take_along_axis(moments, order[:, :, None], axis=1)
    inverse = np.linalg.inv(np.take_along_axis(by_row, order[:, None, :], axis=2))
    upper = np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2).transpose(0, 2, 1)
    return upper.astype(np.float32), order


def patches(
    image: npt.NDArray[np.float32],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    count: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """What a convolution sees at some of its positions.

    Args:
        image: float32 [H, W, C].
        kernel: Rows and columns.
        stride: Likewise.
        padding: Zeros before and after the rows, and before and after the columns.
        count: How many positions at most.
        rng: Draws them.

    Returns:
        float32 [positions, rows, columns, C].
    """
    padded = np.pad(image, (*padding, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(0, 1))
    windows = windows[:: stride[0], :: stride[1]]  # [positions, positions, C, rows, columns]
    total = windows.shape[0] * windows.shape[1]
    picked = rng.choice(total, min(count, total), replace=False)
    chosen = windows[picked // windows.shape[1], picked % windows.shape[1]]
    found: npt.NDArray[np.float32] = chosen.transpose(0, 2, 3, 1)
    return found


@dataclass(frozen=True)
class Layer:
    """A layer whose weights can be rounded.

    Attributes:
        name: Whatever its converter finds the weights by.
        given: Name of the tensor that it is given.
        weights: float32 [groups, outputs, inputs], as for `round_weights`; of a convolution the
            inputs are in the order rows, columns, channels.
        kernel: Rows and columns; None for a dense layer.
        stride: Likewise.
        padding: Zeros before and after the rows, and before and after the columns; None where as
            many rows and columns as the stride allows are kept, with the odd zero behind ("same").
    """

    name: str
    given: str
    weights: npt.NDArray[np.float32]
    kernel: tuple[int, int] | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] | None = ((0, 0), (0, 0))

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel has weights of its own."""
        return len(self.weights) > 1

    def sample(
        self, values: npt.NDArray[np.float32], rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """What the layer sees of one image, float32 [groups, samples, inputs].

        Args:
            values: float32 [H, W, C] for a convolution, any shape ending in [inputs] for others.
            rng: Draws the positions.
        """
        if self.kernel is None:
            return values.reshape(1, -1, values.shape[-1])
        padding = self.padding or (
            _same_padding(values.shape[0], self.kernel[0], self.stride[0]),
            _same_padding(values.shape[1], self.kernel[1], self.stride[1]),
        )
        count = _POSITIONS // 4 if self.is_depthwise else _POSITIONS  # few inputs need few samples
        seen = patches(values, self.kernel, self.stride, padding, count, rng)
        if not self.is_depthwise:
            return seen.reshape(1, len(seen), -1)
        of_channels: npt.NDArray[np.float32] = seen.reshape(len(seen), -1, seen.shape[-1])
        return np.moveaxis(of_channels, 2, 0)


def round_layers(
    layers: Sequence[Layer],
    activations: Iterable[Mapping[str, npt.NDArray[Any]]],
    levels: Mapping[str, int],
    per_tensor: Collection[str] = (),
) -> dict[str, npt.NDArray[np.float32]]:
    """Rounds the weights of all layers.

    Args:
        layers: What to round.
        activations: For each image, what each layer is given, by the tensor's name; see
            `Layer.sample` for the shapes.
        levels: For each layer's name the positive levels of its grid.
        per_tensor: Names of the layers whose outputs share one grid.

    Returns:
        For each layer's name its rounded weights, in the shape they were given in. Layers with more
        than 8192 inputs an output are left to the quantiser, which takes the nearest level.
    """
    layers = [layer for layer in layers if layer.weights.shape[2] <= _MOST_INPUTS]
    rng = np.random.default_rng(0)
    samples: dict[str, list[npt.NDArray[np.float32]]] = {layer.name: [] for layer in layers}
    for tensors in activations:
        for layer in layers:
            samples[layer.name].append(
                np.ascontiguousarray(layer.sample(tensors[layer.given], rng))
            )
    return {
        layer.name: round_weights(
            layer.weights,
            np.concatenate(samples.pop(layer.name), axis=1),
            levels[layer.name],
            per_tensor=layer.name in per_tensor,
        )
        for layer in layers
    }


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
