"""Networks written as ONNX directly; see `LayerWriter`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.networks.backend import keras
from edgeclf.networks.convolution import Convolution, Window
from edgeclf.networks.layer_writer import LayerWriter

_OPSET = 17
_IR_VERSION = 8
_INPUT = "image"
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
_ACTIVATIONS = {"sigmoid": "Sigmoid", "hard_silu": "HardSwish", "tanh": "Tanh"}


def write_onnx(model: keras.Model, outputs: Sequence[keras.KerasTensor]) -> bytes:
    """`onnx_of` as the bytes of a file."""
    content: bytes = onnx_of(model, outputs).SerializeToString()
    return content


def onnx_of(model: keras.Model, outputs: Sequence[keras.KerasTensor]) -> Any:
    """A network of one image, or a part of it, in ONNX.

    Args:
        model: The network; written is what it does when it is not being trained.
        outputs: Those tensors of it that are wanted.

    Returns:
        An `onnx.ModelProto` from ``image``, float32 [N, H, W, C], to each of them: float32 [N, K],
        or [N, h, w, K] of maps.

    Raises:
        UnknownLayerError: It holds a layer that is not written here.
    """
    return _OnnxWriter(model, outputs).write(outputs)


class _OnnxWriter(LayerWriter[str]):
    """Tensors are names; those of four dimensions have their channels second."""

    def __init__(self, model: keras.Model, outputs: Sequence[keras.KerasTensor]) -> None:
        super().__init__(model, outputs)
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def write(self, outputs: Sequence[Any]) -> Any:
        from onnx import TensorProto, helper

        answers = self.write_layers(self._add("Transpose", [_INPUT], perm=_TO_CHANNELS_FIRST))
        told: dict[str, list[Any]] = {}
        for name, tensor in zip(answers, outputs, strict=True):
            if len(tensor.shape) == 4:
                name = self._add("Transpose", [name], perm=_TO_CHANNELS_LAST)
            elif name in told:  # two ends may be one tensor
                name = self._add("Identity", [name])
            told[name] = ["N", *tensor.shape[1:]]
        float32 = TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info(_INPUT, float32, ["N", *self.image_shape])],
            [helper.make_tensor_value_info(name, float32, shape) for name, shape in told.items()],
            self._weights,
        )
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)

    def _add(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Adds a node of one output; returns the output's name."""
        from onnx import helper

        name = self.free_name(operator)
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def _constant(self, part: str, values: npt.ArrayLike, dtype: Any = np.float32) -> str:
        """Adds an array that the layer has; returns its name."""
        from onnx import numpy_helper

        name = self.free_name(part)
        array = np.ascontiguousarray(values, dtype)
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def convolution(self, given: str, convolution: Convolution) -> str:
        kernel, window = convolution.kernel, convolution.window
        weights = self._constant("kernel", kernel.transpose(3, 2, 0, 1))
        return self._add(
            "Conv",
            [given, weights, self._constant("bias", convolution.bias)],
            strides=window.strides,
            dilations=convolution.dilations,
            pads=window.pads,
            group=convolution.groups,
            kernel_shape=kernel.shape[:2],
        )

    def dense(self, given: str, kernel: Any, bias: Any) -> str:
        weights = self._constant("kernel", kernel)
        return self._add("Gemm", [given, weights, self._constant("bias", bias)])

    def times(self, given: str, factor: Any) -> str:
        return self._add("Mul", [given, self._constant("factor", _by_channel(factor))])

    def plus(self, given: str, amount: Any) -> str:
        return self._add("Add", [given, self._constant("amount", _by_channel(amount))])

    def relu(self, given: str, most: float | None) -> str:
        if most is None:
            return self._add("Relu", [given])
        return self._add(
            "Clip", [given, self._constant("least", 0.0), self._constant("most", most)]
        )

    def activation(self, given: str, name: str) -> str:
        if name == "silu":
            return self._add("Mul", [given, self._add("Sigmoid", [given])])
        if name == "hard_sigmoid":
            return self._add("HardSigmoid", [given], alpha=1 / 6, beta=0.5)
        if name in _ACTIVATIONS:
            return self._add(_ACTIVATIONS[name], [given])
        raise self.unknown(f"activation {name}")

    def softmax(self, given: str) -> str:
        return self._add("Softmax", [given], axis=1)

    def added(self, inputs: Sequence[str]) -> str:
        return self._add("Sum" if len(inputs) > 2 else "Add", inputs)

    def multiplied(self, one: str, other: str) -> str:
        return self._add("Mul", [one, other])

    def joined(self, inputs: Sequence[str]) -> str:
        return self._add("Concat", inputs, axis=1)

    def turned(self, given: str, order: Sequence[int]) -> str:
        return self._add("Gather", [given, self._constant("order", order, np.int64)], axis=1)

    def as_maps(self, given: str) -> str:
        return self._reshaped(given, [-1, self.shape[2], 1, 1])

    def _reshaped(self, given: str, sizes: Sequence[int]) -> str:
        """Of no images too: `Flatten`, and a batch that is copied by 0, divide by their number."""
        return self._add("Reshape", [given, self._constant("sizes", sizes, np.int64)])

    def as_rows(self, given: str) -> str:
        channels_last = self._add("Transpose", [given], perm=_TO_CHANNELS_LAST)
        return self._reshaped(channels_last, [-1, *self.shape])

    def padded(self, given: str, rows: tuple[int, int], columns: tuple[int, int]) -> str:
        pads = [0, 0, rows[0], columns[0], 0, 0, rows[1], columns[1]]
        return self._add("Pad", [given, self._constant("pads", pads, np.int64)])

    def pooled(self, given: str, window: Window, *, largest: bool) -> str:
        return self._add(
            "MaxPool" if largest else "AveragePool",
            [given],
            kernel_shape=window.sides,
            strides=window.strides,
            pads=window.pads,
        )

    def averaged(self, given: str, *, keepdims: bool) -> str:
        return self._add("ReduceMean", [given], axes=[2, 3], keepdims=int(keepdims))


def _by_channel(values: Any) -> Any:
    return values.reshape(-1, 1, 1) if values.ndim else values
