"""The ending of an ONNX model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from edgeclf.converters.endings.steps import Kind, Step, Weights, mean_layout
from edgeclf.converters.onnx_weights import messages
from edgeclf.errors import ConversionError, mapped
from edgeclf.runtimes.onnxruntime import open_session
from edgeclf.runtimes.tap import onnx_with_output

_SAME = ("Cast", "DequantizeLinear", "Dropout", "Flatten", "Identity", "QuantizeLinear", "Reshape",
         "Squeeze", "Transpose", "Unsqueeze")  # fmt: skip
_KINDS: dict[str, Kind] = {**dict.fromkeys(_SAME, "same"), "Softmax": "softmax"}


class OnnxGraph:
    """See `edgeclf.converters.endings.steps.Graph`.

    Args:
        content: A model, or an artifact, from uint8 [N, H, W, 3].
    """

    def __init__(self, content: bytes) -> None:
        import onnx

        self._content = content
        with mapped(ConversionError, "The ONNX model cannot be read"):
            self._model = onnx.load_from_string(content)
        self._stored = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self._folded: dict[str, Any] = {}  # nodes that take constants alone, by their output
        self.steps: list[Step] = []
        for node in self._model.graph.node:
            if all(not name or self._is_constant(name) for name in _inputs(node)):
                self._folded.update(dict.fromkeys(node.output, node))
            else:
                self.steps.append(self._step(node))
        self.output = self._model.graph.output[0].name

    def name_of(self, tensor: str) -> str:
        """See `Graph.name_of`."""
        return tensor if any(tensor in step.outputs for step in self.steps) else ""

    def shape_of(self, tensor: str) -> tuple[int, ...]:
        """See `Graph.shape_of`; what ONNX Runtime says, which also knows what others leave open.

        Raises:
            ConversionError: It does not give that tensor as floats.
        """
        model = onnx_with_output(self._content, tensor.encode())
        assert model is not None  # a node gives it
        with mapped(ConversionError, "onnxruntime cannot give the features"):
            session = open_session(model)
            given = session.get_inputs()[0]
            image = np.zeros((1, *given.shape[1:]), np.uint8)
            (values,) = session.run([tensor], {given.name: image})
        if values.dtype not in (np.float32, np.float16):
            raise ConversionError(f"The features are {values.dtype}; expected floats.")
        return tuple(values.shape)

    def stored(self) -> Iterator[Any]:
        """See `Graph.stored`."""
        from onnx import numpy_helper

        for tensor in messages(self._model, "TensorProto"):
            if tensor.data_type != tensor.STRING:
                yield numpy_helper.to_array(tensor)

    def _is_constant(self, name: str) -> bool:
        return name in self._stored or name in self._folded

    def _step(self, node: Any) -> Step:
        from onnx import helper

        inputs = tuple(name for name in _inputs(node) if name and not self._is_constant(name))
        outputs, name = tuple(node.output), node.op_type
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if name == "Shape":
            return Step("other", (), outputs)
        if name == "GlobalAveragePool" or (name == "AveragePool" and self._takes_all(node)):
            return Step("mean", inputs, outputs, "nchw")
        if name == "ReduceMean":
            axes = settings.get("axes") or (self._value(node.input[1]) if node.input[1:] else ())
            if layout := mean_layout(axes):
                return Step("mean", inputs, outputs, layout)
        if name == "Transpose":
            return Step("same", inputs, outputs, order=tuple(settings.get("perm", ())))
        if name in ("MatMul", "Gemm", "Conv") and self._is_dense(node, settings):
            turned = name == "Conv" or settings.get("transB", 0)
            return Step("dense", inputs, outputs, weights=lambda: self._weights(node, turned))
        added = name == "Add" and len(inputs) == 1
        return Step("same" if added else _KINDS.get(name, "other"), inputs, outputs)

    def _is_dense(self, node: Any, settings: dict[str, Any]) -> bool:
        """Whether it multiplies each position by stored weights, and no more."""
        if not self._is_constant(node.input[1]) or self._is_constant(node.input[0]):
            return False
        kernel = settings.get("kernel_shape", ())
        return (
            settings.get("alpha", 1.0) == 1.0
            and not settings.get("transA", 0)
            and settings.get("group", 1) == 1
            and set(kernel) <= {1}
            and (node.op_type != "Conv" or bool(kernel))
        )

    def _weights(self, node: Any, turned: bool) -> Weights:
        values: Weights = np.asarray(self._value(node.input[1]), np.float32)
        values = values.reshape(values.shape[:2]) if node.op_type == "Conv" else values
        return values.T if turned else values

    def _value(self, name: str) -> Any:
        """What a constant is, computed where it has to be."""
        from onnx import numpy_helper
        from onnx.reference import ReferenceEvaluator

        if name in self._stored:
            return numpy_helper.to_array(self._stored[name])
        node = self._folded[name]
        values = {each: self._value(each) for each in node.input if each}
        with mapped(ConversionError, f"The constant {name} cannot be computed"):
            outputs = ReferenceEvaluator(node).run(None, values)
        return outputs[list(node.output).index(name)]

    def _takes_all(self, node: Any) -> bool:
        """Whether a pooling's window is the whole image, once."""
        from onnx import helper

        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        shape = self._shapes.get(node.input[0], ())
        return list(shape[2:]) == list(settings["kernel_shape"]) and not any(
            settings.get("pads", ())
        )

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        from onnx import shape_inference

        with mapped(ConversionError, "onnx cannot tell the shapes in this model"):
            inferred = shape_inference.infer_shapes(self._model)
        return {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*inferred.graph.value_info, *inferred.graph.input)
        }


def _inputs(node: Any) -> list[str]:
    """What a node takes, also in the graphs inside of it."""
    inner = list(messages(node, "NodeProto"))[1:]
    made = {name for each in inner for name in each.output}
    return [*node.input, *(n for each in inner for n in each.input if n not in made)]
