"""The layers' weights and biases: which can be rounded or corrected, and with other values."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from edgeclf.converters.calibration import Ranges
from edgeclf.converters.flatbuffer.queries import WITH_WEIGHTS
from edgeclf.converters.flatbuffer.tree import (
    operator_name,
    pack,
    schema,
    stored_values,
    text,
    unpack_graph,
)
from edgeclf.converters.layer_inputs import Layer

EIGHT_BITS, SEVEN_BITS = 127, 64  # positive levels; ONNX Runtime's reduce_range has as many
_BIAS_LIMIT = 2**30  # an int32 bias with a bit to spare
_QUIET_CHANNEL = 1e-6  # relative to the layer's largest weight


def weight_layers(model: bytes) -> list[Layer]:
    """The float layers whose weights can be rounded, named after their weights' tensor."""
    tree, graph = unpack_graph(model)
    layers = []
    for operator in graph.operators:
        kind = operator_name(tree, operator)
        if kind not in WITH_WEIGHTS:
            continue
        activation, stored = (graph.tensors[index] for index in operator.inputs[:2])
        if tree.buffers[stored.buffer].data is None:
            continue  # computed weights
        weights = stored_values(tree, stored).reshape(stored.shape)
        name, source, options = text(stored.name), text(activation.name), operator.builtinOptions
        if kind == "FULLY_CONNECTED":
            layers.append(Layer(name, source, weights[np.newaxis]))
            continue
        if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
            continue
        rows, columns = weights.shape[1:3]
        if weights.shape[3] != activation.shape[3]:
            continue  # grouped, or several outputs a channel
        if kind == "CONV_2D":
            shaped = weights.reshape(1, len(weights), -1)
        else:
            shaped = weights.reshape(rows * columns, 1, -1).transpose(2, 1, 0)
        padding = None if options.padding == schema().Padding.SAME else ((0, 0), (0, 0))
        stride = (options.strideH, options.strideW)
        layers.append(Layer(name, source, shaped, (rows, columns), stride, padding))
    return layers


def with_weights(model: bytes, weights: Mapping[str, Any]) -> bytes:
    """Replaces weights by tensor name; given in the shape of `weight_layers`."""
    tree, graph = unpack_graph(model)
    for tensor in graph.tensors:
        values = weights.get(text(tensor.name))
        if values is not None:
            if len(values) > 1:  # depthwise: [C, 1, rows * columns] to [1, rows, columns, C]
                values = values.transpose(2, 1, 0)
            content = np.ascontiguousarray(values, "<f4").tobytes()
            tree.buffers[tensor.buffer].data = np.frombuffer(content, np.uint8)
    return pack(tree)


def linear_layers(model: bytes) -> list[str]:
    """Outputs of the float layers that have a bias and no activation function in them."""
    tree, graph = unpack_graph(model)
    return [text(graph.tensors[operator.outputs[0]].name) for operator in graph.operators
            if is_linear(tree, operator)]  # fmt: skip


def is_linear(tree: Any, operator: Any) -> bool:
    """Whether a layer has a bias and no activation function in it."""
    return (
        operator_name(tree, operator) in WITH_WEIGHTS
        and len(operator.inputs) > 2
        and operator.inputs[2] >= 0
        and operator.builtinOptions.fusedActivationFunction == schema().ActivationFunctionType.NONE
    )


def with_added_bias(model: bytes, layer: str, amount: Any) -> bytes:
    """Adds to the bias of a quantised layer.

    Args:
        model: A quantised flatbuffer.
        layer: Name of the layer's output.
        amount: float [channels], in the layer's own units.
    """
    changed = bytearray(
        model
    )  # unpacked and packed as a tree, it would take a hundred times as long
    packed = schema().Model.GetRootAs(changed)
    graph = packed.Subgraphs(0)
    (bias,) = (
        graph.Tensors(operator.Inputs(2))
        for operator in map(graph.Operators, range(graph.OperatorsLength()))
        if text(graph.Tensors(operator.Outputs(0)).Name()) == layer
    )
    dtype = "<i4" if bias.Type() == schema().TensorType.INT32 else "<i8"  # int64 under int16
    stored = packed.Buffers(bias.Buffer()).DataAsNumpy().view(dtype)
    steps = np.rint(amount / bias.Quantization().ScaleAsNumpy().astype(np.float64))
    limits = np.iinfo(dtype)
    stored[:] = np.clip(stored + steps, limits.min, limits.max)
    return bytes(changed)


