"""What a network costs, counted in its graph."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from edgeclf.errors import MeasurementError
from edgeclf.networks.backend import keras
from edgeclf.networks.builder import Backbone, build_classifier, input_spec

# What multiplies in a way that is not counted here: an answer without it would be too small.
_UNCOUNTED = {"Dot", "Matmul", "Einsum", "Attention", "AdditiveAttention"}


def backbone_figures(backbone: Backbone, input_size: int | None = None) -> dict[str, int]:
    """Builds a backbone and counts it, up to its pooled features.

    Args:
        backbone: The network.
        input_size: Rows and columns; its own by default.

    Returns:
        ``input_size``, ``parameters``, ``channels`` of the pooled features, ``multiply_adds``.
    """
    spec = input_spec(backbone, input_size)
    model = build_classifier(backbone, 2, spec)
    body = keras.Model(model.input, model.get_layer("features").output)
    return {
        "input_size": spec.height,
        "parameters": int(body.count_params()),
        "channels": int(body.output.shape[-1]),
        "multiply_adds": network_multiply_adds(body),
    }


def network_multiply_adds(model: keras.Model) -> int:
    """Multiplications with an addition in one forward pass of one image.

    Counted as `edgeclf.networks.artifact_stats` says.

    Raises:
        MeasurementError: A layer is not counted, or the network leaves a shape open.
    """
    return sum(_products(model))


def _products(model: Any) -> Iterator[int]:
    network = getattr(model, "_functional", None) or model  # of a Sequential one
    if not hasattr(network, "_nodes_by_depth"):
        raise _uncounted(type(model).__name__)
    # A layer that is used twice is two nodes, each with its own shapes.
    for node in (node for nodes in network._nodes_by_depth.values() for node in nodes):
        layer, kind = node.operation, type(node.operation).__name__
        inputs, outputs = (
            [_without_batch(tensor) for tensor in tensors]
            for tensors in (node.input_tensors, node.outputs)
        )
        if isinstance(layer, keras.Model):
            yield from _products(layer)
        elif kind in ("Conv1D", "Conv2D"):  # kernel [rows, columns, I / groups, O]
            yield prod(outputs[0]) * prod(layer.kernel.shape[:-1])
        elif kind == "DepthwiseConv2D":  # kernel [rows, columns, I, O / I]
            yield prod(outputs[0]) * prod(layer.kernel.shape[:2])
        elif kind == "SeparableConv2D":
            filters = layer.pointwise_kernel.shape[-1]
            positions = prod(outputs[0]) // filters
            yield positions * prod(layer.depthwise_kernel.shape)
            yield prod(outputs[0]) * prod(layer.pointwise_kernel.shape[:-1])
        elif kind == "Conv2DTranspose":  # kernel [rows, columns, O, I]
            yield prod(inputs[0]) * prod(layer.kernel.shape[:-1])
        elif kind == "Dense":  # kernel [I, O]
            yield prod(outputs[0]) * layer.kernel.shape[0]
        elif kind in _UNCOUNTED or (
            kind != "PReLU" and any(len(w.shape) > 1 for w in getattr(layer, "weights", ()))
        ):
            raise _uncounted(kind)


def _without_batch(tensor: Any) -> tuple[int, ...]:
    shape = tuple(tensor.shape[1:])
    if None in shape:
        raise MeasurementError(
            f"Multiply-adds cannot be counted: the network leaves {tensor.name!r} open in size."
        )
    return shape


def _uncounted(kind: str) -> MeasurementError:
    return MeasurementError(f"Multiply-adds cannot be counted: the graph has {kind} in it.")
