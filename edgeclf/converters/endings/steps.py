"""The little of a graph that its ending is found by, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from edgeclf.artifact.features import Layout

Weights = npt.NDArray[np.floating[Any]]
Kind = Literal["mean", "dense", "softmax", "same", "other"]

# What turns channels from one place to the other, and the layout before it.
_TURNS: dict[tuple[tuple[int, ...], Layout], Layout] = {
    ((0, 2, 3, 1), "nhwc"): "nchw",
    ((0, 3, 1, 2), "nchw"): "nhwc",
}
_ROWS_AND_COLUMNS: dict[tuple[int, ...], Layout] = {(1, 2): "nhwc", (2, 3): "nchw"}


@dataclass(frozen=True)
class Step:
    """An operator.

    Attributes:
        kind: ``mean`` of an image's rows and columns; ``dense``, with or without bias;
            ``softmax``; ``same`` for what changes type or shape, or adds a constant; ``other``.
        inputs: The tensors that it takes, but for constants; what it works on is the first.
        outputs: What it gives.
        layout: Of what a ``mean`` takes.
        weights: Gives float [channels, classes] of a ``dense``.
        order: In which a transposition takes the axes.
    """

    kind: Kind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layout: Layout = "nhwc"
    weights: Callable[[], Weights] | None = None
    order: tuple[int, ...] = ()


class Graph(Protocol):
    """What a format brings: a model of one output, read."""

    @property
    def steps(self) -> Sequence[Step]:
        """In the order they run."""

    @property
    def output(self) -> str:
        """The tensor that holds the probabilities."""

    def name_of(self, tensor: str) -> str:
        """The name that the file knows a tensor by; empty if there is none that is its own."""

    def shape_of(self, tensor: str) -> tuple[int, ...]:
        """Its shape for one image."""

    def stored(self) -> Iterator[npt.NDArray[Any]]:
        """The arrays that the file holds, as it holds them."""


@dataclass(frozen=True)
class Ending:
    """How a network ends.

    Attributes:
        tensor: What is averaged.
        layout: Of that.
        weights: float [channels, classes] of the dense layer that takes the mean and gives what a
            softmax takes; None where other things stand there.
    """

    tensor: str
    layout: Layout
    weights: Weights | None


def mean_layout(axes: Sequence[int]) -> Layout | None:
    """The layout whose rows and columns a mean goes over; None if it goes over others."""
    return _ROWS_AND_COLUMNS.get(tuple(sorted(int(axis) % 4 for axis in axes)))


def find_ending(graph: Graph) -> Ending | None:
    """The last mean that all of the answer goes through, as those inside of a network do not."""
    makers = {name: step for step in graph.steps for name in step.outputs}
    for mean in reversed(graph.steps):
        if mean.kind == "mean" and not _reaches_input(makers, graph.output, mean):
            tensor, layout = mean.inputs[0], mean.layout
            turn = makers.get(tensor)
            if turn is not None and (turn.order, layout) in _TURNS:
                tensor, layout = turn.inputs[0], _TURNS[turn.order, layout]
            return Ending(tensor, layout, _dense_behind(makers, graph.output, mean))
    return None


def _reaches_input(makers: Mapping[str, Step], output: str, without: Step) -> bool:
    """Whether an output is computed from the graph's input past one of its steps."""
    seen, unseen = set[str](), [output]
    while unseen:
        name = unseen.pop()
        if name not in makers:
            return True
        if makers[name] is not without and name not in seen:
            seen.add(name)
            unseen.extend(makers[name].inputs)
    return False


def _dense_behind(makers: Mapping[str, Step], output: str, mean: Step) -> Weights | None:
    """Weights, if behind the mean there are one dense layer and a softmax, and no more."""
    behind: list[Step] = []
    step = makers[output]
    while step is not mean:
        if step.kind != "same":
            behind.append(step)
        step = makers[step.inputs[0]]
    kinds, weights = [step.kind for step in behind], behind[-1].weights if behind else None
    return weights() if kinds == ["softmax", "dense"] and weights is not None else None
