"""How many multiply-adds a network needs for one image, counted in the model file itself.

Counted are the products of convolutions and matrix multiplications, each with the addition that
follows it as one, taps on padding included: the figure that papers on small networks print, 300
million for MobileNetV2 at 224 x 224 (Sandler et al. 2018, table 4). Additions, activations, pooling
and softmax are left out; they are a few per cent of it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from graphlib import TopologicalSorter
from math import prod
from typing import Any

from edgeclf.artifact import Artifact
from edgeclf.errors import MeasurementError, MissingDependencyError

# What multiplies in a way that is not counted here: an answer without it would be too small.
_UNCOUNTED_TFLITE = {
    "CUSTOM", "WHILE", "IF", "CONV_3D", "CONV_3D_TRANSPOSE", "LSTM", "RNN", "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN",
}  # fmt: skip
_UNCOUNTED_ONNX = {"Einsum", "LSTM", "GRU", "RNN", "Loop", "If", "Scan", "Attention"}
# Where a quantised ONNX operator has its second factor; in the others it is input 1.
_ONNX_CONV = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_ONNX_PRODUCT = ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul")


def count_multiply_adds(artifact: Artifact) -> int:
    """Counts them for one image.

    Args:
        artifact: Of any format. A ``.keras`` one is loaded into Keras, of the others only the
            graph is walked.

    Raises:
        MeasurementError: The graph holds an operator that is not counted, or leaves a shape open.
        MissingDependencyError: What reads this format is not installed.
    """
    counters = {"keras": _in_keras, "onnx": _in_onnx, "tflite": _in_tflite}
    try:
        return sum(counters[artifact.format](artifact))
    except MissingDependencyError:
        raise
    except ImportError as exc:
        package = (exc.name or "").partition(".")[0]
        raise MissingDependencyError(package, "convert", "Counting multiply-adds") from exc


def _in_tflite(artifact: Artifact) -> Iterable[int]:
    from edgeclf.converters.flatbuffer import operator_shapes

    for kind, inputs, outputs in operator_shapes(bytes(artifact.content)):
        if kind in _UNCOUNTED_TFLITE:
            raise _uncounted(kind)
        if kind == "CONV_2D":  # weights [O, rows, columns, I / groups]
            yield prod(outputs[0]) * prod(inputs[1][1:])
        elif kind == "DEPTHWISE_CONV_2D":  # weights [1, rows, columns, O]
            yield prod(outputs[0]) * prod(inputs[1][1:3])
        elif kind == "FULLY_CONNECTED":  # weights [O, I]
            yield prod(outputs[0]) * inputs[1][-1]
        elif kind == "TRANSPOSE_CONV":  # output shape, weights [O, rows, columns, I], input
            yield prod(inputs[2]) * prod(inputs[1][:3])
        elif kind == "BATCH_MATMUL":
            # The first factor is [..., rows, depth] or its transpose, the output [..., rows, n].
            depth = prod(inputs[0][-2:]) // outputs[0][-2]
            yield prod(outputs[0]) * depth


def _in_onnx(artifact: Artifact) -> Iterable[int]:
    import onnx

    model = onnx.load_from_string(bytes(artifact.content))
    constants = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for given in model.graph.input:
        if given.name not in constants:
            given.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]  # shapes of a batch that was still open, or of nothing
    nodes = _in_order(model.graph)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.domain = ""  # ONNX Runtime's own, of 16 bits, are of the same shapes
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, tuple[int, ...]] = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    } | constants

    def shape(name: str) -> tuple[int, ...]:
        found = shapes.get(name, ())
        if not found or 0 in found:
            raise MeasurementError(
                f"Multiply-adds cannot be counted: the graph leaves the shape of {name!r} open."
            )
        return found

    for node in graph.node:
        kind = node.op_type
        if kind in _UNCOUNTED_ONNX or node.domain not in ("", "ai.onnx"):
            raise _uncounted(kind)
        if kind in _ONNX_CONV:  # weights [O, I / groups, rows, columns]
            yield prod(shape(node.output[0])) * prod(shape(node.input[_ONNX_CONV[kind]])[1:])
        elif kind == "ConvTranspose":  # weights [I, O / groups, rows, columns]
            yield prod(shape(node.input[0])) * prod(shape(node.input[1])[1:])
        elif kind in _ONNX_PRODUCT:
            transposed = kind == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
            yield prod(shape(node.output[0])) * shape(node.input[0])[0 if transposed else -1]


def _in_order(graph: Any) -> list[Any]:
    """The nodes, each behind those it depends on: ONNX Runtime's quantiser appends some late."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    needs = {
        index: {makers[name] for name in node.input if name in makers}
        for index, node in enumerate(graph.node)
    }
    return [copy.deepcopy(graph.node[index]) for index in TopologicalSorter(needs).static_order()]


def _in_keras(artifact: Artifact) -> Iterable[int]:
    from edgeclf.training.figures import network_multiply_adds
    from edgeclf.training.models import load_model

    return [network_multiply_adds(load_model(artifact))]


def _uncounted(kind: str) -> MeasurementError:
    return MeasurementError(f"Multiply-adds cannot be counted: the graph has {kind} in it.")
