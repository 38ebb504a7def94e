"""Which channels of a network belong together: removed from one layer, they go from all of these.

A convolution makes channels. BatchNorm, activations, pooling and depthwise convolutions hand each
of them on, so that what they keep for it goes with it. An addition needs the same channels on both
sides, so that makers on either side of a residual are one group. Concatenated channels stay in the
groups they came from, one behind the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from edgeclf.errors import ConversionError
from edgeclf.networks.backend import keras, layers

IMAGE = "image"  # the group of the input's channels

# On an Intel Xeon with AVX-512 VNNI, one thread, LiteRT 2.3 and ONNX Runtime 1.32, large 1x1
# convolutions of the demo's int8 student reach 190 multiply-adds a nanosecond, but at 48 x 48
# pixels no layer gives more than 1.6 to 3.8 outputs, and depthwise ones do 15 multiply-adds.
# Of (50, 13), (100, 13) and (120, 26), the last made the fastest network, pruned by half.
_OUTPUT_WORK = 120.0
_DEPTHWISE_WORK = 26.0

# Each channel of what they give comes from the same channel of what they take.
_PASSING = (
    layers.Activation, layers.AveragePooling2D, layers.BatchNormalization, layers.Dropout,
    layers.ELU, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.Identity,
    layers.LeakyReLU, layers.MaxPooling2D, layers.ReLU, layers.SpatialDropout2D,
    layers.UpSampling2D, layers.ZeroPadding2D,
)  # fmt: skip
_JOINING = (layers.Add, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply,
            layers.Subtract)  # fmt: skip


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be removed together.

    Attributes:
        name: That of the first layer that makes them.
        channels: How many there are.
        makers: All layers that make them, in order; more than one where residuals are added.
        fixed: Whether none can be removed: those of the image, and the classes.
    """

    name: str
    channels: int
    makers: tuple[str, ...]
    fixed: bool


@dataclass(frozen=True)
class ChannelGraph:
    """What `channel_groups` found in a network.

    Attributes:
        groups: All of them by name, in the order of the network.
        inputs: Of each layer, the names of the groups that it reads, in the order of its channels;
            more than one behind a concatenation.
        outputs: Of each layer, the same of what it gives.
    """

    groups: Mapping[str, ChannelGroup]
    inputs: Mapping[str, tuple[str, ...]]
    outputs: Mapping[str, tuple[str, ...]]
    _costs: tuple[tuple[int, int, tuple[str, ...], tuple[str, ...]], ...]

    @property
    def prunable(self) -> dict[str, ChannelGroup]:
        """The groups that channels can be removed from."""
        return {name: group for name, group in self.groups.items() if not group.fixed}

    def counts(self) -> dict[str, int]:
        """How many channels each group has."""
        return {name: group.channels for name, group in self.groups.items()}

    def multiply_adds(self, counts: Mapping[str, int] | None = None) -> int:
        """Multiplications with an addition for one image, if the groups had so many channels.

        Counted as `edgeclf.networks.model_stats` counts them.

        Args:
            counts: Channels of the groups; those that are not named keep theirs.
        """
        return sum(
            positions * taps * given * (made or 1)
            for positions, taps, given, made in self._sizes(counts)
        )

    def work(self, counts: Mapping[str, int] | None = None) -> float:
        """About how long that takes as int8, in multiply-adds of a convolution that has many.

        What a kernel does for each of its outputs beside multiplying costs as much as some
        multiply-adds, and a product of a depthwise convolution, which uses each number that it
        loads once, as much as several: as `edgeclf profile` showed it of the demo's student on a
        CPU with AVX-512 VNNI. On another CPU, other layers may be worth more.

        Args:
            counts: As for `multiply_adds`.
        """
        return sum(
            positions * taps * given * _DEPTHWISE_WORK
            if made is None
            else positions * made * (taps * given + _OUTPUT_WORK)
            for positions, taps, given, made in self._sizes(counts)
        )

    def _sizes(
        self, counts: Mapping[str, int] | None
    ) -> Iterator[tuple[int, int, int, int | None]]:
        """Of each layer that multiplies: positions, taps, channels read, and made; None is as many.

        A depthwise convolution makes no channels of its own.
        """
        known = {**self.counts(), **(counts or {})}
        for positions, taps, given, made in self._costs:
            width = sum(known[name] for name in given)
            yield positions, taps, width, sum(known[name] for name in made) if made else None


