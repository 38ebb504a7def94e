"""What every reader gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeclf.converters.base import Graph, TensorFlowGraph
from edgeclf.converters.source_spec import SourceSpec


@dataclass(frozen=True)
class ForeignModel:
    """What a reader finds.

    Attributes:
        graph: The network in the form that the converters take.
        predict: The original, from normalised float32 in its own layout to its own scores.
        input_shape: Its own, the batch included; None where a size is open.
        parameters: How many weights it has.
        format: What it was read from.
    """

    graph: Graph
    predict: Callable[[Any], Any]
    input_shape: Sequence[int | None]
    parameters: int
    format: str


def tensorflow_graph(
    function: Callable[[Any], Any], variables: Sequence[Any], source_spec: SourceSpec
) -> TensorFlowGraph:
    """The network as the converters take it: NHWC in, probabilities out."""
    import tensorflow as tf

    def probabilities(image: Any) -> Any:
        if source_spec.layout == "nchw":
            image = tf.transpose(image, (0, 3, 1, 2))
        scores = function(image)
        return tf.nn.softmax(scores) if source_spec.scores == "logits" else scores

    return TensorFlowGraph(probabilities, variables)
