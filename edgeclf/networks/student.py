"""The small networks that go to the device: plain, ReLU6, friendly to int8.

They are the lower end of EfficientNet-Lite0 with a narrow head. So they can start from a teacher's
first layers (`inherit_weights` in edgeclf/training), which know edges, textures and colours
from ImageNet; a network of this size that starts from nothing learns the photos it is shown, and
little more.

One letter is the knob for width and depth together, from 22,000 to 2,000,000 weights. From the
plain ``student`` upwards all have Lite0's own widths and more and more of its blocks, and inherit
every one of them; the two below are narrower and start from nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeclf.networks.backend import keras
from edgeclf.networks.efficientnet_lite import conv_bn, stem_and_blocks


@dataclass(frozen=True)
class StudentSize:
    """What a student's name stands for.

    Attributes:
        width: Multiplier of Lite0's channels.
        blocks: How many of Lite0's 16 blocks.
        head: Channels of the last convolution, which the dense layer reads.
        stem: Channels of the first convolution.
    """

    width: float
    blocks: int
    head: int
    stem: int = 32


STUDENTS = {
    "student-xs": StudentSize(width=0.35, blocks=6, head=64, stem=16),
    "student-s": StudentSize(width=0.5, blocks=6, head=96, stem=16),
    "student": StudentSize(width=1.0, blocks=6, head=192),
    "student-m": StudentSize(width=1.0, blocks=9, head=256),
    "student-l": StudentSize(width=1.0, blocks=12, head=384),
    "student-xl": StudentSize(width=1.0, blocks=14, head=448),
}


def student(inputs: keras.KerasTensor, *, name: str = "student") -> keras.KerasTensor:
    """Adds a student's convolutional part to `inputs`.

    Args:
        inputs: Float images [N, H, W, 3], scaled to (x - 127) / 128.
        name: One of `STUDENTS`.

    Returns:
        Features [N, h, w, head]; h and w are H/16 and W/16, or H/32 and W/32 from ``student-l``
        upwards.
    """
    size = STUDENTS[name]
    x = stem_and_blocks(inputs, width=size.width, blocks=size.blocks, stem=size.stem)
    return conv_bn(x, size.head, 1, name="head")
