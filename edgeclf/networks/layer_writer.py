"""Networks written into files layer by layer: what the file formats share.

An exporter traces the network and rewrites graphs for seconds. Here each layer becomes the operator
it is, within milliseconds, with BatchNorm folded into the convolution before it. That goes for the
layers of our own networks and of most that are like them; one with others needs an exporter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from edgeclf.networks.backend import keras, layers

T = TypeVar("T")
Numbers = npt.NDArray[np.float64]
_CHANNELS = (-1, 3)  # their axis
_CLIPPED = {"relu": None, "relu6": 6.0}  # at most


class UnknownLayerError(Exception):
    """A layer that is not among those written here; says which, never reaches a user."""


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


class LayerWriter(ABC, Generic[T]):
    """Goes through a network's layers; a subclass writes a format's operators.

    Each operator takes the format's own tensors, gives the one it writes, and may ask which layer
    it is for.

    Args:
        model: The network; written is what it does when it is not being trained.
        outputs: Those tensors of it that are wanted.

    Attributes:
        layer: Name of the layer that is being written.
        shape: Of what that layer answers, without the batch.
        is_sole_reader: Whether nothing else takes what it takes.
        image_shape: Of the network's input, without the batch.

    Raises:
        UnknownLayerError: The input is no image of a fixed size.
    """

    def __init__(self, model: keras.Model, outputs: Sequence[keras.KerasTensor]) -> None:
        self.image_shape = self.shape = tuple(model.inputs[0].shape[1:])
        if len(model.inputs) != 1 or len(self.image_shape) != 3 or None in self.image_shape:
            raise UnknownLayerError(f"{model.name} (its input)")
        self.layer, self.is_sole_reader = "input", False
        self._outputs = outputs
        self._part = keras.Model(model.inputs, list(outputs))
        self._tensors: dict[int, T] = {}  # by the identity of Keras's
        self._readers: dict[int, list[Any]] = {}  # the nodes that read a tensor
        self._names: set[str] = set()

    def write_layers(self, image: T) -> list[T]:
        """Writes all layers; gives the tensors that are wanted.

        Args:
            image: The network's input.

        Raises:
            UnknownLayerError: It holds a layer that is not written here.
        """
        depths = self._part._nodes_by_depth
        nodes = [node for depth in sorted(depths, reverse=True) for node in depths[depth]]
        for node in nodes:
            for tensor in node.input_tensors:
                self._readers.setdefault(id(tensor), []).append(node)
        wanted = {id(tensor) for tensor in self._outputs}
        (given,) = self._part.inputs
        self._tensors[id(given)] = image
        for node in nodes:
            if not node.is_input:
                self._write(node, wanted)
        self.layer = "output"
        return [self._tensors[id(tensor)] for tensor in self._outputs]

    def free_name(self, part: str) -> str:
        """A name for what the layer consists of that nothing else has."""
        name = plain = f"{self.layer}/{part}" if part else self.layer
        number = 1
        while name in self._names:
            number += 1
            name = f"{plain}_{number}"
        self._names.add(name)
        return name

    def _write(self, node: Any, wanted: set[int]) -> None:
        layer, output = node.operation, node.outputs[0]
        if id(output) in self._tensors:
            return  # a BatchNorm that its convolution has taken in
        inputs = [self._tensors[id(tensor)] for tensor in node.input_tensors]
        write = next((write for kind, write in _WRITERS if isinstance(layer, kind)), None)
        if write is None or not type(layer).__module__.startswith("keras."):  # code of its own
            raise UnknownLayerError(f"{layer.name} ({type(layer).__name__})")
        self.layer, self.shape = layer.name, tuple(output.shape[1:])
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise self.unknown(layer.data_format)
        given = [id(tensor) for tensor in node.input_tensors]
        self.is_sole_reader = all(len(self._readers[i]) == 1 and i not in wanted for i in given)
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            after = self._readers.get(id(output), [])
            norm = after[0].operation if len(after) == 1 and id(output) not in wanted else None
            folds = isinstance(norm, layers.BatchNormalization) and norm.axis in _CHANNELS
            if folds and layer.activation is keras.activations.linear:
                (output,) = after[0].outputs
            else:
                norm = None
            maps = node.input_tensors[0].shape[1:3]
            tensor = self.convolution(inputs[0], _convolution(layer, maps, norm))
            self.is_sole_reader = True
            tensor = self._activated(layer, tensor)
        else:
            tensor = write(self, layer, inputs)
        self._tensors[id(output)] = tensor

    def _activated(self, layer: Any, given: T) -> T:
        """What a layer does with its numbers at last."""
        name = layer.activation.__name__
        if name == "linear":
            return given
        if name in _CLIPPED:
            return self.relu(given, _CLIPPED[name])
        if name == "softmax":
            return self._probabilities(layer, given)
        return self.activation(given, name)

    def _probabilities(self, layer: Any, given: T) -> T:
        if len(self.shape) != 1:
            raise UnknownLayerError(f"{layer.name} (softmax on maps)")
        return self.softmax(given)

    def unknown(self, what: str) -> UnknownLayerError:
        """Says what of the layer is not written."""
        return UnknownLayerError(f"{self.layer} ({what})")

    @abstractmethod
    def convolution(self, given: T, convolution: Convolution) -> T:
        """Maps of maps."""

    @abstractmethod
    def dense(self, given: T, kernel: Any, bias: Any) -> T:
        """A dense layer on rows, of a kernel [inputs, outputs]."""

    @abstractmethod
    def scaled(self, given: T, scale: Any, offset: Any) -> T:
        """Maps times a number plus another, of each channel [C] or of all []."""

    @abstractmethod
    def relu(self, given: T, most: float | None) -> T:
        """ReLU, bounded by `most`."""

    @abstractmethod
    def activation(self, given: T, name: str) -> T:
        """Another activation, by Keras's name; raises `unknown` of one it does not know."""

    @abstractmethod
    def softmax(self, given: T) -> T:
        """Probabilities of rows of scores."""

    @abstractmethod
    def added(self, inputs: Sequence[T]) -> T:
        """The sum of two tensors or more."""

    @abstractmethod
    def padded(self, given: T, rows: tuple[int, int], columns: tuple[int, int]) -> T:
        """Maps with rows and columns of zeros before and behind."""

    @abstractmethod
    def max_pooled(self, given: T, window: Window) -> T:
        """The largest numbers of the windows."""

    @abstractmethod
    def averaged(self, given: T, *, keepdims: bool) -> T:
        """The mean of each map."""


