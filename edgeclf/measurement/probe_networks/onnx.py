"""A probe network as an ``.onnx`` file, which ONNX Runtime fuses as it fuses our converter's.

Written field by field as onnx.proto numbers them, because a device has no package ``onnx``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.artifact.protobuf import write_bytes, write_number
from edgeclf.measurement.probe_networks.plan import ProbeLayer
from edgeclf.metrics.operator_shapes import OperatorShape

_IR_VERSION, _OPSET = 8, 18
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}  # TensorProto.DataType
_INT, _INTS = 2, 7  # AttributeProto.AttributeType
_IMAGE_SCALE, _IMAGE_ZERO = 1 / 128, 127
_CLIPPED_SCALE = 6 / 255  # of what ReLU6 leaves, from 0 upwards
_PLAIN_SCALE, _PLAIN_ZERO = 0.1, 128
_WEIGHT_SCALE = 0.002


def onnx_network(layers: Sequence[ProbeLayer], *, int8: bool) -> bytes:
    """Writes a network with random weights.

    Args:
        layers: As `edgeclf.measurement.probe_networks.plan.network` gives them.
        int8: Whether it is to multiply integers, or floats.
    """
    return _Writer(int8=int8).write(layers)


class _Writer:
    def __init__(self, *, int8: bool) -> None:
        self._int8 = int8
        self._rng = np.random.default_rng(0)
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._count, self._scale = 0, 1.0

    def write(self, layers: Sequence[ProbeLayer]) -> bytes:
        at, outputs = "image", list[str]()
        self._limits = (self._constant(np.float32(0)), self._constant(np.float32(6)))
        for layer in layers:
            at = self._add(layer, at, outputs)
            outputs.append(at)
        graph = (
            b"".join(write_bytes(1, node) for node in self._nodes)
            + _text(2, "probe")
            + b"".join(write_bytes(5, constant) for constant in self._constants)
            + write_bytes(11, _value("image", "uint8", layers[0].shape.input))
            + write_bytes(12, _value(at, "float32", layers[-1].shape.output[2:]))
        )
        opset = _text(1, "") + write_number(2, _OPSET)
        return write_number(1, _IR_VERSION) + write_bytes(7, graph) + write_bytes(8, opset)

    def _add(self, layer: ProbeLayer, at: str, outputs: Sequence[str]) -> str:
        """Adds a layer that reads `at`; the name of what it writes."""
        shape = layer.shape
        if shape.kind == "quantize":
            floats = self._dequantized(at, _IMAGE_SCALE, _IMAGE_ZERO)
            moved = self._node("Transpose", [floats], perm=[0, 3, 1, 2])
            return self._quantized(moved, _IMAGE_SCALE, _IMAGE_ZERO)
        if shape.kind in ("conv", "depthwise"):
            made = self._node("Conv", [at, *self._parameters(shape)], **_placement(shape))
            if layer.clipped and not self._int8:  # the range of integers clips by itself
                made = self._node("Clip", [made, *self._limits])
            return self._quantized(made, *(
                (_CLIPPED_SCALE, 0) if layer.clipped else (_PLAIN_SCALE, _PLAIN_ZERO)
            ))  # fmt: skip
        if shape.kind == "add":
            assert layer.shortcut is not None
            made = self._node("Add", [outputs[layer.shortcut], at])
            return self._quantized(made, _PLAIN_SCALE, _PLAIN_ZERO)
        if shape.kind == "pool":
            if not self._int8:
                at = self._node("Transpose", [at], perm=[0, 2, 3, 1])
            axes = self._constant(np.array([2, 3] if self._int8 else [1, 2], np.int64))
            made = self._node("ReduceMean", [at, axes], keepdims=0)
            return self._quantized(made, _CLIPPED_SCALE, 0)
        if shape.kind == "dense":
            return self._node("Gemm", [at, *self._parameters(shape)])
        return self._node("Softmax", [at], axis=-1)

    def _parameters(self, shape: OperatorShape) -> tuple[str, str]:
        """Weights, with the channels of the output in front but for a dense layer, and biases."""
        channels, dense = shape.biases, shape.kind == "dense"
        sizes: tuple[int, ...] = (shape.input[2], channels)
        if not dense:
            depth = shape.input[2] if shape.kind == "conv" else 1
            sizes = (channels, depth, shape.kernel, shape.kernel)
        if not self._int8:
            spread = np.float32((2 * channels / shape.weights) ** 0.5)
            weights = self._rng.standard_normal(sizes, np.float32) * spread
            return self._constant(weights), self._constant(np.zeros(channels, np.float32))
        # Of seven bits, as the converter makes them (onnxruntime#12072).
        numbers = self._rng.integers(-64, 65, sizes).astype(np.int8)
        weights = self._per_channel(numbers, _WEIGHT_SCALE, 1 if dense else 0)
        sums = self._rng.integers(-999, 1000, channels).astype(np.int32)
        # A layer is fused only where its biases have the scale of its products.
        return weights, self._per_channel(sums, _WEIGHT_SCALE * self._scale, 0)

    def _per_channel(self, numbers: npt.NDArray[Any], scale: float, axis: int) -> str:
        channels = numbers.shape[axis]
        given = [
            self._constant(numbers),
            self._constant(np.full(channels, scale, np.float32)),
            self._constant(np.zeros(channels, numbers.dtype)),
        ]
        return self._node("DequantizeLinear", given, axis=axis)

    def _quantized(self, at: str, scale: float, zero: int) -> str:
        """Behind what `at` is, the pair of operators by which ONNX says that it is integers."""
        if not self._int8:
            return at
        self._scale = scale
        given = [self._constant(np.float32(scale)), self._constant(np.uint8(zero))]
        made = self._node("QuantizeLinear", [at, *given])
        return self._node("DequantizeLinear", [made, *given])

    def _dequantized(self, at: str, scale: float, zero: int) -> str:
        given = [self._constant(np.float32(scale)), self._constant(np.uint8(zero))]
        return self._node("DequantizeLinear", [at, *given])

    def _node(self, kind: str, inputs: Iterable[str], **attributes: int | Sequence[int]) -> str:
        made = self._name()
        self._nodes.append(
            b"".join(_text(1, name) for name in inputs)
            + _text(2, made)
            + _text(3, f"node_{made}")
            + _text(4, kind)
            + b"".join(write_bytes(5, _attribute(*each)) for each in attributes.items())
        )
        return made

    def _constant(self, values: Any) -> str:
        made, values = self._name(), np.asarray(values)
        self._constants.append(
            b"".join(write_number(1, size) for size in values.shape)
            + write_number(2, _TYPES[values.dtype.name])
            + _text(8, made)
            + write_bytes(9, values.tobytes())
        )
        return made

    def _name(self) -> str:
        self._count += 1
        return f"t{self._count}"


def _placement(shape: OperatorShape) -> dict[str, int | Sequence[int]]:
    """A convolution's attributes; padded as TensorFlow's ``same``, the odd one at the end."""
    before, after = [], []
    for given, made in zip(shape.input[:2], shape.output[:2], strict=True):
        rest = max((made - 1) * shape.stride + shape.kernel - given, 0)
        before.append(rest // 2)
        after.append(rest - rest // 2)
    return {
        "kernel_shape": [shape.kernel] * 2,
        "strides": [shape.stride] * 2,
        "pads": [*before, *after],
        "group": shape.input[2] if shape.kind == "depthwise" else 1,
    }


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + write_number(3, value % 2**64) + write_number(20, _INT)
    numbers = b"".join(write_number(8, each) for each in value)
    return _text(1, name) + numbers + write_number(20, _INTS)


def _value(name: str, dtype: str, sizes: Iterable[int]) -> bytes:
    """A ValueInfoProto whose first dimension, the pictures in a batch, is open."""
    dims = write_bytes(1, _text(2, "N")) + b"".join(
        write_bytes(1, write_number(1, size)) for size in sizes
    )
    return _text(1, name) + write_bytes(
        2, write_bytes(1, write_number(1, _TYPES[dtype]) + write_bytes(2, dims))
    )


def _text(number: int, text: str) -> bytes:
    return write_bytes(number, text.encode())
