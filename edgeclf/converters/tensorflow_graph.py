"""TensorFlow graphs in a form that both exporters take."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

from edgeclf.converters.base import TensorFlowGraph
from edgeclf.system.memory import give_back

# Functions with these are left as calls, which no exporter knows.
_KEPT_AS_CALLS = ("_XlaMustCompile", "_noinline")


def flat_function(graph: TensorFlowGraph, shape: tuple[int | None, ...]) -> Callable[..., Any]:
    """The network as a `tf.function` of one argument, ``image``, without calls that stay calls.

    What Keras compiles with XLA (grouped convolutions) is a call to the exporters, and a tensor
    that a layer keeps outside of its variables (an adapted Normalization's mean) is an input to
    them. Here the one is inlined and the other is a constant.

    Args:
        graph: The network.
        shape: Of the images, float32.

    Returns:
        A function whose answer is ``{"probabilities": ...}``.
    """
    import tensorflow as tf

    signature = input_signature(shape)
    traced = tf.function(graph.function, input_signature=signature).get_concrete_function()
    definition = _without_marks(traced.graph.as_graph_def())
    given = {tensor.op.name for tensor in traced.inputs}  # with what is captured
    inner_nodes = [node for node in definition.node if node.name not in given]
    del definition.node[:]
    definition.node.extend(inner_nodes)
    (scores,) = traced.outputs

    def imported(image: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        for variable in traced.variables:
            graph.watch_variable(variable)  # else it cannot be frozen
        inputs = {traced.inputs[0].name: image}
        for outer, inner in traced.graph.captures:
            is_variable = outer.dtype == tf.resource
            inputs[inner.name] = graph.capture(outer) if is_variable else tf.constant(outer.numpy())
        (answer,) = tf.graph_util.import_graph_def(
            definition, input_map=inputs, return_elements=[scores.name], name="network"
        )
        return {"probabilities": answer}

    flat: Callable[..., Any] = tf.function(imported, input_signature=signature)
    return flat


def input_signature(shape: tuple[int | None, ...]) -> list[Any]:
    """What such a function takes: one tensor, whose name is none of those that are added later."""
    import tensorflow as tf

    return [tf.TensorSpec(shape, tf.float32, name="normalized")]


@contextlib.contextmanager
def exporting() -> Iterator[None]:
    """Decorates an exporter: frees the graphs it leaves behind, which refer to themselves.

    Python finds such by itself, but only after the next exporter has taken as much again; and the
    C library keeps what is free in between others' memory.
    """
    give_back()
    try:
        yield
    finally:
        gc.collect()
        give_back()


def _without_marks(definition: Any) -> Any:
    """A graph whose functions may be inlined, all of them."""
    functions = definition.library.function
    nodes = (*definition.node, *(node for function in functions for node in function.node_def))
    for marked in (*nodes, *functions):
        for name in _KEPT_AS_CALLS:
            marked.attr.pop(name, None)
    return definition
