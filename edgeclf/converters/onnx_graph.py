"""Edits of ONNX graphs that the converter needs and no tool of its makes.

The functions work on ModelProto objects. A float graph is a network from `FLOAT_INPUT`, normalised
float32 [N, H, W, 3], to `OUTPUT`, probabilities float32 [N, classes].
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeclf.artifact import Normalization
from edgeclf.converters.base import FileGraph
from edgeclf.converters.gptq import Layer
from edgeclf.converters.onnx_edges import add_head, take_rgb
from edgeclf.errors import ConversionError, mapped
from edgeclf.runtimes.onnxruntime import OnnxRuntime

FLOAT_INPUT, OUTPUT = "image_float", "probabilities"
DENSE = ("MatMul", "Gemm")
_HEAD = ("Softmax", "Sigmoid", "Add", "Sub", "Concat")  # what may stand behind the logits
_INPUT = "image"


def as_float_graph(graph: FileGraph) -> Any:
    """A model from elsewhere as a float graph: NHWC in, probabilities out, with their names."""
    import onnx
    from onnx import TensorProto

    with mapped(ConversionError, "The ONNX model cannot be read"):
        model = onnx.load_from_string(graph.content)
        onnx.checker.check_model(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [given for given in model.graph.input if given.name not in constants]
    for role, values in (("input", inputs), ("output", model.graph.output)):
        types = [TensorProto.DataType.Name(v.type.tensor_type.elem_type) for v in values]
        if types != ["FLOAT"]:
            raise ConversionError(
                f"The ONNX model's {role}s are {types}; expected one of FLOAT. A model that is "
                "quantised already cannot be converted again; take the one it was made from."
            )
    add_head(model, graph.head)
    take_rgb(model, inputs[0], graph.channels, channels_first=graph.channels_first)
    return with_public_names(model)


def with_public_names(model: Any) -> Any:
    """Renames a model's only input and output to those of a float graph, in place."""
    constants = {tensor.name for tensor in model.graph.initializer}
    (given,) = (value for value in model.graph.input if value.name not in constants)
    (answer,) = model.graph.output
    _rename(model, given.name, FLOAT_INPUT)
    _rename(model, answer.name, OUTPUT)
    return model


def _rename(model: Any, old: str, new: str) -> None:
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        if value.name == old:
            value.name = new


def with_bytes_input(float_graph: Any, scheme: Normalization) -> bytes:
    """Puts what turns bytes into the float graph's input before it, and gives the file's bytes."""
    from onnx import TensorProto, helper, numpy_helper

    model = copy.deepcopy(float_graph)
    graph = model.graph
    (given,) = (value for value in graph.input if value.name == FLOAT_INPUT)
    nodes: list[Any] = []

    def constant(name: str, values: Any) -> str:
        graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    if scheme.is_exact:
        parameters = [
            constant("image_scale", np.array(1 / scheme.stds[0], np.float32)),
            constant("image_zero_point", np.array(round(scheme.means[0]), np.uint8)),
        ]
        quantize = [n for n in graph.node
                    if n.op_type == "QuantizeLinear" and n.input[0] == FLOAT_INPUT]  # fmt: skip
        others = [n for n in graph.node if FLOAT_INPUT in n.input and n not in quantize]
        for node in quantize:  # what it would compute are the bytes themselves
            _rename(model, node.output[0], _INPUT)
            graph.node.remove(node)
        if others:
            nodes.append(helper.make_node("DequantizeLinear", [_INPUT, *parameters], [FLOAT_INPUT]))
    else:
        means, stds = (np.array(v, np.float32) for v in (scheme.means, scheme.stds))
        nodes += [
            helper.make_node("Cast", [_INPUT], ["image_cast"], to=TensorProto.FLOAT),
            helper.make_node(
                "Sub", ["image_cast", constant("image_mean", means)], ["image_centred"]
            ),
            helper.make_node("Div", ["image_centred", constant("image_std", stds)], [FLOAT_INPUT]),
        ]
    for node in reversed(nodes):
        graph.node.insert(0, node)
    given.name = _INPUT
    given.type.tensor_type.elem_type = TensorProto.UINT8
    return bytes(model.SerializeToString())


