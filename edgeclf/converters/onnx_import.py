"""An ONNX model of any make as one that the converters can edit.

The functions work on ModelProto objects; what they do to them keeps the answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeclf.converters.base import Quantized
from edgeclf.converters.onnx_weights import messages
from edgeclf.errors import ConversionError, mapped

_OPSET = 13  # the first that quantises per channel; older models are brought to it
_IR_VERSION = 8  # of the file format: that of the opsets 13 to 17
_STANDARD = ("", "ai.onnx")  # the domain of ONNX's own operators
_CONSTANTS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64,
              "value_ints": np.int64}  # fmt: skip
_DYNAMIC = ("ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeLinear", "DynamicQuantizeMatMul",
            "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits")  # fmt: skip


def quantized_as(model: Any, output: str) -> Quantized | None:
    """What a model is that was quantised; None for one in float, of any width.

    Args:
        model: Without functions of its own.
        output: The tensor to answer; what only others need does not count.
    """
    needed, _ = _needed(model.graph, output)
    inner = [each for node in needed for each in messages(node, "NodeProto")]
    counts = Counter(node.op_type for node in inner)
    if found := [name for name in _DYNAMIC if name in counts]:
        kinds = ", ".join(f"{counts[name]} {name}" for name in found)
        return Quantized("dynamic", f"quantised as values come ({kinds})")
    if operators := [name for name in sorted(counts) if name.startswith("QLinear")]:
        kinds = ", ".join(f"{counts[name]} {name}" for name in operators)
        return Quantized("int8", f"static, in quantised operators ({kinds})")
    if pairs := counts.get("QuantizeLinear"):
        return Quantized("int8", f"static, QDQ ({pairs} QuantizeLinear)")
    return None


def parameter_count(model: Any) -> int:
    """How many numbers a model has learnt: its constants of float and 8-bit types."""
    import onnx

    kinds = (*_wide_types(), onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    return sum(int(np.prod(t.dims)) for t in messages(model, "TensorProto") if t.data_type in kinds)


def makers_of(model: Any) -> dict[str, Any]:
    """Each tensor's name to the node that computes it."""
    return {name: node for node in model.graph.node for name in node.output}


def made_by_softmax(model: Any, name: str) -> bool:
    """Whether a tensor comes out of a softmax, but for what only changes its shape or type."""
    makers, shaping = makers_of(model), ("Cast", "Flatten", "Identity", "Reshape", "Squeeze")
    node = makers.get(name)
    while node is not None and node.op_type in shaping:
        node = makers.get(node.input[0])
    return node is not None and node.op_type == "Softmax"


def cleaned(model: Any) -> Any:
    """Takes out what exporters write for people: traces, paths, notes; in place.

    PyTorch's names the lines of the code that a node comes from, with the folders they lie in.
    """
    for message in messages(model, ""):
        for field in ("doc_string", "metadata_props"):
            if field in message.DESCRIPTOR.fields_by_name:
                message.ClearField(field)
    return model


def in_plain_operators(model: Any) -> Any:
    """A model without functions of its own, whose ONNX operators go by one name of their domain.

    Raises:
        ConversionError: onnx cannot put what a function does into the graph.
    """
    for owner in (model, *model.functions):
        _name_domain(owner)
    if not model.functions:
        return model
    from onnx import inliner

    with mapped(ConversionError, "onnx cannot put the model's functions into its graph"):
        return inliner.inline_local_functions(model, convert_version=True)


def as_plain(model: Any, output: str, ours: frozenset[str]) -> Any:
    """A copy in float32, in one graph, of a current opset, with one output and free names.

    Args:
        model: Of any make, with all its weights, without functions of its own.
        output: The tensor to answer.
        ours: Names that no tensor may have, because the converter gives them.

    Raises:
        ConversionError: onnx cannot bring it there.
    """
    import onnx

    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    _keep_output(plain.graph, output)
    constants = {tensor.name for tensor in plain.graph.initializer}
    for given in [value for value in plain.graph.input if value.name in constants]:
        plain.graph.input.remove(given)  # of files before IR version 4, where all are listed
    plain.ir_version = max(plain.ir_version, _IR_VERSION)
    _store_constants(plain.graph)
    to_float32(plain)
    plain = _upgraded(plain)
    if quantized_as(plain, output) is None:
        _fold_constants(plain.graph)
    _name_nodes(plain.graph)
    _free_names(plain, ours)
    del plain.graph.value_info[:]  # whose shapes and types are no longer sure
    return cleaned(plain)


def _keep_output(graph: Any, output: str) -> None:
    """Leaves one output, and what it is computed from."""
    for value in [value for value in graph.output if value.name != output]:
        graph.output.remove(value)
    kept, needed = _needed(graph, output)
    if len(kept) < len(graph.node):
        nodes = [_copy(node) for node in kept]
        del graph.node[:]
        graph.node.extend(nodes)
        unused = [tensor for tensor in graph.initializer if tensor.name not in needed]
        for tensor in unused:
            graph.initializer.remove(tensor)


