"""Edits of ONNX graphs that the converter needs and no tool of its makes.

The functions work on ModelProto objects. A float graph is a network from `FLOAT_INPUT`, normalised
float32 [N, H, W, 3], to `OUTPUT`, probabilities float32 [N, classes].
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgeclf.artifact import Normalization
from edgeclf.converters import onnx_import
from edgeclf.converters.base import FileGraph
from edgeclf.converters.channels import count_of
from edgeclf.converters.layer_inputs import Layer
from edgeclf.converters.onnx_edges import add_head, take_rgb
from edgeclf.converters.onnx_import import rename
from edgeclf.converters.source_spec import Channels
from edgeclf.errors import ConversionError, mapped
from edgeclf.image import ImageSpec
from edgeclf.runtimes.onnxruntime import open_session, session_options

FLOAT_INPUT, OUTPUT = "image_float", "probabilities"
DENSE = ("MatMul", "Gemm")
_ACTIVATIONS = ("Clip", "Relu")
_HEAD = ("Softmax", "Sigmoid", "Add", "Sub", "Concat")  # what may stand behind the logits
_INPUT = "image"
_OURS = frozenset((
    FLOAT_INPUT, OUTPUT, _INPUT, "image_cast", "image_centred", "image_floats", "image_mean",
    "image_scale", "image_std", "image_zero_point", "scores_Cast", "scores_Reshape", "scores_shape",
))  # fmt: skip
_SAME_ANSWER = 1e-4  # of probabilities
_SAME_SCALE = 1e-4  # relative: float32, and the ways to compute it


def as_float_graph(graph: FileGraph, image: ImageSpec, classes: int) -> Any:
    """A model from elsewhere as a float graph: NHWC in, probabilities out, with their names.

    Args:
        graph: With all its weights.
        image: How large its pictures are.
        classes: How many scores it answers for one.

    Raises:
        ConversionError: It cannot be edited, or takes only several images at a time.
    """
    import onnx

    with mapped(ConversionError, "The ONNX model cannot be read"):
        model = onnx.load_from_string(graph.content)
        onnx.checker.check_model(model)
    output = graph.output or model.graph.output[0].name
    model = onnx_import.as_plain(model, output, _OURS)
    _take_images(model, image, graph.channels, channels_first=graph.channels_first)
    _answer_rows(model, 1 if graph.single else classes)
    add_head(model, graph.head)
    return with_public_names(model)


def _take_images(model: Any, image: ImageSpec, channels: Channels, *, channels_first: bool) -> None:
    """Lets the model take float32 images [N, H, W, 3]."""
    from onnx import TensorProto, helper

    (given,) = model.graph.input
    name, kind = given.name, given.type.tensor_type
    if kind.elem_type != TensorProto.FLOAT:
        cast = helper.make_node("Cast", ["image_floats"], [name], to=kind.elem_type)
        model.graph.node.insert(0, cast)
        name = "image_floats"
    batch = kind.shape.dim[0].dim_value
    sizes: tuple[int, ...] = (image.height, image.width)
    sizes = (count_of(channels), *sizes) if channels_first else (*sizes, count_of(channels))
    shape = [batch if batch > 0 else "N", *sizes]
    given.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    take_rgb(model, given, channels, channels_first=channels_first)


def _answer_rows(model: Any, scores: int) -> None:
    """Lets the model answer its scores as float32 [N, scores]."""
    from onnx import TensorProto, helper, numpy_helper, shape_inference

    (answer,) = shape_inference.infer_shapes(model).graph.output
    kind, name = answer.type.tensor_type, answer.name
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    if kind.elem_type not in (TensorProto.FLOAT, TensorProto.UNDEFINED):
        steps.append(("Cast", [], {"to": TensorProto.FLOAT}))
    if len(kind.shape.dim) != 2:  # as [N, C, 1, 1], [N, 1, 1, C], or [C] for one
        shape = numpy_helper.from_array(np.array([-1, scores]), "scores_shape")
        model.graph.initializer.append(shape)
        steps.append(("Reshape", [shape.name], {}))
    for operator, others, attributes in steps:
        made = f"scores_{operator}"
        node = helper.make_node(operator, [name, *others], [made], made, **attributes)
        model.graph.node.append(node)
        name = made
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or "N"
    answered = helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, scores])
    model.graph.output[0].CopyFrom(answered)


def with_public_names(model: Any) -> Any:
    """Renames a model's only input and output to those of a float graph, in place."""
    constants = {tensor.name for tensor in model.graph.initializer}
    (given,) = (value for value in model.graph.input if value.name not in constants)
    (answer,) = model.graph.output
    rename(model, {given.name: FLOAT_INPUT, answer.name: OUTPUT})
    return model


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
        stored = {tensor.name: tensor for tensor in graph.initializer}
        parameters = [
            constant("image_scale", np.array(1 / scheme.stds[0], np.float32)),
            constant("image_zero_point", np.array(round(scheme.means[0]), np.uint8)),
        ]
        quantize = [n for n in graph.node if n.op_type == "QuantizeLinear"
                    and n.input[0] == FLOAT_INPUT
                    and _quantizes_as(n, stored, scheme)]  # fmt: skip
        others = [n for n in graph.node if FLOAT_INPUT in n.input and n not in quantize]
        for node in quantize:  # what it would compute are the bytes themselves
            rename(model, {node.output[0]: _INPUT})
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


