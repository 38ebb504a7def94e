"""The first and the last steps of an ONNX model from elsewhere, where they are not a float graph's.

The functions change a ModelProto in place.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from edgeclf.converters.channels import LUMA, TURNED
from edgeclf.converters.scores import Head
from edgeclf.converters.source_spec import Channels


class _Names:
    """Names that no tensor of a graph has yet."""

    def __init__(self, graph: Any) -> None:
        self._taken = {value.name for value in (*graph.input, *graph.initializer)}
        self._taken |= {name for node in graph.node for name in node.output}

    def new(self, wanted: str) -> str:
        while wanted in self._taken:
            wanted += "_"
        self._taken.add(wanted)
        return wanted


def add_head(model: Any, head: Head) -> None:
    """Puts what makes probabilities of the only output's scores behind it."""
    from onnx import helper, numpy_helper

    graph = model.graph
    names = _Names(graph)
    (answer,) = graph.output
    scores = answer.name

    def append(operator: str, inputs: list[str], **attributes: Any) -> str:
        name = names.new(f"scores_{operator.lower()}")
        graph.node.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    if not head.single:
        answer.name = append("Softmax", [scores], axis=-1) if head.logits else scores
        return
    second = append("Sigmoid", [scores]) if head.logits else scores
    one = names.new("scores_one")
    graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), one))
    answer.name = append("Concat", [append("Sub", [one, second]), second], axis=1)
    answer.type.tensor_type.shape.dim[1].dim_value = 2


def take_rgb(model: Any, given: Any, channels: Channels, *, channels_first: bool) -> None:
    """Puts what makes a model's own input of RGB float32 [N, H, W, 3] before it.

    Args:
        model: The model.
        given: Its input, one of ``model.graph.input``, which is replaced.
        channels: What it takes.
        channels_first: Whether in the layout [N, C, H, W].
    """
    from onnx import helper, numpy_helper

    if channels == "rgb" and not channels_first:
        return
    graph = model.graph
    names = _Names(graph)
    outer = copy.deepcopy(given)
    outer.name = names.new("image_rgb")
    nodes: list[Any] = []

    def append(operator: str, constants: list[Any], **attributes: Any) -> None:
        inputs = [nodes[-1].output[0] if nodes else outer.name]
        for values in constants:
            inputs.append(names.new("image_channels"))
            graph.initializer.append(numpy_helper.from_array(values, inputs[-1]))
        name = names.new(f"image_{operator.lower()}")
        nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))

    if channels == "bgr":
        append("Gather", [np.array(TURNED)], axis=3)
    if channels == "grey" or channels_first:
        append("Transpose", [], perm=[0, 3, 1, 2])
    if channels == "grey":
        append("Conv", [np.array(LUMA, np.float32).reshape(1, 3, 1, 1)])
        if not channels_first:
            append("Transpose", [], perm=[0, 2, 3, 1])
    nodes[-1].output[0] = given.name
    dims = outer.type.tensor_type.shape.dim
    if channels_first:
        batch, _, height, width = (copy.deepcopy(dim) for dim in dims)
        for dim, value in zip(dims, (batch, height, width), strict=False):
            dim.CopyFrom(value)
    dims[3].Clear()
    dims[3].dim_value = 3
    for node in reversed(nodes):
        graph.node.insert(0, node)
    graph.input.remove(given)
    graph.input.append(outer)
