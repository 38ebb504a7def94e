"""A quantised TFLite model, run in stretches that hold integers between them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgeclf.converters import tflite_weights
from edgeclf.converters.bias_correction import LinearLayer, Step, Stretch, Tensors
from edgeclf.converters.flatbuffer.tree import pack, schema, text, unpack_graph
from edgeclf.converters.tflite_running import as_type, opened
from edgeclf.runtimes.base import Float32Array


class QuantizedTFLite:
    """See `edgeclf.converters.bias_correction.QuantizedNetwork`; tensors are named by numbers.

    Args:
        model: The flatbuffer.

    Attributes:
        model: It, with what was added to its biases.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._tree, self._graph = unpack_graph(model)
        reached = set(self._graph.inputs)
        self._operators: list[int] = []  # the steps' numbers among all
        self.steps: list[Step] = []
        for number, operator in enumerate(self._graph.operators):
            given = [index for index in operator.inputs if index in reached]
            if given:
                reached.update(operator.outputs)
                self._operators.append(number)
                self.steps.append(Step(_names(given), _names(operator.outputs)))
        self._makers = {i: n for n, o in enumerate(self._graph.operators) for i in o.outputs}
        integers = (schema().TensorType.INT8, schema().TensorType.INT16)
        self.layers = [
            LinearLayer(text(output.name), step, str(operator.outputs[0]))
            for step, operator in enumerate(self._graph.operators[n] for n in self._operators)
            if tflite_weights.is_linear(self._tree, operator)
            and (output := self._graph.tensors[operator.outputs[0]]).type in integers
        ]
        self._added: dict[int, tuple[str, Any]] = {}  # by the step that adds the bias

    def images(self, image: Float32Array) -> dict[str, Any]:
        """See `QuantizedNetwork.images`."""
        (index,) = self._graph.inputs
        tensor, types = self._graph.tensors[index], schema().TensorType
        detail: dict[str, Any] = {"dtype": np.float32}
        if tensor.type != types.FLOAT32:
            dtype = np.int8 if tensor.type == types.INT8 else np.int16
            detail = {"dtype": dtype, "quantization": _scale(tensor)}
        return {str(index): as_type(image[np.newaxis], detail)}

    def opened(self, stretch: Stretch, example: Tensors) -> Callable[[Tensors], dict[str, Any]]:
        """See `QuantizedNetwork.opened`."""
        interpreter = opened(self._part(stretch))
        inputs = [detail["index"] for detail in interpreter.get_input_details()]
        outputs = [detail["index"] for detail in interpreter.get_output_details()]

        def run(tensors: Mapping[str, Any]) -> dict[str, Any]:
            for name, index in zip(stretch.given, inputs, strict=True):
                interpreter.set_tensor(index, tensors[name])
            interpreter.invoke()
            return {
                name: interpreter.get_tensor(index)
                for name, index in zip(stretch.wanted, outputs, strict=True)
            }

        return run

    def _part(self, stretch: Stretch) -> bytes:
        """A flatbuffer of some of the steps, with no tensor besides theirs."""
        given = {int(name) for name in stretch.given}
        needed, waiting = set[int](), [self._operators[step] for step in stretch.steps]
        while waiting:  # with those that compute what they need of stored values
            number = waiting.pop()
            if number in needed:
                continue
            needed.add(number)
            inputs = self._graph.operators[number].inputs
            waiting += [self._makers[i] for i in inputs if i in self._makers and i not in given]
        tree, graph = schema().ModelT(), schema().SubGraphT()
        tree.version, tree.operatorCodes = self._tree.version, self._tree.operatorCodes
        tree.buffers, tree.subgraphs = [schema().BufferT()], [graph]
        graph.tensors, places = [], {-1: -1}

        def place(index: int) -> int:
            if index not in places:
                tensor = copy.copy(self._graph.tensors[index])
                stored = self._tree.buffers[tensor.buffer]
                tensor.buffer = 0
                if stored.data is not None:
                    tree.buffers.append(stored)
                    tensor.buffer = len(tree.buffers) - 1
                graph.tensors.append(tensor)
                places[index] = len(graph.tensors) - 1
            return places[index]

        graph.operators = []
        for number in sorted(needed):
            operator = copy.copy(self._graph.operators[number])
            operator.inputs = [place(index) for index in operator.inputs]
            operator.outputs = [place(index) for index in operator.outputs]
            graph.operators.append(operator)
        graph.inputs = [place(int(name)) for name in stretch.given]
        graph.outputs = [place(int(name)) for name in stretch.wanted]
        part = pack(tree)
        for step in stretch.steps:
            if step in self._added:
                part = tflite_weights.with_added_bias(part, *self._added[step])
        return part

    def channel_means(self, tensor: str, values: Any) -> Any:
        """See `QuantizedNetwork.channel_means`."""
        scale, zero_point = _scale(self._graph.tensors[int(tensor)])
        return (values.reshape(-1, values.shape[-1]).mean(axis=0) - zero_point) * scale

    def add_to_bias(self, layer: LinearLayer, amount: Any) -> None:
        """See `QuantizedNetwork.add_to_bias`."""
        self._added[layer.step] = (layer.name, amount)
        self.model = tflite_weights.with_added_bias(self.model, layer.name, amount)


def _names(indices: Any) -> tuple[str, ...]:
    return tuple(str(index) for index in indices)


def _scale(tensor: Any) -> tuple[float, int]:
    return float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
