"""A layer whose weights can be rounded, and what it is given at some of an image's positions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_POSITIONS = 64  # of a convolution, in each image
_DEPTHWISE = 16  # of a depthwise one, whose outputs have few inputs

_ALIKE = 1e-3  # relative to a layer's largest weight


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer whose weights can be rounded.

    Attributes:
        name: Whatever its converter finds the weights by.
        given: Name of the tensor that it is given.
        weights: float32 [groups, outputs, inputs]; a depthwise layer has a group for each channel,
            others have one. Of a convolution the inputs are in the order rows, columns, channels.
        kernel: Rows and columns; None for a dense layer.
        stride: Likewise.
        padding: Zeros before and after the rows, and before and after the columns; None where as
            many rows and columns as the stride allows are kept, with the odd zero behind ("same").
    """

    name: str
    given: str
    weights: npt.NDArray[np.float32] = field(repr=False)
    kernel: tuple[int, int] | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] | None = ((0, 0), (0, 0))

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel has weights of its own."""
        return len(self.weights) > 1

    def has_weights_of(self, other: Layer) -> bool:
        """Whether both are the same layer, as two exporters wrote it, where both are given alike.

        They fold a normalisation into the weights each in its own way, in float32.
        """
        alike = (self.weights.shape, self.kernel, self.stride)
        if alike != (other.weights.shape, other.kernel, other.stride):
            return False
        allowed = _ALIKE * float(np.abs(self.weights).max(initial=0))
        return bool(np.abs(self.weights - other.weights).max(initial=0) <= allowed)

    def sample(
        self, values: npt.NDArray[np.float32], rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """What the layer sees of one image, float32 [groups, samples, inputs].

        Args:
            values: float32 [H, W, C] for a convolution, any shape ending in [inputs] for others.
            rng: Draws the positions.
        """
        if self.kernel is None:
            return np.array(values, np.float32).reshape(1, -1, values.shape[-1])  # kept for longer
        padding = self.padding or (
            _same_padding(values.shape[0], self.kernel[0], self.stride[0]),
            _same_padding(values.shape[1], self.kernel[1], self.stride[1]),
        )
        count = _DEPTHWISE if self.is_depthwise else _POSITIONS
        seen = patches(values, self.kernel, self.stride, padding, count, rng)
        if not self.is_depthwise:
            return seen.reshape(1, len(seen), -1)
        of_channels: npt.NDArray[np.float32] = seen.reshape(len(seen), -1, seen.shape[-1])
        return np.moveaxis(of_channels, 2, 0)


def patches(
    image: npt.NDArray[np.float32],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    count: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """What a convolution sees at some of its positions; no other pixel is copied.

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
    height, width = image.shape[:2]
    down, across = (
        (size + sum(zeros) - taps) // step + 1
        for size, zeros, taps, step in zip((height, width), padding, kernel, stride, strict=True)
    )
    picked = rng.choice(down * across, min(count, down * across), replace=False)
    if kernel == stride == (1, 1) and padding == ((0, 0), (0, 0)):
        pixels: npt.NDArray[np.float32] = image.reshape(down * across, 1, 1, -1)[picked]
        return pixels
    rows = (picked // across * stride[0] - padding[0][0])[:, None] + np.arange(kernel[0])
    columns = (picked % across * stride[1] - padding[1][0])[:, None] + np.arange(kernel[1])
    rows, columns = rows[:, :, None], columns[:, None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    found: npt.NDArray[np.float32] = image[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    found[~inside] = 0
    return found


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
