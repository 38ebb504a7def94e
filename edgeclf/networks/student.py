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
class StudentDesign:
    """What decides a student: how wide, how deep, and for photos of which size.

    Attributes:
        input_size: Rows and columns of its photos.
        width: Multiplier of the channels between Lite0's blocks.
        blocks: How many of Lite0's 16 blocks.
        head: Channels of the last convolution, which the dense layer reads.
        stem: Channels of the first convolution.
        expansion: How many times wider a block is inside than what it is given; Lite0's are 6.
    """

    input_size: int
    width: float
    blocks: int
    head: int
    stem: int = 32
    expansion: int = 6

    def __str__(self) -> str:
        """One word, of which no two designs have the same."""
        for name, design in STUDENTS.items():
            if design == self:
                return name
        return (
            f"student-{self.input_size}px-{self.blocks}b-w{round(100 * self.width)}"
            f"-x{self.expansion}-h{self.head}-s{self.stem}"
        )


STUDENTS = {
    "student-xs": StudentDesign(96, width=0.35, blocks=6, head=64, stem=16),
    "student-s": StudentDesign(96, width=0.5, blocks=6, head=96, stem=16),
    "student": StudentDesign(96, width=1.0, blocks=6, head=192),
    "student-m": StudentDesign(96, width=1.0, blocks=9, head=256),
    "student-l": StudentDesign(128, width=1.0, blocks=12, head=384),
    "student-xl": StudentDesign(160, width=1.0, blocks=14, head=448),
}


def student(inputs: keras.KerasTensor, *, name: str = "student") -> keras.KerasTensor:
    """Adds the convolutional part of the student `name`, one of `STUDENTS`; see `add_student`."""
    return add_student(inputs, STUDENTS[name])


def add_student(inputs: keras.KerasTensor, design: StudentDesign) -> keras.KerasTensor:
    """Adds a student's convolutional part to `inputs`.

    Args:
        inputs: Float images [N, H, W, 3], scaled to (x - 127) / 128.
        design: Of which the input size decides nothing here.

    Returns:
        Features [N, h, w, head]; h and w are H/8, H/16 or H/32, as deep as the blocks go.
    """
    x = stem_and_blocks(
        inputs,
        width=design.width,
        blocks=design.blocks,
        stem=design.stem,
        expansion=design.expansion,
    )
    return conv_bn(x, design.head, 1, name="head")