def _quantizes_as(node: Any, stored: Mapping[str, Any], scheme: Normalization) -> bool:
    """Whether a QuantizeLinear makes of the normalised values the bytes that they came from."""
    from onnx import numpy_helper

    if len(node.input) < 3 or not all(name in stored for name in node.input[1:3]):
        return False
    scale, zero_point = (numpy_helper.to_array(stored[name]) for name in node.input[1:3])
    return (
        zero_point.dtype == np.uint8
        and scale.size == 1
        and int(zero_point.item()) == round(scheme.means[0])
        and abs(float(scale.item()) * scheme.stds[0] - 1) < _SAME_SCALE
    )


def free_batch(model: Any, scheme: Normalization) -> None:
    """Lets the model take any number of images, if each then gets the answers it gets alone.

    Where it does not, as when quantised by what comes along, the model takes one at a time.

    Args:
        model: A float graph.
        scheme: What its input expects of bytes.

    Raises:
        ConversionError: It can only take several at a time.
    """
    values = (*model.graph.input, *model.graph.output)
    batches = [value.type.tensor_type.shape.dim[0] for value in values]
    fixed = batches[0].dim_value
    for batch in batches:
        batch.dim_param = "N"
    if _takes_two(model, scheme):
        return
    if fixed > 1:
        onnx_import.free_reshapes(model, fixed)
        if not _takes_two(model, scheme):
            raise ConversionError(
                f"The ONNX model takes {fixed} images at a time, and operators inside it count on "
                "that. Export it with an open batch, or for one image."
            )
        return
    for batch in batches:
        batch.dim_value = 1


def _takes_two(model: Any, scheme: Normalization) -> bool:
    """Whether the model gives two images together the answers that it gives each alone."""
    sizes = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    pixels = np.random.default_rng(0).integers(0, 256, (2, *sizes), np.uint8)
    pixels[1] //= 4  # a dark one beside a bright one
    images = scheme.apply(pixels)
    options = session_options()
    options.log_severity_level = 4  # a failure here is an answer, not a fault
    with contextlib.suppress(Exception):  # whatever the engine raises, it means no
        session = open_session(model.SerializeToString(), options)
        (both,) = session.run(None, {FLOAT_INPUT: images})
        alone = [session.run(None, {FLOAT_INPUT: image[np.newaxis]})[0] for image in images]
        return np.allclose(both, np.concatenate(alone), atol=_SAME_ANSWER)
    return False


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


def up_to(model: Any, names: Sequence[str]) -> Any:
    """A copy that answers other tensors, without what they are not computed of.

    Args:
        model: From one of the functions here, or from a quantiser.
        names: The tensors, which nodes of the model compute.
    """
    import onnx

    needed, nodes = set(names), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(read_by(node))
    graph = onnx.helper.make_graph(
        nodes[::-1],
        model.graph.name,
        list(model.graph.input),
        [onnx.helper.make_empty_tensor_value_info(name) for name in names],
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    return onnx.helper.make_model(
        graph, opset_imports=list(model.opset_import), ir_version=model.ir_version
    )


def read_by(node: Any) -> Iterator[str]:
    """What a node takes, the graphs inside of it included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from read_by(inner)


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


def add_to_bias(model: Any, name: str, amount: Any) -> None:
    """Adds to a quantised bias, in place.

    Args:
        model: From the quantiser.
        name: Of the bias, stored as int32; its scale lies beside it.
        amount: float [channels], in the layer's own units.
    """
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    steps = np.rint(amount / numpy_helper.to_array(stored[f"{name}_scale"]))
    limits = np.iinfo(np.int32)
    added = np.clip(numpy_helper.to_array(stored[name]) + steps, limits.min, limits.max)
    stored[name].CopyFrom(numpy_helper.from_array(added.astype(np.int32), name))


def linear_layers(model: Any) -> list[Any]:
    """Convolutions with a bias whose output no activation function takes."""
    activated = {name for node in model.graph.node if node.op_type in _ACTIVATIONS
                 for name in node.input}  # fmt: skip
    return [node for node in model.graph.node
            if node.op_type == "Conv" and len(node.input) > 2
            and node.output[0] not in activated]  # fmt: skip


def activated_inputs(model: Any) -> dict[str, str]:
    """What only an activation function takes, to what that makes of it.

    ONNX Runtime's quantiser gives the one the range of the other, whatever was measured.
    """
    takers: dict[str, list[Any]] = {value.name: [] for value in model.graph.output}
    for node in model.graph.node:
        for name in read_by(node):
            takers.setdefault(name, []).append(node)
    answers = {value.name for value in model.graph.output}
    return {name: nodes[0].output[0] for name, nodes in takers.items()
            if len(nodes) == 1 and name not in answers
            and nodes[0].op_type in _ACTIVATIONS and nodes[0].input[0] == name}  # fmt: skip
