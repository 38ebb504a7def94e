"""What convolutions and poolings of Keras's are, in numbers that any file format can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.networks.backend import layers

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """What a convolution or a pooling goes over its maps with.

    Attributes:
        sides: Rows and columns it spans, those left out between dilated ones included.
        strides: Rows and columns from one to the next.
        padding: ``same`` or ``valid``, as TensorFlow means it.
        maps: Rows and columns of what it goes over.
    """

    sides: tuple[int, int]
    strides: tuple[int, int]
    padding: str
    maps: tuple[int, int]

    @property
    def pads(self) -> list[int]:
        """Rows and columns of zeros around the maps: first those before, then those behind."""
        if self.padding == "valid":
            return [0, 0, 0, 0]
        spread = map(_same, self.maps, self.strides, self.sides)
        before, behind = zip(*spread, strict=True)
        return [*before, *behind]


@dataclass(frozen=True)
class Convolution:
    """A convolution, dense or depthwise.

    Attributes:
        kernel: [rows, columns, inputs of a group, outputs].
        bias: [outputs].
        groups: Of inputs; as many as there are of these where it is depthwise.
        dilations: Rows and columns from one of the kernel's to the next.
        window: Where it goes.
    """

    kernel: Numbers
    bias: Numbers
    groups: int
    dilations: tuple[int, int]
    window: Window


def convolutions_of(layer: Any, maps: tuple[int, int], norm: Any) -> list[Convolution]:
    """What a layer and the BatchNorm behind it, if there is one, are together."""
    if isinstance(layer, layers.SeparableConv2D):
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    else:
        kernels = [layer.kernel]
    first, *rest = (np.asarray(kernel, np.float64) for kernel in kernels)
    if isinstance(layer, layers.Conv2D):
        groups = layer.groups
    else:
        rows, columns, groups, multiplier = first.shape
        first = first.reshape(rows, columns, 1, groups * multiplier)
    dilations = tuple(layer.dilation_rate)
    spans = [(side - 1) * wide + 1 for side, wide in zip(first.shape, dilations, strict=False)]
    window = window_of(layer, spans, maps)
    found = [Convolution(first, np.zeros(first.shape[3]), groups, dilations, window)]
    for kernel in rest:
        one = Window((1, 1), (1, 1), "valid", maps)
        found.append(Convolution(kernel, np.zeros(kernel.shape[3]), 1, (1, 1), one))
    last = found[-1]
    bias = np.asarray(layer.bias, np.float64) if layer.use_bias else last.bias
    scale, offset = affine_of(norm) if norm is not None else (1.0, 0.0)
    found[-1] = replace(last, kernel=last.kernel * scale, bias=bias * scale + offset)
    return found


def window_of(layer: Any, sides: Sequence[int], maps: Sequence[int]) -> Window:
    """How a layer goes over maps of those rows and columns."""
    return Window((sides[0], sides[1]), tuple(layer.strides), layer.padding, (maps[0], maps[1]))


def affine_of(norm: Any) -> tuple[Numbers, Numbers]:
    """What BatchNorm multiplies each channel by, and what it adds."""
    mean, variance = (np.asarray(v, np.float64) for v in (norm.moving_mean, norm.moving_variance))
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma, np.float64)
    offset = -mean * scale
    return scale, offset + np.asarray(norm.beta, np.float64) if norm.center else offset


def _same(size: int, step: int, side: int) -> tuple[int, int]:
    """Rows or columns of zeros before and behind, by which TensorFlow's "same" padding goes."""
    total = max((-(-size // step) - 1) * step + side - size, 0)
    return total // 2, total - total // 2
