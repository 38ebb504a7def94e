"""What is in a TFLite model; the functions take its flatbuffer as bytes."""

from __future__ import annotations

from edgeclf.converters.flatbuffer.tree import operator_name, schema, text, unpack_graph

WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_HEAD = (
    "SOFTMAX",
    "LOGISTIC",
    "SUB",
    "CONCATENATION",
    "RESHAPE",
)  # what makes probabilities of logits


def input_name(model: bytes) -> str:
    """Name of the first graph's first input tensor; asked so often that no tree is made for it."""
    graph = schema().Model.GetRootAs(model).Subgraphs(0)
    return text(graph.Tensors(graph.Inputs(0)).Name())


def tensor_ranks(model: bytes) -> dict[str, int]:
    """Number of dimensions of each tensor, by name."""
    _, graph = unpack_graph(model)
    return {text(tensor.name): len(tensor.shape) for tensor in graph.tensors}


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


def head_tensors(model: bytes) -> tuple[str | None, list[str]]:
    """The dense layer's output that probabilities are made of, and what is computed of it.

    Returns:
        The name of the logits, None where no dense layer stands there; and the names of the
        tensors behind them, up to the output.
    """
    tree, graph = unpack_graph(model)
    makers = {operator.outputs[0]: operator for operator in graph.operators}
    operator = makers.get(graph.outputs[0])
    behind: list[str] = []
    while operator is not None:
        name = text(graph.tensors[operator.outputs[0]].name)
        kind = operator_name(tree, operator)
        if kind == "FULLY_CONNECTED" and behind:
            return name, behind
        if kind not in _HEAD:
            break
        behind.append(name)
        operator = next((makers[i] for i in operator.inputs if i in makers), None)
    return None, []