def channel_groups(model: keras.Model) -> ChannelGraph:
    """Finds the groups of a functional model with one image as input and channels last.

    Args:
        model: Of Conv2D, DepthwiseConv2D, Dense, BatchNormalization, activations, pooling,
            padding, additions, multiplications and concatenations.

    Raises:
        ConversionError: It has another layer, or one of these that mixes channels in another way;
            the message names it.
    """
    if not hasattr(model, "_nodes_by_depth") or len(model.inputs) != 1:
        raise ConversionError(
            f"{type(model).__name__} {model.name!r} cannot be cut: expected a functional Keras "
            "model with one image as its input, such as 'edgeclf train' and 'distill' write."
        )
    return _Walk(model).graph()


class _Walk:
    """Follows channels from the image to the classes."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._sizes: list[int] = []
        self._makers: list[list[str]] = []
        self._fixed: list[bool] = []
        self._joined: list[int] = []  # the group that a group has become part of, or itself
        self._of: dict[int, tuple[int, ...]] = {}  # by the tensor's identity
        self._costs: list[tuple[int, int, str, str | None]] = []  # positions, taps, reads, makes

    def graph(self) -> ChannelGraph:
        inputs: dict[str, tuple[int, ...]] = {}
        outputs: dict[str, tuple[int, ...]] = {}
        for node in _in_order(self._model):
            operation = node.operation
            if operation.name in outputs:
                raise _cannot(operation, "it is used more than once")
            if len(node.outputs) != 1:
                raise _cannot(operation, f"it gives {len(node.outputs)} results")
            given = [self._of[id(tensor)] for tensor in node.input_tensors]
            inputs[operation.name] = given[0] if len(given) == 1 else ()
            made = self._through(node, given)
            outputs[operation.name] = self._of[id(node.outputs[0])] = made
        for tensor in self._model.outputs:
            self._fix(self._of[id(tensor)])
        return self._named(inputs, outputs)

    def _named(
        self, inputs: Mapping[str, tuple[int, ...]], outputs: Mapping[str, tuple[int, ...]]
    ) -> ChannelGraph:
        members: dict[int, list[int]] = {}
        for number in range(len(self._sizes)):
            members.setdefault(self._find(number), []).append(number)
        groups = {}
        names = {}
        for root, numbers in members.items():
            makers = tuple(maker for number in numbers for maker in self._makers[number])
            fixed = any(self._fixed[number] for number in numbers)
            names[root] = makers[0]
            groups[makers[0]] = ChannelGroup(makers[0], self._sizes[root], makers, fixed)

        def named(found: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[str, ...]]:
            return {
                layer: tuple(names[self._find(number)] for number in numbers)
                for layer, numbers in found.items()
            }

        read, given = named(inputs), named(outputs)
        costs = tuple(
            (positions, taps, read[layer], () if makes is None else given[makes])
            for positions, taps, layer, makes in self._costs
        )
        return ChannelGraph(groups, read, given, costs)

    def _through(self, node: Any, given: list[tuple[int, ...]]) -> tuple[int, ...]:
        """The groups of what an operation gives."""
        operation, made = node.operation, node.outputs[0]
        if getattr(operation, "data_format", None) == "channels_first":
            raise _cannot(operation, "its channels stand first; expected channels_last")
        if isinstance(operation, layers.InputLayer):
            return self._new(operation, made.shape[-1], fixed=True)
        if isinstance(operation, layers.Concatenate):
            if operation.axis not in (-1, len(made.shape) - 1):
                raise _cannot(operation, f"it concatenates along axis {operation.axis}")
            return tuple(number for numbers in given for number in numbers)
        if isinstance(operation, _JOINING):
            for other in given[1:]:
                self._join(operation, given[0], other)
            return given[0]
        if len(given) != 1:
            raise _cannot(operation, f"it takes {len(given)} inputs")
        if isinstance(operation, layers.DepthwiseConv2D):
            if operation.depth_multiplier != 1:
                raise _cannot(operation, f"its depth multiplier is {operation.depth_multiplier}")
            size = prod(made.shape[1:-1]), prod(operation.kernel_size)
            self._costs.append((*size, operation.name, None))
            return given[0]
        if type(operation) is layers.Conv2D or isinstance(operation, layers.Dense):
            return self._dense(operation, given[0], made)
        return self._handed_on(node, given[0])

    def _dense(self, operation: Any, given: tuple[int, ...], made: Any) -> tuple[int, ...]:
        if getattr(operation, "groups", 1) != 1:
            raise _cannot(operation, f"it is a convolution in {operation.groups} groups")
        size = prod(made.shape[1:-1]), prod(getattr(operation, "kernel_size", (1,)))
        self._costs.append((*size, operation.name, operation.name))
        return self._new(operation, made.shape[-1])

    def _handed_on(self, node: Any, given: tuple[int, ...]) -> tuple[int, ...]:
        operation, made = node.operation, node.outputs[0]
        if isinstance(operation, _PASSING) or _is_scalar(node):
            if getattr(operation, "axis", -1) not in (-1, len(made.shape) - 1):
                raise _cannot(operation, f"it works along axis {operation.axis}")
            return given
        same_width = node.input_tensors[0].shape[-1] == made.shape[-1]
        if isinstance(operation, layers.Reshape) and same_width and set(made.shape[1:-1]) == {1}:
            return given  # [N, C] to [N, 1, 1, C]
        if isinstance(operation, layers.Softmax) or all(self._is_fixed(each) for each in given):
            self._fix(given)  # whatever it does with them, all of them stay
            return given if sum(self._sizes[n] for n in given) == made.shape[-1] else self._new(
                operation, made.shape[-1], fixed=True
            )  # fmt: skip
        raise _cannot(operation, "what it does with channels is not known")

    def _new(self, operation: Any, size: int, *, fixed: bool = False) -> tuple[int, ...]:
        if size is None:
            raise _cannot(operation, "its number of channels is open")
        self._joined.append(len(self._joined))
        self._sizes.append(int(size))
        self._makers.append([operation.name])
        self._fixed.append(fixed)
        return (len(self._joined) - 1,)

    def _find(self, number: int) -> int:
        while self._joined[number] != number:
            number = self._joined[number]
        return number

    def _is_fixed(self, number: int) -> bool:
        root = self._find(number)
        return any(fixed and self._find(n) == root for n, fixed in enumerate(self._fixed))

    def _fix(self, numbers: tuple[int, ...]) -> None:
        for number in numbers:
            self._fixed[number] = True

    def _join(self, operation: Any, first: tuple[int, ...], second: tuple[int, ...]) -> None:
        sizes = [[self._sizes[number] for number in each] for each in (first, second)]
        if sizes[0] != sizes[1]:
            raise _cannot(operation, f"it takes channels of {sizes[0]} and of {sizes[1]} together")
        for one, other in zip(first, second, strict=True):
            low, high = sorted((self._find(one), self._find(other)))
            self._joined[high] = low


def _is_scalar(node: Any) -> bool:
    """Whether it does the same with every channel: `Rescaling` or ``x + 3`` by single numbers."""
    operation = node.operation
    if isinstance(operation, layers.Rescaling):
        return np.size(operation.scale) == 1 and np.size(operation.offset) == 1
    if isinstance(operation, layers.Layer) or type(operation).__name__ not in _SCALAR_OPERATIONS:
        return False
    given = (*node.arguments.args, *node.arguments.kwargs.values())
    others = [each for each in given if not isinstance(each, keras.KerasTensor)]
    return all(isinstance(each, int | float) for each in others)


_SCALAR_OPERATIONS = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide")


def _in_order(model: Any) -> Iterator[Any]:
    """The uses of the model's operations, each behind those it depends on."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from model._nodes_by_depth[depth]


def _cannot(operation: Any, why: str) -> ConversionError:
    return ConversionError(
        f"Channels of the network cannot be removed, because of its layer {operation.name!r} "
        f"({type(operation).__name__}): {why}. Expected convolutions, depthwise convolutions, "
        "dense layers, BatchNorm, activations, pooling and additions; train another backbone, or "
        "distil a smaller student with 'edgeclf distill'."
    )
