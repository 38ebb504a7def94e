"""A QDQ model of ONNX Runtime's quantiser, run in stretches that hold integers between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from edgeclf.converters import onnx_graph
from edgeclf.converters.bias_correction import LinearLayer, Step, Stretch, Tensors
from edgeclf.runtimes.base import Float32Array
from edgeclf.runtimes.onnxruntime import open_session

_DEQUANTIZED = "_DequantizeLinear_Output"  # what the quantiser calls a tensor behind its pair
_QUANTIZED = "_quantized"  # what it calls stored values


class QuantizedOnnx:
    """See `edgeclf.converters.bias_correction.QuantizedNetwork`.

    A pair around a tensor is one step less: what it is quantised to belongs to the operator that
    makes it, and what it stands for to those that take it.

    Args:
        model: From the quantiser; its biases are changed in place.
        linear: Nodes of the float graph, from `onnx_graph.linear_layers`.
    """

    def __init__(self, model: Any, linear: Iterable[Any]) -> None:
        self.model = model
        self._nodes = list(model.graph.node)
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._makers = {n: i for i, node in enumerate(self._nodes) for n in node.output}
        self._pairs: dict[str, str] = {}  # what stands for integers, to these
        self._numbers: list[list[int]] = []  # each step's nodes
        self.steps: list[Step] = []
        self._find_steps()
        self.layers = sorted(self._find_layers(linear), key=lambda layer: layer.step)
        self._biases = {node.output[0]: f"{node.input[2]}{_QUANTIZED}" for node in linear}

    def _find_steps(self) -> None:
        reached, takers = {onnx_graph.FLOAT_INPUT}, dict[str, int]()
        for node in self._nodes:
            for name in onnx_graph.read_by(node):
                takers[name] = takers.get(name, 0) + 1
        makers: dict[str, int] = {}
        answers = {value.name for value in self.model.graph.output}
        for number, node in enumerate(self._nodes):
            given = [name for name in onnx_graph.read_by(node) if name in reached]
            if not given:
                continue  # of stored values alone
            reached.update(node.output)
            before = makers.get(given[0])
            if node.op_type == "DequantizeLinear":
                self._pairs[node.output[0]] = given[0]
            elif (node.op_type == "QuantizeLinear" and before is not None
                  and takers[given[0]] == 1 and given[0] not in answers):  # fmt: skip
                self._numbers[before].append(number)
                own = self.steps[before]
                made = (node.output[0] if name == given[0] else name for name in own.made)
                self.steps[before] = Step(own.given, tuple(made))
                makers[node.output[0]] = before
            else:
                taken = dict.fromkeys(self._pairs.get(name, name) for name in given)
                makers.update(dict.fromkeys(node.output, len(self.steps)))
                self.steps.append(Step(tuple(taken), tuple(node.output)))
                self._numbers.append([number])

    def _find_layers(self, linear: Iterable[Any]) -> Iterable[LinearLayer]:
        """Those whose bias and answer are quantised; others were left in float."""
        makers = {name: number for number, step in enumerate(self.steps) for name in step.made}
        for node in linear:
            name = node.output[0]
            output = self._pairs.get(f"{name}{_DEQUANTIZED}")
            if output is None or f"{node.input[2]}{_QUANTIZED}" not in self._stored:
                continue
            first = self._nodes[self._numbers[makers[output]][0]]
            if name in first.output:
                yield LinearLayer(name, makers[output], output)

    def images(self, image: Float32Array) -> dict[str, Any]:
        """See `QuantizedNetwork.images`."""
        return {onnx_graph.FLOAT_INPUT: image[np.newaxis]}

    def opened(self, stretch: Stretch, example: Tensors) -> Callable[[Tensors], dict[str, Any]]:
        """See `QuantizedNetwork.opened`."""
        import onnx

        given = set(stretch.given)
        needed, waiting = set[int](), [i for step in stretch.steps for i in self._numbers[step]]
        while waiting:  # with what makes floats of integers, and what is made of stored values
            number = waiting.pop()
            if number in needed:
                continue
            needed.add(number)
            names = [n for n in onnx_graph.read_by(self._nodes[number]) if n not in given]
            waiting += [self._makers[name] for name in names if name in self._makers]
        nodes = [self._nodes[number] for number in sorted(needed)]
        read = {name for node in nodes for name in onnx_graph.read_by(node)}
        inputs = []
        for name in stretch.given:
            kind = onnx.helper.np_dtype_to_tensor_dtype(example[name].dtype)
            inputs.append(onnx.helper.make_tensor_value_info(name, kind, example[name].shape))
        graph = onnx.helper.make_graph(
            nodes,
            self.model.graph.name,
            inputs,
            [onnx.helper.make_empty_tensor_value_info(name) for name in stretch.wanted],
            [tensor for name, tensor in self._stored.items() if name in read],
        )
        part = onnx.helper.make_model(
            graph, opset_imports=list(self.model.opset_import), ir_version=self.model.ir_version
        )
        session, wanted = open_session(part.SerializeToString()), list(stretch.wanted)

        def run(tensors: Mapping[str, Any]) -> dict[str, Any]:
            return dict(zip(wanted, session.run(wanted, dict(tensors)), strict=True))

        return run

    def channel_means(self, tensor: str, values: Any) -> Any:
        """See `QuantizedNetwork.channel_means`."""
        from onnx import numpy_helper

        quantize = self._nodes[self._makers[tensor]]
        scale, zero_point = (numpy_helper.to_array(self._stored[n]) for n in quantize.input[1:3])
        steps = values.reshape(*values.shape[:2], -1).mean(axis=(0, 2))
        return (steps - zero_point.item()) * scale.item()

    def add_to_bias(self, layer: LinearLayer, amount: Any) -> None:
        """See `QuantizedNetwork.add_to_bias`."""
        onnx_graph.add_to_bias(self.model, self._biases[layer.name], amount)
