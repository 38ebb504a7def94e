"""Students by design: what one would cost is known before any of its layers is made.

Building a network in Keras takes a fifth of a second; walking through its shapes takes a fraction
of a millisecond, so that thousands of designs can be held against a device's budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from edgeclf.image import ImageSpec
from edgeclf.metrics.operator_shapes import OperatorShape
from edgeclf.networks.backend import keras
from edgeclf.networks.builder import Backbone, build_classifier
from edgeclf.networks.efficientnet_lite import each_block
from edgeclf.networks.student import STUDENTS, StudentDesign, add_student

__all__ = [
    "STUDENTS",
    "StudentDesign",
    "backbone_of",
    "build",
    "multiply_adds",
    "operators",
    "parameters",
]

_BATCH_NORM = 4  # weights of each channel


def backbone_of(design: StudentDesign) -> Backbone:
    """The design as a network that can be built and trained.

    Training starts to change it where the plain ``student`` does, if what is below that knows
    something.
    """
    return Backbone(
        str(design),
        partial(add_student, design=design),
        design.input_size,
        f"block{min(3, design.blocks - 1)}_expand_conv",
    )


def build(design: StudentDesign, classes: int) -> keras.Model:
    """A network with random weights, in the frame of `build_classifier`.

    Args:
        design: Which.
        classes: Number of outputs.
    """
    spec = ImageSpec(design.input_size, design.input_size)
    return build_classifier(backbone_of(design), classes, spec)


def operators(design: StudentDesign, classes: int) -> tuple[OperatorShape, ...]:
    """What `edgeclf.networks.operators.operators_of` says of the network, without building it.

    Args:
        design: Which.
        classes: Number of outputs.
    """
    return tuple(_Walk(design).through(classes))


def parameters(design: StudentDesign, classes: int) -> int:
    """How many weights Keras counts in it, BatchNorm's statistics among them."""
    return sum(
        each.weights + (1 if each.kind == "dense" else _BATCH_NORM) * each.biases
        for each in operators(design, classes)
    )


def multiply_adds(design: StudentDesign, classes: int) -> int:
    """Multiplications with an addition for one photo."""
    return sum(each.multiply_adds for each in operators(design, classes))


class _Walk:
    """Follows the shape of a photo through a design."""

    def __init__(self, design: StudentDesign) -> None:
        self._design = design
        self._shape = (design.input_size, design.input_size, 3)

    def through(self, classes: int) -> Iterator[OperatorShape]:
        design = self._design
        yield OperatorShape("quantize", self._shape, self._shape)
        yield self._step("conv", design.stem, 3, 2)
        blocks = each_block(design.width, blocks=design.blocks, expansion=design.expansion)
        for block in blocks:
            given = self._shape
            if block.expansion != 1:
                yield self._step("conv", given[2] * block.expansion)
            yield self._step("depthwise", self._shape[2], block.kernel, block.stride)
            yield self._step("conv", block.filters)
            if block.stride == 1 and block.filters == given[2]:
                yield OperatorShape("add", given, given)
        yield self._step("conv", design.head)
        pooled = (1, 1, design.head)
        yield OperatorShape("pool", self._shape, pooled)
        answers = (1, 1, classes)
        yield OperatorShape("dense", pooled, answers)
        yield OperatorShape("softmax", answers, answers)

    def _step(self, kind: str, filters: int, kernel: int = 1, stride: int = 1) -> OperatorShape:
        """A convolution with padding "same"."""
        given = self._shape
        rows, columns = (-(-side // stride) for side in given[:2])
        self._shape = (rows, columns, filters)
        return OperatorShape(kind, given, self._shape, kernel, stride)
