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

from edgeclf.artifact.protobuf import write_bytes, write_number
from edgeclf.measurement.profiler.trace import Arithmetic

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
        b"".join(write_number(1, size) for size in (DEPTH, COLUMNS))
        + write_number(2, _ONNX_TYPES[weight])
        + _text(8, "b")
        + write_bytes(9, _weights(weight).T.tobytes())
    )
    graph = (
        write_bytes(1, node)
        + _text(2, "product")
        + write_bytes(5, weights)
        + write_bytes(11, _onnx_value("a", given, (ROWS, DEPTH)))
        + write_bytes(12, _onnx_value("c", answer, (ROWS, COLUMNS)))
    )
    opset = _text(1, "") + write_number(2, 13)
    return write_number(1, 8) + write_bytes(7, graph) + write_bytes(8, opset)


def _weights(dtype: str) -> Any:
    """[COLUMNS, DEPTH]; noise, as some CPUs multiply zeros with less power.

    Of seven bits, as the converters make them for ONNX Runtime: on an x86 CPU without VNNI, sums
    of two products of more bits overflow in its kernels (onnxruntime#12072).
    """
    return np.random.default_rng(0).integers(-64, 64, (COLUMNS, DEPTH)).astype(dtype)


def _onnx_value(name: str, dtype: str, shape: Iterable[int]) -> bytes:
    """A ValueInfoProto."""
    sizes = b"".join(write_bytes(1, write_number(1, size)) for size in shape)
    return _text(1, name) + write_bytes(
        2, write_bytes(1, write_number(1, _ONNX_TYPES[dtype]) + write_bytes(2, sizes))
    )


def _text(number: int, text: str) -> bytes:
    return write_bytes(number, text.encode())
