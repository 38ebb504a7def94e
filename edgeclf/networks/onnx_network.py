"""Networks written as ONNX directly, for running in ONNX Runtime what does not learn.

An exporter traces the network and rewrites graphs for seconds. Here each layer is written as the
operator it is, within milliseconds, with BatchNorm folded into the convolution before it. That goes
for the layers of our own networks and of most that are like them; a network with others stays with
Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.networks.backend import keras, layers

_OPSET = 17
_IR_VERSION = 8
_INPUT = "image"
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "hard_silu": "HardSwish", "tanh": "Tanh"}

_Array = npt.NDArray[np.float32]


class UnknownLayerError(Exception):
    """A layer that is not among those written here; says which, never reaches a user."""


def write_onnx(model: keras.Model, outputs: Sequence[keras.KerasTensor]) -> bytes:
    """A network of one image, or a part of it, as an ONNX file.

    Args:
        model: The network; written is what it does when it is not being trained.
        outputs: Those tensors of it that are wanted.

    Returns:
        A graph from ``image``, float32 [N, H, W, C], to each of them: float32 [N, K], or [N, h, w,
        K] of maps.

    Raises:
        UnknownLayerError: It holds a layer that is not written here.
    """
    shape = tuple(model.inputs[0].shape[1:])
    if len(model.inputs) != 1 or len(shape) != 3 or None in shape:
        raise UnknownLayerError(f"{model.name} (its input)")
    return _Writer(keras.Model(model.inputs, list(outputs)), shape).write(outputs)


class _Writer:
    """One graph; tensors of four dimensions have their channels second in it."""

    def __init__(self, part: keras.Model, shape: tuple[int, ...]) -> None:
        self._part, self._shape = part, shape
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._names: dict[int, str] = {}  # of tensors, by the identity of Keras's
        self._layer = "input"  # what is being written
        self._given: set[str] = set()  # names
        self._readers: dict[int, list[Any]] = {}  # the nodes that read a tensor

    def write(self, outputs: Sequence[Any]) -> bytes:
        from onnx import TensorProto, helper

        depths = self._part._nodes_by_depth
        nodes = [node for depth in sorted(depths, reverse=True) for node in depths[depth]]
        for node in nodes:
            for tensor in node.input_tensors:
                self._readers.setdefault(id(tensor), []).append(node)
        wanted = {id(tensor) for tensor in outputs}
        (image,) = self._part.inputs
        self._names[id(image)] = self.add("Transpose", [_INPUT], perm=_TO_CHANNELS_FIRST)
        for node in nodes:
            if not node.is_input:
                self._write(node, wanted)
        told: dict[str, list[Any]] = {}
        for tensor in outputs:
            name = self._answer(tensor)
            told[self.add("Identity", [name]) if name in told else name] = ["N", *tensor.shape[1:]]
        float32 = TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info(_INPUT, float32, ["N", *self._shape])],
            [helper.make_tensor_value_info(name, float32, shape) for name, shape in told.items()],
            self._weights,
        )
        opset = helper.make_opsetid("", _OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
        content: bytes = model.SerializeToString()
        return content

    def _write(self, node: Any, wanted: set[int]) -> None:
        layer, (output,) = node.operation, node.outputs
        if id(output) in self._names:
            return  # a BatchNorm that its convolution has taken in
        inputs = [self._names[id(tensor)] for tensor in node.input_tensors]
        self._layer = layer.name
        write = next((write for kind, write in _WRITERS if isinstance(layer, kind)), None)
        if write is None or not type(layer).__module__.startswith("keras."):  # code of its own
            raise UnknownLayerError(f"{layer.name} ({type(layer).__name__})")
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            after = self._readers.get(id(output), [])
            norm = after[0].operation if len(after) == 1 and id(output) not in wanted else None
            folds = isinstance(norm, layers.BatchNormalization)
            if folds and layer.activation is keras.activations.linear:
                (output,) = after[0].outputs
            else:
                norm = None
            name = self.convolution(layer, inputs[0], node.input_tensors[0].shape, norm)
        else:
            name = write(self, layer, inputs)
        self._names[id(output)] = name

    def _answer(self, tensor: Any) -> str:
        """An output's name, its channels last again."""
        self._layer, name = "output", self._names[id(tensor)]
        if len(tensor.shape) == 4:
            return self.add("Transpose", [name], perm=_TO_CHANNELS_LAST)
        return name

    def add(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Adds a node of one output; returns the output's name."""
        from onnx import helper

        name = self._free(operator)
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def _free(self, part: str) -> str:
        """A name for what a layer consists of that nothing else has."""
        name = plain = f"{self._layer}/{part}"
        number = 1
        while name in self._given:
            number += 1
            name = f"{plain}_{number}"
        self._given.add(name)
        return name

    def constant(self, part: str, values: npt.ArrayLike, dtype: Any = np.float32) -> str:
        """Adds an array that a layer has; returns its name."""
        from onnx import numpy_helper

        name = self._free(part)
        array = np.ascontiguousarray(values, dtype)
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def convolution(self, layer: Any, given: str, shape: Any, norm: Any) -> str:
        """A convolution, dense or depthwise, with the BatchNorm behind it."""
        depthwise = isinstance(layer, layers.DepthwiseConv2D)
        kernel = np.asarray(layer.kernel, np.float64)
        if depthwise:
            rows, columns, channels, multiplier = kernel.shape
            kernel = kernel.reshape(rows, columns, 1, channels * multiplier)
            groups = channels
        else:
            rows, columns = kernel.shape[:2]
            groups = layer.groups
        bias = np.asarray(layer.bias, np.float64) if layer.use_bias else np.zeros(kernel.shape[3])
        if norm is not None:
            scale, offset = _affine(norm)
            kernel, bias = kernel * scale, bias * scale + offset
        steps, spread = list(layer.strides), list(layer.dilation_rate)
        sides = [(side - 1) * wide + 1 for side, wide in zip((rows, columns), spread, strict=True)]
        name = self.add(
            "Conv",
            [
                given,
                self.constant("kernel", kernel.transpose(3, 2, 0, 1)),
                self.constant("bias", bias),
            ],
            strides=steps,
            dilations=spread,
            pads=_pads(layer, shape, steps, sides),
            group=groups,
            kernel_shape=[rows, columns],
        )
        return self.activation(layer, name)

    def activation(self, layer: Any, given: str) -> str:
        """What a layer does with its numbers at last."""
        name = layer.activation.__name__
        if name == "linear":
            return given
        if name == "relu6":
            return self.clip(given, 6.0)
        if name == "silu":
            return self.add("Mul", [given, self.add("Sigmoid", [given])])
        if name == "hard_sigmoid":
            return self.add("HardSigmoid", [given], alpha=1 / 6, beta=0.5)
        if name == "softmax":
            return self.softmax(layer, given)
        if name in _ACTIVATIONS:
            return self.add(_ACTIVATIONS[name], [given])
        raise UnknownLayerError(f"{layer.name} (activation {name})")

    def softmax(self, layer: Any, given: str) -> str:
        """Probabilities of scores."""
        if len(layer.output.shape) != 2:
            raise UnknownLayerError(f"{layer.name} (softmax on maps)")
        return self.add("Softmax", [given], axis=1)

    def clip(self, given: str, most: float | None) -> str:
        """ReLU, bounded by `most`."""
        if most is None:
            return self.add("Relu", [given])
        return self.add("Clip", [given, self.constant("least", 0.0), self.constant("most", most)])


def _rescaling(writer: _Writer, layer: Any, inputs: list[str]) -> str:
    scale, offset = (
        np.reshape(values, (-1, 1, 1)) if np.ndim(values) else values
        for values in (layer.scale, layer.offset)
    )
    scaled = writer.add("Mul", [inputs[0], writer.constant("scale", scale)])
    return writer.add("Add", [scaled, writer.constant("offset", offset)])


def _normalization(writer: _Writer, layer: Any, inputs: list[str]) -> str:
    scale, offset = (values[:, None, None] for values in _affine(layer))
    scaled = writer.add("Mul", [inputs[0], writer.constant("scale", scale)])
    return writer.add("Add", [scaled, writer.constant("offset", offset)])


def _relu(writer: _Writer, layer: Any, inputs: list[str]) -> str:
    if layer.negative_slope or layer.threshold:
        raise UnknownLayerError(f"{layer.name} (ReLU with a slope or a threshold)")
    return writer.clip(inputs[0], None if layer.max_value is None else float(layer.max_value))


def _zero_padding(writer: _Writer, layer: Any, inputs: list[str]) -> str:
    (top, bottom), (left, right) = layer.padding
    pads = writer.constant("pads", [0, 0, top, left, 0, 0, bottom, right], np.int64)
    return writer.add("Pad", [inputs[0], pads])


def _max_pooling(writer: _Writer, layer: Any, inputs: list[str]) -> str:
    kernel, steps = list(layer.pool_size), list(layer.strides)
    pads = _pads(layer, layer.input.shape, steps, kernel)
    return writer.add("MaxPool", inputs, kernel_shape=kernel, strides=steps, pads=pads)


def _pooling(writer: _Writer, layer: Any, inputs: list[str]) -> str:
    pooled = writer.add("GlobalAveragePool", inputs)
    return pooled if layer.keepdims else writer.add("Flatten", [pooled])


def _dense(writer: _Writer, layer: Any, inputs: list[str]) -> str:
    if len(layer.input.shape) != 2:
        raise UnknownLayerError(f"{layer.name} (Dense on maps)")
    bias = layer.bias if layer.use_bias else np.zeros(layer.units)
    weights = writer.constant("kernel", layer.kernel), writer.constant("bias", bias)
    product = writer.add("Gemm", [*inputs, *weights])
    return writer.activation(layer, product)


def _sum(writer: _Writer, layer: Any, inputs: list[str]) -> str:
    return writer.add("Sum" if len(inputs) > 2 else "Add", inputs)


_Write = Callable[[_Writer, Any, list[str]], str]
_WRITERS: tuple[tuple[Any, _Write], ...] = (
    ((layers.Conv2D, layers.DepthwiseConv2D), lambda *_: ""),
    (layers.Rescaling, _rescaling),
    (layers.BatchNormalization, _normalization),
    (layers.ReLU, _relu),
    (layers.Activation, lambda writer, layer, inputs: writer.activation(layer, inputs[0])),
    (layers.Add, _sum),
    (layers.ZeroPadding2D, _zero_padding),
    (layers.MaxPooling2D, _max_pooling),
    (layers.GlobalAveragePooling2D, _pooling),
    (layers.Dense, _dense),
    (layers.Softmax, lambda writer, layer, inputs: writer.softmax(layer, inputs[0])),
    ((layers.Dropout, layers.Identity), lambda _, __, inputs: inputs[0]),
)


def _affine(norm: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What BatchNorm multiplies each channel by, and what it adds."""
    mean, variance = (np.asarray(v, np.float64) for v in (norm.moving_mean, norm.moving_variance))
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma, np.float64)
    offset = -mean * scale
    return scale, offset + np.asarray(norm.beta, np.float64) if norm.center else offset


def _pads(layer: Any, shape: Any, steps: Sequence[int], sides: Sequence[int]) -> list[int]:
    """Rows and columns around maps of that shape: first those before, then those behind."""
    if layer.padding == "valid":
        return [0, 0, 0, 0]
    if layer.padding != "same":
        raise UnknownLayerError(f"{layer.name} (padding {layer.padding})")
    before, behind = zip(*map(_same, shape[1:3], steps, sides), strict=True)
    return [*before, *behind]


def _same(size: int, step: int, kernel: int) -> tuple[int, int]:
    """Rows or columns of zeros before and behind, by which TensorFlow's "same" padding goes."""
    total = max((-(-size // step) - 1) * step + kernel - size, 0)
    return total // 2, total - total // 2
