"""What is in a TFLite model; the functions take its flatbuffer as bytes."""

from __future__ import annotations

from edgeclf.converters.flatbuffer.tree import operator_name, text, unpack_graph

WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def input_name(model: bytes) -> str:
    """Name of the only graph's only input tensor."""
    _, graph = unpack_graph(model)
    (index,) = graph.inputs
    return text(graph.tensors[index].name)


def tensor_ranks(model: bytes) -> dict[str, int]:
    """Number of dimensions of each tensor, by name."""
    _, graph = unpack_graph(model)
    return {text(tensor.name): len(tensor.shape) for tensor in graph.tensors}


def constant_tensors(model: bytes) -> set[int]:
    """Indices of the tensors whose values are stored in the file."""
    tree, graph = unpack_graph(model)
    return {index for index, tensor in enumerate(graph.tensors)
            if tree.buffers[tensor.buffer].data is not None}  # fmt: skip


def operator_outputs(model: bytes) -> dict[str, str]:
    """Name of each operator's first output to the operator's name, in the order they run."""
    tree, graph = unpack_graph(model)
    return {text(graph.tensors[operator.outputs[0]].name): operator_name(tree, operator)
            for operator in graph.operators}  # fmt: skip


def image_layers(model: bytes) -> set[str]:
    """Outputs of the layers with weights that the image reaches before any other such layer."""
    tree, graph = unpack_graph(model)
    reached, found = set(graph.inputs), set()
    for operator in graph.operators:
        if reached.intersection(operator.inputs):
            if operator_name(tree, operator) in WITH_WEIGHTS:
                found.add(text(graph.tensors[operator.outputs[0]].name))
            else:
                reached.update(operator.outputs)
    return found


def logits_layer(model: bytes) -> str | None:
    """Output of the dense layer that the last softmax takes; None where there is none."""
    tree, graph = unpack_graph(model)
    makers = {operator.outputs[0]: operator for operator in graph.operators}
    last = makers.get(graph.outputs[0])
    if last is None or operator_name(tree, last) != "SOFTMAX":
        return None
    dense = makers.get(last.inputs[0])
    if dense is None or operator_name(tree, dense) != "FULLY_CONNECTED":
        return None
    return text(graph.tensors[dense.outputs[0]].name)