def free_batch(model: Any) -> None:
    """Lets the model take any number of images, where nothing in it stands against that."""
    onnxruntime: Any = OnnxRuntime.import_engine()
    values = (*model.graph.input, *model.graph.output)
    dimensions = [value.type.tensor_type.shape.dim for value in values]
    kept = [copy.deepcopy(dims[0]) for dims in dimensions]
    for dims in dimensions:
        dims[0].dim_param = "N"
    shape = [2, *(dim.dim_value for dim in dimensions[0][1:])]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # a failure here is an answer, not a fault
    works = False
    with contextlib.suppress(Exception):  # whatever the engine raises, it means no
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        (answer,) = session.run(None, {FLOAT_INPUT: np.zeros(shape, np.float32)})
        works = len(answer) == 2
    if not works:
        for dims, old in zip(dimensions, kept, strict=True):
            dims[0].CopyFrom(old)


def weight_layers(model: Any) -> list[Layer]:
    """The float layers whose weights can be rounded, named after their weights."""
    from onnx import helper, numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "MatMul", "Gemm") or node.input[1] not in stored:
            continue
        values = numpy_helper.to_array(stored[node.input[1]])
        given = node.input[0]
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type != "Conv":
            outputs_first = attributes.get("transB", 0) == 1
            if values.ndim == 2 and not attributes.get("transA", 0):
                shaped = (values if outputs_first else values.T)[np.newaxis]
                layers.append(Layer(node.input[1], given, np.ascontiguousarray(shaped)))
            continue
        outputs, inputs, *kernel = values.shape
        groups = attributes.get("group", 1)
        plain = (
            len(kernel) == 2
            and groups in (1, outputs)
            and (groups == 1 or inputs == 1)
            and set(attributes.get("dilations", [1])) == {1}
            and attributes.get("auto_pad", b"NOTSET") in (b"NOTSET", b"SAME_UPPER", b"VALID")
        )
        if not plain:
            continue
        top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
        same = attributes.get("auto_pad") == b"SAME_UPPER"
        layers.append(
            Layer(
                node.input[1],
                given,
                np.ascontiguousarray(values.transpose(0, 2, 3, 1)).reshape(
                    groups, outputs // groups, -1
                ),
                (kernel[0], kernel[1]),
                tuple(attributes.get("strides", [1, 1])),
                None if same else ((top, bottom), (left, right)),
            )
        )
    return layers


def logits_tail(model: Any) -> list[str]:
    """Tensors from the last dense layer's output to the probabilities."""
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(OUTPUT)
    tail: list[str] = []
    while node is not None and node.op_type in (*_HEAD, *DENSE):
        tail.append(node.output[0])
        if node.op_type in DENSE:
            return tail
        node = next((makers[name] for name in node.input if name in makers), None)
    return []


def with_weights(model: Any, weights: Mapping[str, Any]) -> Any:
    """A copy with other weights, by name and in the shape of `weight_layers`."""
    from onnx import numpy_helper

    changed = copy.deepcopy(model)
    transposed = {node.input[1] for node in model.graph.node if node.op_type == "MatMul"
                  or (node.op_type == "Gemm" and not any(a.name == "transB" and a.i
                                                         for a in node.attribute))}  # fmt: skip
    for tensor in changed.graph.initializer:
        values = weights.get(tensor.name)
        if values is None:
            continue
        if len(tensor.dims) == 4:  # [groups, outputs, rows * columns * channels] to OIHW
            outputs, inputs, rows, columns = tensor.dims
            shaped = values.reshape(outputs, rows, columns, inputs).transpose(0, 3, 1, 2)
        else:
            shaped = values[0].T if tensor.name in transposed else values[0]
        tensor.CopyFrom(
            numpy_helper.from_array(np.ascontiguousarray(shaped, np.float32), tensor.name)
        )
    return changed


def with_added_bias(model: Any, name: str, amount: Any) -> Any:
    """A copy with more in a quantised bias.

    Args:
        model: From the quantiser.
        name: Of the bias, stored as int32; its scale lies beside it.
        amount: float [channels], in the layer's own units.
    """
    from onnx import numpy_helper

    changed = copy.deepcopy(model)
    stored = {tensor.name: tensor for tensor in changed.graph.initializer}
    steps = np.rint(amount / numpy_helper.to_array(stored[f"{name}_scale"]))
    limits = np.iinfo(np.int32)
    added = np.clip(numpy_helper.to_array(stored[name]) + steps, limits.min, limits.max)
    stored[name].CopyFrom(numpy_helper.from_array(added.astype(np.int32), name))
    return changed


def linear_layers(model: Any) -> list[Any]:
    """Convolutions with a bias whose output no activation function takes."""
    activated = {name for node in model.graph.node if node.op_type in ("Clip", "Relu")
                 for name in node.input}  # fmt: skip
    return [node for node in model.graph.node
            if node.op_type == "Conv" and len(node.input) > 2
            and node.output[0] not in activated]  # fmt: skip
