"""The small network that goes to the device: plain, ReLU6, friendly to int8.

Depthwise-separable inverted residuals after Sandler et al., "MobileNetV2: Inverted Residuals and
Linear Bottlenecks" (2018), narrowed to about 100,000 weights. No hard-swish and no
squeeze-and-excite: both widen the ranges that int8 has to cover.
"""

from __future__ import annotations

import keras

from edgeclf.training.efficientnet_lite import Stage, conv_bn, inverted_residual

_STEM_FILTERS = 16
_HEAD_FILTERS = 192
_STAGES = (
    Stage(1, 3, 1, 1, 12),
    Stage(2, 3, 2, 4, 20),
    Stage(2, 3, 2, 4, 32),
    Stage(3, 3, 2, 4, 48),
)


def student(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Adds the student's convolutional part to `inputs`.

    Args:
        inputs: Float images [N, H, W, 3], scaled to (x - 127) / 128.

    Returns:
        Features [N, H/16, W/16, 192].
    """
    x = conv_bn(inputs, _STEM_FILTERS, 3, stride=2, name="stem")
    index = 0
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            x = inverted_residual(x, stage, stage.filters, stride, f"block{index}")
            index += 1
    return conv_bn(x, _HEAD_FILTERS, 1, name="head")
