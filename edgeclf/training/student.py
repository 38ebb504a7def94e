"""The small network that goes to the device: plain, ReLU6, friendly to int8.

It is the lower end of EfficientNet-Lite0 with a narrow head, 108,516 weights for four classes. So
it can start from a teacher's first layers (`edgeclf.training.distill.inherit_weights`), which know
edges, textures and colours from ImageNet; a network of this size that starts from nothing learns
the photos it is shown, and little more.
"""

from __future__ import annotations

import keras

from edgeclf.training.efficientnet_lite import conv_bn, stem_and_blocks

_BLOCKS = 6
_HEAD_FILTERS = 192


def student(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Adds the student's convolutional part to `inputs`.

    Args:
        inputs: Float images [N, H, W, 3], scaled to (x - 127) / 128.

    Returns:
        Features [N, H/16, W/16, 192].
    """
    return conv_bn(stem_and_blocks(inputs, blocks=_BLOCKS), _HEAD_FILTERS, 1, name="head")
