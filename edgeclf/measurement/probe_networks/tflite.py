"""A probe network as a ``.tflite`` file, built from the same operators as our converter's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.measurement.probe_networks.plan import ProbeLayer
from edgeclf.metrics.operator_shapes import OperatorShape

_IDENTIFIER = b"TFL3"
_IMAGE_SCALE, _IMAGE_ZERO = 1 / 128, 127
_CLIPPED_SCALE = 6 / 255  # of what ReLU6 leaves
_PLAIN_SCALE = 0.1
_VERSIONS = {"CONV_2D": (1, 3), "DEPTHWISE_CONV_2D": (1, 3), "ADD": (1, 2), "MEAN": (1, 2),
             "QUANTIZE": (1, 2), "DEQUANTIZE": (1, 2), "FULLY_CONNECTED": (1, 3),
             "SOFTMAX": (1, 1)}  # fmt: skip
_OPTIONS = {"CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
            "ADD": "AddOptions", "MEAN": "ReducerOptions", "QUANTIZE": "QuantizeOptions",
            "DEQUANTIZE": "DequantizeOptions", "FULLY_CONNECTED": "FullyConnectedOptions",
            "SOFTMAX": "SoftmaxOptions"}  # fmt: skip


def tflite_network(layers: Sequence[ProbeLayer], *, int8: bool) -> bytes:
    """Writes a network with random weights.

    Args:
        layers: As `edgeclf.measurement.probe_networks.plan.network` gives them.
        int8: Whether it multiplies integers, or floats.

    Raises:
        ImportError: ai-edge-litert is not installed.
    """
    return _Writer(int8=int8).write(layers)


class _Writer:
    def __init__(self, *, int8: bool) -> None:
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema

        self._flatbuffers, self._schema, self._int8 = flatbuffers, schema, int8
        self._rng = np.random.default_rng(0)
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]
        self._operators: list[Any] = []
        self._codes: list[str] = []

    def write(self, layers: Sequence[ProbeLayer]) -> bytes:
        first = layers[0].shape.input
        at = image = self._tensor("image", (1, *first), "UINT8", _IMAGE_SCALE, _IMAGE_ZERO)
        outputs: list[int] = []
        for layer in layers:
            at = self._add(layer, at, outputs)
            outputs.append(at)
        return self._finish(image, at)

    def _add(self, layer: ProbeLayer, at: int, outputs: Sequence[int]) -> int:
        """Adds a layer that reads the tensor `at`; the number of what it writes."""
        shape, relu6 = layer.shape, self._schema.ActivationFunctionType.RELU6
        options = {"fusedActivationFunction": relu6} if layer.clipped else {}
        if shape.kind == "quantize":
            made = self._tensor("floats", (1, *shape.output), "FLOAT32")
            self._operator("DEQUANTIZE", [at], made)
            if not self._int8:
                return made
            numbers = self._activation((1, *shape.output), _IMAGE_SCALE, _IMAGE_ZERO - 128)
            return self._operator("QUANTIZE", [made], numbers)
        if shape.kind in ("conv", "depthwise"):
            depthwise = shape.kind == "depthwise"
            sizes = (shape.kernel, shape.kernel)
            weights = (1, *sizes, shape.output[2]) if depthwise else \
                (shape.output[2], *sizes, shape.input[2])  # fmt: skip
            options |= {"strideW": shape.stride, "strideH": shape.stride,
                        "padding": self._schema.Padding.SAME}  # fmt: skip
            if depthwise:
                options["depthMultiplier"] = 1
            given = [at, *self._parameters(shape, weights, 3 if depthwise else 0)]
            scale, zero = (_CLIPPED_SCALE, -128) if layer.clipped else (_PLAIN_SCALE, 0)
            made = self._activation((1, *shape.output), scale, zero)
            return self._operator(
                "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", given, made, options
            )
        if shape.kind == "add":
            assert layer.shortcut is not None
            made = self._activation((1, *shape.output), _PLAIN_SCALE, 0)
            return self._operator("ADD", [outputs[layer.shortcut], at], made)
        if shape.kind == "pool":
            axes = self._constant("axes", np.array([1, 2], np.int32), "INT32")
            # A quantised mean keeps the scale of what it is taken of.
            made = self._activation((1, shape.output[2]), _CLIPPED_SCALE, -128)
            self._operator("MEAN", [at, axes], made)
            if not self._int8:
                return made
            floats = self._tensor("pooled", (1, shape.output[2]), "FLOAT32")
            return self._operator("DEQUANTIZE", [made], floats)
        made = self._tensor("scores", (1, shape.output[2]), "FLOAT32")
        if shape.kind == "softmax":
            return self._operator("SOFTMAX", [at], made, {"beta": 1.0})
        given = [at, *self._parameters(shape, (shape.output[2], shape.input[2]), None)]
        options = {"asymmetricQuantizeInputs": True} if self._int8 else {}
        return self._operator("FULLY_CONNECTED", given, made, options)

    def _parameters(
        self, shape: OperatorShape, sizes: tuple[int, ...], axis: int | None
    ) -> tuple[int, int]:
        """Weights and biases; without an axis of channels, the biases stay float."""
        channels = shape.biases
        if not self._int8:
            spread = (2 * channels / max(shape.weights, 1)) ** 0.5
            weights = self._rng.standard_normal(sizes, np.float32) * np.float32(spread)
            sums = np.zeros(channels, np.float32)
            return (self._constant("weights", weights, "FLOAT32"),
                    self._constant("biases", sums, "FLOAT32"))  # fmt: skip
        count = channels if axis is not None else 1
        scales = np.full(count, 0.002, np.float32)
        weights = self._rng.integers(-127, 128, sizes).astype(np.int8)
        numbers = self._constant("weights", weights, "INT8", scales, axis or 0)
        if axis is None:
            biases = np.zeros(channels, np.float32)
            return numbers, self._constant("biases", biases, "FLOAT32")
        # Of the sum of products; the kernels do not check that it is exact.
        given = self._tensors[self._last_activation].quantization.scale[0]
        sums = np.zeros(channels, np.int32)
        return numbers, self._constant("biases", sums, "INT32", scales * np.float32(given), 0)

    def _activation(self, shape: tuple[int, ...], scale: float, zero: int) -> int:
        if self._int8:
            made = self._tensor("activation", shape, "INT8", scale, zero)
        else:
            made = self._tensor("activation", shape, "FLOAT32")
        self._last_activation = made
        return made

    def _constant(
        self, name: str, values: npt.NDArray[Any], type_: str, scales: Any = None, axis: int = 0
    ) -> int:
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._buffers.append(buffer)
        made = self._tensor(name, values.shape, type_)
        tensor = self._tensors[made]
        tensor.buffer = len(self._buffers) - 1
        if scales is not None:
            tensor.quantization = self._schema.QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
            tensor.quantization.quantizedDimension = axis
        return made

    def _tensor(
        self, name: str, shape: tuple[int, ...], type_: str, scale: float = 0.0, zero: int = 0
    ) -> int:
        made = self._schema.TensorT()
        made.name, made.shape, made.buffer = f"{name}{len(self._tensors)}", list(shape), 0
        made.type = getattr(self._schema.TensorType, type_)
        if scale:
            made.quantization = self._schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [zero]
        self._tensors.append(made)
        return len(self._tensors) - 1

    def _operator(
        self, kind: str, inputs: list[int], output: int, options: dict[str, Any] | None = None
    ) -> int:
        schema = self._schema
        made = schema.OperatorT()
        if kind not in self._codes:
            self._codes.append(kind)
        made.opcodeIndex = self._codes.index(kind)
        made.inputs, made.outputs = inputs, [output]
        made.builtinOptionsType = getattr(schema.BuiltinOptions, _OPTIONS[kind])
        made.builtinOptions = getattr(schema, f"{_OPTIONS[kind]}T")()
        for name, value in (options or {}).items():
            setattr(made.builtinOptions, name, value)
        self._operators.append(made)
        return output

    def _finish(self, image: int, answer: int) -> bytes:
        schema = self._schema
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [image], [answer]
        entry, given, result = schema.SignatureDefT(), schema.TensorMapT(), schema.TensorMapT()
        given.name, given.tensorIndex = "image", image
        result.name, result.tensorIndex = "probabilities", answer
        entry.signatureKey, entry.inputs, entry.outputs = "serving_default", [given], [result]
        model.version, model.subgraphs, model.buffers = 3, [graph], self._buffers
        model.operatorCodes, model.signatureDefs = [self._code(k) for k in self._codes], [entry]
        builder = self._flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def _code(self, kind: str) -> Any:
        code = self._schema.OperatorCodeT()
        number = getattr(self._schema.BuiltinOperator, kind)
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = _VERSIONS[kind][self._int8]
        return code
