"""How fast an engine multiplies here at best: a large matrix product as a model of its own.

The product is [256, 512] x [512, 512], 67 million multiply-adds: large enough that starting it
costs nothing, small enough to be done between two disturbances. It runs in the engine and with the
threads of the profile it is held against, so that a share of it says what an operator leaves
unused of this engine on this CPU; another engine may reach more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgeclf.measurement.trace import Arithmetic

ROWS, DEPTH, COLUMNS = 256, 512, 512
PRODUCT = ROWS * DEPTH * COLUMNS  # multiply-adds

_TFLITE_IDENTIFIER = b"TFL3"
_ONNX_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6}  # TensorProto.DataType


def tflite_product(arithmetic: Arithmetic) -> bytes:
    """A ``.tflite`` model that is one FULLY_CONNECTED, in int8 or fp32."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    integers = arithmetic == "int8"
    type_ = schema.TensorType.INT8 if integers else schema.TensorType.FLOAT32

    def tensor(name: str, shape: tuple[int, int], buffer: int, zero_point: int = 0) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), type_, buffer
        if integers:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [0.02], [zero_point]
        return made

    code, operator, graph, model = (
        schema.OperatorCodeT(), schema.OperatorT(), schema.SubGraphT(), schema.ModelT()
    )  # fmt: skip
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4 if integers else 1  # the first with int8
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, -1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph.tensors = [tensor("a", (ROWS, DEPTH), 0), tensor("b", (COLUMNS, DEPTH), 1),
                     tensor("c", (ROWS, COLUMNS), 0)]  # fmt: skip
    graph.inputs, graph.outputs, graph.operators = [0], [2], [operator]
    weights = schema.BufferT()
    weights.data = np.frombuffer(_weights("int8" if integers else "float32").tobytes(), np.uint8)
    entry, given, answer = schema.SignatureDefT(), schema.TensorMapT(), schema.TensorMapT()
    given.name, given.tensorIndex, answer.name, answer.tensorIndex = "a", 0, "c", 2
    entry.signatureKey, entry.inputs, entry.outputs = "serving_default", [given], [answer]
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers, model.signatureDefs = [schema.BufferT(), weights], [entry]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), _TFLITE_IDENTIFIER)
    return bytes(builder.Output())


def onnx_product(arithmetic: Arithmetic) -> bytes:
    """An ``.onnx`` model that is one MatMul in fp32, or one MatMulInteger in int8.

    Written field by field as onnx.proto numbers them, because a device has no package ``onnx``.
    """
    kind, given, weight, answer = (
        ("MatMulInteger", "uint8", "int8", "int32")
        if arithmetic == "int8"
        else ("MatMul", "float32", "float32", "float32")
    )
    node = _text(1, "a") + _text(1, "b") + _text(2, "c") + _text(4, kind)
    weights = (
        b"".join(_number(1, size) for size in (DEPTH, COLUMNS))
        + _number(2, _ONNX_TYPES[weight])
        + _text(8, "b")
        + _field(9, _weights(weight).T.tobytes())
    )
    graph = (
        _field(1, node)
        + _text(2, "product")
        + _field(5, weights)
        + _field(11, _onnx_value("a", given, (ROWS, DEPTH)))
        + _field(12, _onnx_value("c", answer, (ROWS, COLUMNS)))
    )
    opset = _text(1, "") + _number(2, 13)
    return _number(1, 8) + _field(7, graph) + _field(8, opset)


def _weights(dtype: str) -> Any:
    """[COLUMNS, DEPTH]; noise, as some CPUs multiply zeros with less power.

    Of seven bits, as the converters make them for ONNX Runtime: on an x86 CPU without VNNI, sums
    of two products of more bits overflow in its kernels (onnxruntime#12072).
    """
    return np.random.default_rng(0).integers(-64, 64, (COLUMNS, DEPTH)).astype(dtype)


def _onnx_value(name: str, dtype: str, shape: Iterable[int]) -> bytes:
    """A ValueInfoProto."""
    sizes = b"".join(_field(1, _number(1, size)) for size in shape)
    return _text(1, name) + _field(2, _field(1, _number(1, _ONNX_TYPES[dtype]) + _field(2, sizes)))


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
