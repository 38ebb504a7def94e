"""The ending of a TFLite model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeclf.converters.endings.steps import Kind, Step, Weights, mean_layout
from edgeclf.converters.flatbuffer.tree import (
    STORED,
    operator_name,
    schema,
    stored_floats,
    text,
    type_name,
    unpack_graph,
)

_SAME = ("CAST", "DEQUANTIZE", "EXPAND_DIMS", "QUANTIZE", "RESHAPE", "SQUEEZE", "TRANSPOSE")
_DENSE = ("CONV_2D", "FULLY_CONNECTED")


class TFLiteGraph:
    """See `edgeclf.converters.endings.steps.Graph`; tensors go by their index.

    Args:
        model: A flatbuffer with one graph.
    """

    def __init__(self, model: bytes) -> None:
        self._tree, self._graph = unpack_graph(model)
        self._stored: dict[int, Any] = {  # tensor of a constant, by the index of what it becomes
            index: tensor
            for index, tensor in enumerate(self._graph.tensors)
            if self._tree.buffers[tensor.buffer].data is not None
        }
        self.steps: list[Step] = []
        for operator in self._graph.operators:
            given, kind = operator.inputs, operator_name(self._tree, operator)
            if kind == "DEQUANTIZE" and given[0] in self._stored:  # weights of fewer bits
                self._stored[operator.outputs[0]] = self._stored[given[0]]
            else:
                self.steps.append(self._step(kind, operator))
        self.output = str(self._graph.outputs[0])

    def name_of(self, tensor: str) -> str:
        """See `Graph.name_of`."""
        names = [text(each.name) for each in self._graph.tensors]
        name = names[int(tensor)]
        return name if names.count(name) == 1 else ""

    def shape_of(self, tensor: str) -> tuple[int, ...]:
        """See `Graph.shape_of`."""
        return self._shape(int(tensor))

    def stored(self) -> Iterator[Any]:
        """See `Graph.stored`."""
        for tensor in self._stored.values():
            kind = STORED.get(type_name(tensor.type))
            if kind is not None:
                yield np.frombuffer(
                    np.asarray(self._tree.buffers[tensor.buffer].data).tobytes(), kind
                )

    def _shape(self, index: int) -> tuple[int, ...]:
        return tuple(int(size) for size in self._graph.tensors[index].shape)

    def _step(self, name: str, operator: Any) -> Step:
        given = [int(index) for index in operator.inputs]
        computed = [i for i in given if i >= 0 and i not in self._stored]
        constants = [i for i in given if i in self._stored]
        inputs = tuple(map(str, computed)) if name != "SHAPE" else ()
        outputs = tuple(str(int(index)) for index in operator.outputs)
        kind: Kind = "other"
        if name == "MEAN" and len(constants) == 1 and len(self._shape(given[0])) == 4:
            if layout := mean_layout(self._values(given[1]).astype(int).tolist()):
                return Step("mean", inputs, outputs, layout)
        elif name == "AVERAGE_POOL_2D":
            kind = "mean" if self._takes_all(operator) else "other"
        elif name == "SOFTMAX":
            kind = "softmax"
        elif name == "TRANSPOSE" and constants:
            order = tuple(self._values(given[1]).astype(int).tolist())
            return Step("same", inputs, outputs, order=order)
        elif name in _SAME or (name == "ADD" and constants and self._is_linear(operator)):
            kind = "same"
        elif name in _DENSE and self._is_dense(operator):
            return Step("dense", inputs, outputs, weights=lambda: self._weights(given[1]))
        return Step(kind, inputs, outputs)

    def _values(self, index: int) -> Any:
        return stored_floats(self._tree, self._stored[index])

    def _weights(self, index: int) -> Weights:
        values = self._values(index)
        weights: Weights = values.reshape(len(values), -1).T
        return weights

    def _is_dense(self, operator: Any) -> bool:
        """Whether it multiplies each position by stored weights [classes, channels], no more."""
        weights = int(operator.inputs[1])
        return (
            weights in self._stored
            and set(self._shape(weights)[1:-1]) <= {1}
            and self._is_linear(operator)
        )

    @staticmethod
    def _is_linear(operator: Any) -> bool:
        activation: int = operator.builtinOptions.fusedActivationFunction
        none: int = schema().ActivationFunctionType.NONE
        return activation == none

    def _takes_all(self, operator: Any) -> bool:
        """Whether a pooling's window is the whole image, once."""
        options = operator.builtinOptions
        _, rows, columns, _ = self._shape(operator.inputs[0])
        return (
            (options.filterHeight, options.filterWidth) == (rows, columns)
            and self._shape(operator.outputs[0])[1:3] == (1, 1)
            and self._is_linear(operator)
        )
