"""Edits of TFLite flatbuffers that the converters need and no tool of theirs makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeclf.errors import ConversionError

_FILE_IDENTIFIER = b"TFL3"
_BIAS_LIMIT = 2**30  # an int32 bias with a bit to spare
_QUIET_CHANNEL = 1e-6  # relative to the layer's largest weight
_UINT8_OVER_INT8 = 128  # zero points of the same values differ by this


def unpack(model: bytes) -> Any:
    """The flatbuffer as a tree of objects, all weights in it.

    Large weights may lie behind the flatbuffer, found by offset; packing a tree again would
    move them, so they are taken in.
    """
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    for buffer in tree.buffers:
        if buffer.offset and buffer.offset > 1:
            content = model[buffer.offset : buffer.offset + buffer.size]
            buffer.data = np.frombuffer(content, np.uint8)
            buffer.offset = buffer.size = 0
    return tree


def pack(tree: Any) -> bytes:
    """The tree as a flatbuffer."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), _FILE_IDENTIFIER)
    return bytes(builder.Output())


def with_uint8_input(model: bytes, name: str) -> bytes:
    """Puts a QUANTIZE from uint8 before an int8 input: same scale, zero point 128 higher.

    Args:
        model: A flatbuffer with one graph and one int8 input.
        name: What the new input is called.
    """
    from ai_edge_litert import schema_py_generated as schema

    tree = unpack(model)
    (graph,) = tree.subgraphs
    (inner_index,) = graph.inputs
    inner = graph.tensors[inner_index]
    if inner.type != schema.TensorType.INT8:
        raise ConversionError("The quantised model's input is not int8; the quantiser changed.")
    outer = schema.TensorT()
    outer.name, outer.type = name.encode(), schema.TensorType.UINT8
    outer.shape, outer.buffer = inner.shape, 0
    outer.quantization = schema.QuantizationParametersT()
    outer.quantization.scale = list(inner.quantization.scale)
    outer.quantization.zeroPoint = [int(inner.quantization.zeroPoint[0]) + _UINT8_OVER_INT8]
    graph.tensors.append(outer)
    outer_index = len(graph.tensors) - 1

    operator = schema.OperatorT()
    operator.opcodeIndex = _opcode_index(tree, schema.BuiltinOperator.QUANTIZE)
    operator.inputs, operator.outputs = [outer_index], [inner_index]
    operator.builtinOptionsType = schema.BuiltinOptions.QuantizeOptions
    operator.builtinOptions = schema.QuantizeOptionsT()
    graph.operators.insert(0, operator)
    graph.inputs = [outer_index]
    for signature in tree.signatureDefs or []:
        for tensor in signature.inputs:
            if tensor.tensorIndex == inner_index:
                tensor.tensorIndex = outer_index
    return pack(tree)


def _opcode_index(tree: Any, builtin: int) -> int:
    from ai_edge_litert import schema_py_generated as schema

    for index, code in enumerate(tree.operatorCodes):
        if code.builtinCode == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 2  # the version whose kernels requantise from one integer type to another
    tree.operatorCodes.append(code)
    return len(tree.operatorCodes) - 1


def lift_quiet_channels(model: bytes, ranges: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Keeps the biases of channels whose weights are all but zero from overflowing in int8.

    A trained network has channels that answer with their bias alone. Their weights' scale is
    tiny, the bias is stored in multiples of that scale times the input's, and overflows int32:
    the quantiser wraps it to another number without a word. One weight of such a channel is
    raised so far that its bias fits; the output moves by at most 255 * 127 / 2**30 = 0.003 %
    of the bias.

    Args:
        model: A float flatbuffer with one graph.
        ranges: For each tensor's name, ``min`` and ``max`` as calibration found them.
    """
    from ai_edge_litert import schema_py_generated as schema

    channel_axis = {
        schema.BuiltinOperator.CONV_2D: 0,
        schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3,
        schema.BuiltinOperator.FULLY_CONNECTED: 0,
    }
    tree = unpack(model)
    (graph,) = tree.subgraphs
    for operator in graph.operators:
        axis = channel_axis.get(tree.operatorCodes[operator.opcodeIndex].builtinCode)
        if axis is None or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        given, weight, bias = (graph.tensors[index] for index in operator.inputs[:3])
        span = ranges.get(given.name.decode())
        if span is None:
            continue
        input_scale = float(np.max(span["max"]) - np.min(span["min"])) / 255
        channels_first = np.moveaxis(_values(tree, weight).reshape(weight.shape), axis, 0)
        flat = channels_first.reshape(len(channels_first), -1).copy()
        largest = np.abs(flat).max(axis=1)
        biases = np.abs(_values(tree, bias))
        needed = np.maximum(
            127 * biases / (max(input_scale, 1e-9) * _BIAS_LIMIT), _QUIET_CHANNEL * largest.max()
        )
        quiet = np.flatnonzero(largest < needed)
        if len(quiet):
            flat[quiet, 0] = needed[quiet]
            lifted = np.moveaxis(flat.reshape(channels_first.shape), 0, axis)
            tree.buffers[weight.buffer].data = np.frombuffer(lifted.tobytes(), np.uint8)
    return pack(tree)


def _values(tree: Any, tensor: Any) -> Any:
    return np.frombuffer(np.asarray(tree.buffers[tensor.buffer].data).tobytes(), "<f4")