def _needed(graph: Any, output: str) -> tuple[list[Any], set[str]]:
    """The nodes that an output is computed by, in their order, and all names that they need."""
    needed, kept = {output}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            for inner in messages(node, "NodeProto"):
                needed.update(filter(None, inner.input))
            for inner in messages(node, "GraphProto"):
                needed.update(value.name for value in inner.output)
    return kept[::-1], needed


def _copy(message: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def _wide_types() -> tuple[int, ...]:
    from onnx import TensorProto

    return TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE


def to_float32(model: Any) -> None:
    """Makes every float16, bfloat16 and float64 of the model a float32, in place."""
    from onnx import TensorProto, numpy_helper

    wide = _wide_types()
    for tensor in messages(model, "TensorProto"):
        if tensor.data_type in wide:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for kind in messages(model, "Tensor"):
        if kind.elem_type in wide:
            kind.elem_type = TensorProto.FLOAT
    for attribute in messages(model, "AttributeProto"):
        if attribute.name in ("to", "dtype") and attribute.i in wide:
            attribute.i = TensorProto.FLOAT


def in_float32(content: bytes) -> bytes:
    """A serialised model with all its floats as float32; the same bytes where they are."""
    import onnx

    model = onnx.load_from_string(content)
    to_float32(model)
    narrow: bytes = model.SerializeToString()
    return narrow


def _upgraded(model: Any) -> Any:
    from onnx import version_converter

    (opset,) = [each.version for each in model.opset_import if not each.domain] or [_OPSET]
    if opset >= _OPSET:
        return model
    with mapped(
        ConversionError,
        f"onnx cannot bring this model from opset {opset} to {_OPSET}",
        f"Export it again with opset {_OPSET} or later.",
    ):
        return version_converter.convert_version(model, _OPSET)


def _name_domain(owner: Any) -> None:
    """Names ONNX's own domain as its tools do; of versions by both names, engines take the last."""
    imports = [_copy(each) for each in owner.opset_import]
    versions = [each.version for each in imports if each.domain in _STANDARD]
    del owner.opset_import[:]
    owner.opset_import.extend(each for each in imports if each.domain not in _STANDARD)
    for version in versions[-1:]:
        owner.opset_import.add(version=version)
    for node in messages(owner, "NodeProto"):
        if node.domain in _STANDARD:
            node.ClearField("domain")


def _store_constants(graph: Any) -> None:
    """Makes initialisers of Constant nodes, as which some exporters write all weights."""
    from onnx import helper, numpy_helper

    for node in [node for node in graph.node if node.op_type == "Constant"]:
        (attribute,) = node.attribute
        value = helper.get_attribute_value(attribute)
        if attribute.name in _CONSTANTS:
            value = numpy_helper.from_array(np.asarray(value, _CONSTANTS[attribute.name]))
        elif attribute.name != "value":  # sparse, or text
            continue
        graph.initializer.append(value)
        graph.initializer[-1].name = node.output[0]
        graph.node.remove(node)


def _fold_constants(graph: Any) -> None:
    """Weights that are only stored as integers become the float numbers they stand for."""
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "DequantizeLinear"]:
        if all(name in stored for name in node.input if name):
            given = {name: numpy_helper.to_array(stored[name]) for name in node.input if name}
            (values,) = ReferenceEvaluator(node).run(None, given)
            tensor = numpy_helper.from_array(np.asarray(values, np.float32), node.output[0])
            graph.initializer.append(tensor)
            graph.node.remove(node)


def _name_nodes(graph: Any) -> None:
    """Gives every node a name of its own; the quantiser leaves nodes out by their names."""
    taken: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}_{index}"
        taken.add(node.name)


def _free_names(model: Any, wanted: frozenset[str]) -> None:
    """Gives tensors that have one of some names another one, which no tensor has."""
    taken = {name for node in messages(model.graph, "NodeProto")
             for name in (*node.input, *node.output)}  # fmt: skip
    for graph in messages(model.graph, "GraphProto"):
        values = (*graph.input, *graph.output, *graph.initializer)
        taken.update(value.name for value in values)
    names = {}
    for name in wanted & taken:
        names[name] = f"{name}_of_source"
        while names[name] in taken:
            names[name] += "_"
    rename(model, names)


def rename(model: Any, names: Mapping[str, str]) -> None:
    """Gives tensors other names wherever they stand, in subgraphs too."""
    for node in messages(model.graph, "NodeProto"):
        for places in (node.input, node.output):
            if not names.keys().isdisjoint(places):
                places[:] = [names.get(name, name) for name in places]
    for graph in messages(model.graph, "GraphProto"):
        for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
            value.name = names.get(value.name, value.name)


def free_reshapes(model: Any, batch: int) -> None:
    """Frees a batch that is written into the model's own Reshape operators, in place.

    Args:
        model: Takes `batch` images at a time.
        batch: More than one.
    """
    from onnx import numpy_helper

    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for tensor in model.graph.initializer:
        if tensor.name in shapes:
            sizes = numpy_helper.to_array(tensor).copy()
            if sizes.size and sizes[0] == batch:
                sizes[0] = 0  # as many as it is given
                tensor.CopyFrom(numpy_helper.from_array(sizes, tensor.name))