def _convolution(layer: Any, maps: tuple[int, int], norm: Any) -> Convolution:
    """What a layer and the BatchNorm behind it, if there is one, are together."""
    kernel = np.asarray(layer.kernel, np.float64)
    if isinstance(layer, layers.DepthwiseConv2D):
        rows, columns, groups, multiplier = kernel.shape
        kernel = kernel.reshape(rows, columns, 1, groups * multiplier)
    else:
        groups = layer.groups
    bias = np.asarray(layer.bias, np.float64) if layer.use_bias else np.zeros(kernel.shape[3])
    if norm is not None:
        scale, offset = _affine(norm)
        kernel, bias = kernel * scale, bias * scale + offset
    dilations = tuple(layer.dilation_rate)
    spans = [(side - 1) * wide + 1 for side, wide in zip(kernel.shape, dilations, strict=False)]
    return Convolution(kernel, bias, groups, dilations, _window(layer, spans, maps))


def _window(layer: Any, sides: Sequence[int], maps: Sequence[int]) -> Window:
    if layer.padding not in ("valid", "same"):
        raise UnknownLayerError(f"{layer.name} (padding {layer.padding})")
    return Window((sides[0], sides[1]), tuple(layer.strides), layer.padding, (maps[0], maps[1]))


def _normalized(writer: LayerWriter[T], layer: Any, inputs: list[T]) -> T:
    if len(writer.shape) != 3 or layer.axis not in _CHANNELS:
        raise writer.unknown("not over the channels of maps")
    return writer.scaled(inputs[0], *_affine(layer))


def _rescaled(writer: LayerWriter[T], layer: Any, inputs: list[T]) -> T:
    scale, offset = np.asarray(layer.scale), np.asarray(layer.offset)
    if len(writer.shape) != 3 or max(scale.ndim, offset.ndim) > 1:
        raise writer.unknown("not by channels of maps")
    return writer.scaled(inputs[0], scale, offset)


def _relu(writer: LayerWriter[T], layer: Any, inputs: list[T]) -> T:
    if layer.negative_slope or layer.threshold:
        raise writer.unknown("ReLU with a slope or a threshold")
    return writer.relu(inputs[0], None if layer.max_value is None else float(layer.max_value))


def _max_pooling(writer: LayerWriter[T], layer: Any, inputs: list[T]) -> T:
    return writer.max_pooled(inputs[0], _window(layer, layer.pool_size, layer.input.shape[1:3]))


def _dense(writer: LayerWriter[T], layer: Any, inputs: list[T]) -> T:
    if len(writer.shape) != 1:
        raise writer.unknown("Dense on maps")
    kernel = np.asarray(layer.kernel)
    bias = np.asarray(layer.bias) if layer.use_bias else np.zeros(layer.units)
    product = writer.dense(inputs[0], kernel, bias)
    writer.is_sole_reader = True
    return writer._activated(layer, product)


_Write = Callable[[Any, Any, list[Any]], Any]
_WRITERS: tuple[tuple[Any, _Write], ...] = (
    ((layers.Conv2D, layers.DepthwiseConv2D), lambda *_: None),
    (layers.Rescaling, _rescaled),
    (layers.BatchNormalization, _normalized),
    (layers.ReLU, _relu),
    (layers.Activation, lambda writer, layer, given: writer._activated(layer, given[0])),
    (layers.Add, lambda writer, _, given: writer.added(given)),
    (layers.ZeroPadding2D, lambda writer, layer, given: writer.padded(given[0], *layer.padding)),
    (layers.MaxPooling2D, _max_pooling),
    (layers.GlobalAveragePooling2D, lambda writer, layer, given: writer.averaged(
        given[0], keepdims=layer.keepdims)),
    (layers.Dense, _dense),
    (layers.Softmax, lambda writer, layer, given: writer._probabilities(layer, given[0])),
    ((layers.Dropout, layers.Identity), lambda _, __, given: given[0]),
)  # fmt: skip


def _affine(norm: Any) -> tuple[Numbers, Numbers]:
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
