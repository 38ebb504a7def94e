"""Networks written into files layer by layer: what the file formats share.

An exporter traces the network and rewrites graphs for seconds. Here each layer becomes the operator
it is, within milliseconds, with BatchNorm folded into the convolution before it. That goes for the
layers of our own networks and of most that are like them; one with others needs an exporter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from edgeclf.networks.backend import keras, layers
from edgeclf.networks.convolution import (
    Convolution,
    Window,
    affine_of,
    convolutions_of,
    window_of,
)

T = TypeVar("T")
_CHANNELS = (-1, 3)  # their axis
_CLIPPED = {"relu": None, "relu6": 6.0}  # at most


class UnknownLayerError(Exception):
    """A layer that is not among those written here; says which, never reaches a user."""


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
        self._shared = {id(tensor) for tensor in outputs}  # with others than this network's layers
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
        (given,) = self._part.inputs
        self._tensors[id(given)] = image
        self._go_through(self._part)
        self.layer = "output"
        return [self._tensors[id(tensor)] for tensor in self._outputs]

    def _go_through(self, network: keras.Model) -> None:
        depths = network._nodes_by_depth
        nodes = [node for depth in sorted(depths, reverse=True) for node in depths[depth]]
        readers: dict[int, list[Any]] = {}
        for node in nodes:
            for tensor in node.input_tensors:
                readers.setdefault(id(tensor), []).append(node)
        self._readers.update(readers)
        nodes = [node for node in nodes if not node.is_input]
        for node in nodes:  # it may have been written before, as a layer in another place
            for tensor in node.outputs:
                self._tensors.pop(id(tensor), None)
        for node in nodes:
            self._write(node)

    def free_name(self, part: str) -> str:
        """A name for what the layer consists of that nothing else has."""
        name = plain = f"{self.layer}/{part}" if part else self.layer
        number = 1
        while name in self._names:
            number += 1
            name = f"{plain}_{number}"
        self._names.add(name)
        return name

    def _write(self, node: Any) -> None:
        layer, output = node.operation, node.outputs[0]
        if id(output) in self._tensors:
            return  # a BatchNorm that its convolution has taken in
        if isinstance(layer, keras.Model):
            self._enter(node)
            return
        inputs = [self._tensors[id(tensor)] for tensor in node.input_tensors]
        write = _writer_of(layer)
        if write is None:
            raise UnknownLayerError(f"{layer.name} ({type(layer).__name__})")
        self.layer, self.shape = layer.name, tuple(output.shape[1:])
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise self.unknown(layer.data_format)
        self.is_sole_reader = all(map(self._is_read_once, node.input_tensors))
        if isinstance(layer, _CONVOLUTIONS):
            after = self._readers.get(id(output), [])
            norm = after[0].operation if self._is_read_once(output) else None
            folds = isinstance(norm, layers.BatchNormalization) and norm.axis in _CHANNELS
            if folds and layer.activation is keras.activations.linear:
                (output,) = after[0].outputs
            else:
                norm = None
            tensor, maps = inputs[0], node.input_tensors[0].shape[1:3]
            for convolution in convolutions_of(layer, maps, norm):
                self.shape = (*self.shape[:2], convolution.kernel.shape[3])
                tensor = self.convolution(tensor, convolution)
            self.is_sole_reader = True
            tensor = self._activated(layer, tensor)
        else:
            tensor = write(self, node, inputs)
            if tensor in inputs and not self.is_sole_reader:  # as of Dropout: read elsewhere too
                self._shared.add(id(output))
        self._tensors[id(output)] = tensor

    def _enter(self, node: Any) -> None:
        """Writes a network that stands in another as a layer."""
        inner = getattr(node.operation, "_functional", None) or node.operation  # a Sequential's
        if len(node.input_tensors) != 1 or len(inner.inputs) != 1 or len(inner.outputs) != 1:
            raise UnknownLayerError(f"{node.operation.name} (of several inputs or outputs)")
        (outside,), (given,), (answer,) = node.input_tensors, inner.inputs, inner.outputs
        self._tensors[id(given)] = self._tensors[id(outside)]
        if not self._is_read_once(outside):
            self._shared.add(id(given))
        self._go_through(inner)
        self._tensors[id(node.outputs[0])] = self._tensors[id(answer)]

    def _is_read_once(self, tensor: Any) -> bool:
        return len(self._readers.get(id(tensor), [])) == 1 and id(tensor) not in self._shared

    def _activated(self, layer: Any, given: T) -> T:
        """What a layer does with its numbers at last."""
        name = getattr(layer.activation, "__name__", "")
        if getattr(keras.activations, name, None) is not layer.activation:
            raise self.unknown(f"activation {layer.activation}")
        if name == "linear":
            return given
        if name in _CLIPPED:
            return self.relu(given, _CLIPPED[name])
        if name == "softmax":
            return self._probabilities(layer, given)
        return self.activation(given, name)

    def _probabilities(self, layer: Any, given: T) -> T:
        if len(self.shape) != 1 or getattr(layer, "axis", -1) not in (-1, 1):
            raise self.unknown("softmax of other than rows")
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
    def times(self, given: T, factor: Any) -> T:
        """Maps times a number, of each channel [C] or of all []."""

    @abstractmethod
    def plus(self, given: T, amount: Any) -> T:
        """Maps plus a number, of each channel [C] or of all []."""

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
    def multiplied(self, one: T, other: T) -> T:
        """The product of two tensors, of which one may have a single row and column."""

    @abstractmethod
    def joined(self, inputs: Sequence[T]) -> T:
        """The channels of one after those of the other."""

    @abstractmethod
    def turned(self, given: T, order: Sequence[int]) -> T:
        """The channels in another order."""

    @abstractmethod
    def as_maps(self, given: T) -> T:
        """Rows [C] as maps [1, 1, C]."""

    @abstractmethod
    def as_rows(self, given: T) -> T:
        """Maps [H, W, C] as rows, in that order."""

    @abstractmethod
    def padded(self, given: T, rows: tuple[int, int], columns: tuple[int, int]) -> T:
        """Maps with rows and columns of zeros before and behind."""

    @abstractmethod
    def pooled(self, given: T, window: Window, *, largest: bool) -> T:
        """The largest numbers of the windows, or the means of what is no padding there."""

    @abstractmethod
    def averaged(self, given: T, *, keepdims: bool) -> T:
        """The mean of each map."""


def _normalized(writer: LayerWriter[T], node: Any, inputs: list[T]) -> T:
    if len(writer.shape) != 3 or node.operation.axis not in _CHANNELS:
        raise writer.unknown("not over the channels of maps")
    scale, offset = affine_of(node.operation)
    return writer.plus(writer.times(inputs[0], scale), offset)


def _rescaled(writer: LayerWriter[T], node: Any, inputs: list[T]) -> T:
    scale, offset = np.asarray(node.operation.scale), np.asarray(node.operation.offset)
    if len(writer.shape) != 3 or max(scale.ndim, offset.ndim) > 1:
        raise writer.unknown("not by channels of maps")
    return writer.plus(writer.times(inputs[0], scale), offset)


def _relu(writer: LayerWriter[T], node: Any, inputs: list[T]) -> T:
    layer = node.operation
    if layer.negative_slope or layer.threshold:
        raise writer.unknown("ReLU with a slope or a threshold")
    return writer.relu(inputs[0], None if layer.max_value is None else float(layer.max_value))


def _pooled(writer: LayerWriter[T], node: Any, inputs: list[T]) -> T:
    layer = node.operation
    window = window_of(layer, layer.pool_size, node.input_tensors[0].shape[1:3])
    return writer.pooled(inputs[0], window, largest=isinstance(layer, layers.MaxPooling2D))


def _joined(writer: LayerWriter[T], node: Any, inputs: list[T]) -> T:
    if len(writer.shape) != 3 or node.operation.axis not in _CHANNELS:
        raise writer.unknown("not of the channels of maps")
    return writer.joined(inputs)


def _multiplied(writer: LayerWriter[T], node: Any, inputs: list[T]) -> T:
    if len(inputs) != 2:
        raise writer.unknown(f"{len(inputs)} factors")
    return writer.multiplied(*inputs)


def _reshaped(writer: LayerWriter[T], node: Any, inputs: list[T]) -> T:
    given = tuple(node.input_tensors[0].shape[1:])
    if given == writer.shape:
        return inputs[0]
    if len(given) == 3 and len(writer.shape) == 1:
        return writer.as_rows(inputs[0])
    if len(given) == 1 and writer.shape == (1, 1, *given):
        return writer.as_maps(inputs[0])
    raise writer.unknown(f"from {given} to {writer.shape}")


def _sum(writer: LayerWriter[T], node: Any, inputs: list[T]) -> T:
    """What ``x + y`` is, where one may be a number."""
    if len(inputs) == 2:
        return writer.added(inputs)
    return writer.plus(inputs[0], _number(writer, node))


def _product(writer: LayerWriter[T], node: Any, inputs: list[T]) -> T:
    """What ``x * y`` is, where one may be a number."""
    if len(inputs) == 2:
        return writer.multiplied(*inputs)
    return writer.times(inputs[0], _number(writer, node))


def _number(writer: LayerWriter[T], node: Any) -> Any:
    found = [value for value in node.arguments.args if isinstance(value, int | float)]
    if len(found) != 1 or len(node.arguments.args) != 2:
        raise writer.unknown("with what is neither a number nor of the network")
    return np.asarray(found[0])


def _turned(writer: LayerWriter[T], node: Any, inputs: list[T]) -> T:
    order = [value for value in node.arguments.args if isinstance(value, tuple | list)]
    if len(writer.shape) != 3 or node.operation.axis not in _CHANNELS or len(order) != 1:
        raise writer.unknown("not of the channels of maps")
    return writer.turned(inputs[0], order[0])


def _dense(writer: LayerWriter[T], node: Any, inputs: list[T]) -> T:
    layer = node.operation
    if len(writer.shape) != 1:
        raise writer.unknown("Dense on maps")
    kernel = np.asarray(layer.kernel)
    bias = np.asarray(layer.bias) if layer.use_bias else np.zeros(layer.units)
    product = writer.dense(inputs[0], kernel, bias)
    writer.is_sole_reader = True
    return writer._activated(layer, product)


_Write = Callable[[Any, Any, list[Any]], Any]
_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
_IN_TRAINING = (  # or never do anything
    layers.ActivityRegularization, layers.Dropout, layers.GaussianDropout, layers.GaussianNoise,
    layers.Identity, layers.RandomBrightness, layers.RandomContrast, layers.RandomFlip,
    layers.RandomRotation, layers.RandomTranslation, layers.RandomZoom, layers.SpatialDropout2D,
)  # fmt: skip
_WRITERS: tuple[tuple[Any, _Write], ...] = (
    (_CONVOLUTIONS, lambda *_: None),
    (layers.Rescaling, _rescaled),
    (layers.BatchNormalization, _normalized),
    (layers.ReLU, _relu),
    (layers.Activation, lambda writer, node, given: writer._activated(node.operation, given[0])),
    (layers.Add, lambda writer, _, given: writer.added(given)),
    (layers.Multiply, _multiplied),
    (layers.Concatenate, _joined),
    ((layers.Reshape, layers.Flatten), _reshaped),
    (layers.ZeroPadding2D, lambda writer, node, given: writer.padded(
        given[0], *node.operation.padding)),
    ((layers.MaxPooling2D, layers.AveragePooling2D), _pooled),
    (layers.GlobalAveragePooling2D, lambda writer, node, given: writer.averaged(
        given[0], keepdims=node.operation.keepdims)),
    (layers.Dense, _dense),
    (layers.Softmax, lambda writer, node, given: writer._probabilities(node.operation, given[0])),
    (_IN_TRAINING, lambda _, __, given: given[0]),
)  # fmt: skip
# What stands between layers: functions, and Python's own operators on Keras's tensors.
_OPERATIONS: dict[str, _Write] = {"Add": _sum, "Multiply": _product, "Take": _turned}


def _writer_of(operation: Any) -> _Write | None:
    """What writes a layer or an operation of Keras's own; None for any other."""
    module = type(operation).__module__
    if module == "keras.src.ops.numpy":
        return _OPERATIONS.get(type(operation).__name__)
    if not module.startswith("keras."):  # it may compute anything, whatever it is derived of
        return None
    return next((write for kind, write in _WRITERS if isinstance(operation, kind)), None)
