"""How many multiply-adds a network needs for one image, counted in the model file itself.

`edgeclf.metrics.multiply_adds` says what is counted in each operator.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from graphlib import TopologicalSorter
from typing import Any

from edgeclf.artifact import Artifact
from edgeclf.errors import MeasurementError, MissingDependencyError
from edgeclf.metrics.multiply_adds import onnx_multiply_adds, tflite_multiply_adds


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
    from edgeclf.metrics.tflite_graph import read_operators

    for operator in read_operators(artifact.content):
        yield tflite_multiply_adds(operator.kind, operator.inputs, operator.outputs)


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

    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise MeasurementError(
                f"Multiply-adds cannot be counted: the graph has {node.op_type} of "
                f"{node.domain} in it."
            )
        yield onnx_multiply_adds(
            node.op_type,
            [shapes.get(name, ()) for name in node.input],
            [shapes.get(name, ()) for name in node.output],
        )


def _in_order(graph: Any) -> list[Any]:
    """The nodes, each behind those it depends on: ONNX Runtime's quantiser appends some late."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    needs = {
        index: {makers[name] for name in node.input if name in makers}
        for index, node in enumerate(graph.node)
    }
    return [copy.deepcopy(graph.node[index]) for index in TopologicalSorter(needs).static_order()]


def _in_keras(artifact: Artifact) -> Iterable[int]:
    from edgeclf.networks.keras_model import load_model
    from edgeclf.networks.model_stats import network_multiply_adds

    return [network_multiply_adds(load_model(artifact))]