def with_seven_bits(model: bytes, layers: Container[str] | None = None) -> bytes:
    """A quantised model whose weights, but for depthwise ones, reach from -64 to 64.

    Engines that multiply uint8 by int8 on CPUs without VNNI add two products in 16 bits, where
    255 * 127 * 2 does not fit: OpenVINO does, without a word. litert-quantizer knows eight bits
    alone, so its steps are made coarser here; weights that were on the coarser grid stay exactly
    what they were. Depthwise kernels do not add products in pairs.

    Args:
        model: A flatbuffer with int8 weights, used as they are or behind a DEQUANTIZE.
        layers: Outputs of the layers that this is done to; None for all.
    """
    tree, graph = unpack_graph(model)
    makers = {operator.outputs[0]: operator for operator in graph.operators}
    ratio = SEVEN_BITS / EIGHT_BITS
    tensors, buffers = set[int](), set[int]()  # that are done; two layers may share them
    for operator in graph.operators:
        kind, output = operator_name(tree, operator), text(graph.tensors[operator.outputs[0]].name)
        if kind not in ("CONV_2D", "FULLY_CONNECTED"):
            continue
        if layers is not None and output not in layers:
            continue
        index = operator.inputs[1]
        if index in makers and operator_name(tree, makers[index]) == "DEQUANTIZE":
            index = makers[index].inputs[0]
        bias = operator.inputs[2] if len(operator.inputs) > 2 else -1
        for tensor_index, type_, dtype in ((index, schema().TensorType.INT8, "<i1"),
                                           (bias, schema().TensorType.INT32, "<i4")):  # fmt: skip
            tensor = graph.tensors[tensor_index]
            buffer = tree.buffers[tensor.buffer]
            if tensor_index < 0 or tensor.type != type_ or buffer.data is None:
                continue
            if tensor_index not in tensors:
                tensors.add(tensor_index)
                tensor.quantization.scale = np.divide(tensor.quantization.scale, ratio)
            if tensor.buffer not in buffers:
                buffers.add(tensor.buffer)
                stored = np.frombuffer(np.asarray(buffer.data).tobytes(), dtype)
                coarser = np.rint(stored * ratio).astype(dtype)
                buffer.data = np.frombuffer(coarser.tobytes(), np.uint8)
    return pack(tree)


def raise_dead_channels(model: bytes, ranges: Ranges) -> bytes:
    """Keeps the biases of channels whose weights are all but zero from overflowing in int8.

    A trained network has channels that answer with their bias alone. Their weights' scale is
    tiny, the bias is stored in multiples of that scale times the input's, and overflows int32:
    the quantiser wraps it to another number without a word. One weight of such a channel is
    raised so far that its bias fits; the output moves by at most 255 * 127 / 2**30 = 0.003 %
    of the bias.

    Args:
        model: A float flatbuffer with one graph.
        ranges: As calibration found them.
    """
    channel_axis = {
        schema().BuiltinOperator.CONV_2D: 0,
        schema().BuiltinOperator.DEPTHWISE_CONV_2D: 3,
        schema().BuiltinOperator.FULLY_CONNECTED: 0,
    }
    tree, graph = unpack_graph(model)
    for operator in graph.operators:
        axis = channel_axis.get(tree.operatorCodes[operator.opcodeIndex].builtinCode)
        if axis is None or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        activation, weight, bias = (graph.tensors[index] for index in operator.inputs[:3])
        span = ranges.get(text(activation.name))
        if span is None:
            continue
        input_scale = (span[1] - span[0]) / 255
        channels_first = np.moveaxis(stored_values(tree, weight).reshape(weight.shape), axis, 0)
        flat = channels_first.reshape(len(channels_first), -1).copy()
        largest = np.abs(flat).max(axis=1)
        biases = np.abs(stored_values(tree, bias))
        needed = np.maximum(
            127 * biases / (max(input_scale, 1e-9) * _BIAS_LIMIT), _QUIET_CHANNEL * largest.max()
        )
        quiet = np.flatnonzero(largest < needed)
        if len(quiet):
            flat[quiet, 0] = needed[quiet]
            lifted = np.moveaxis(flat.reshape(channels_first.shape), 0, axis)
            tree.buffers[weight.buffer].data = np.frombuffer(lifted.tobytes(), np.uint8)
    return pack(tree)
