"""TFLite models from elsewhere, brought to the form that the converters edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from edgeclf.converters.base import Quantized
from edgeclf.converters.flatbuffer.edges import add_head, take_rgb
from edgeclf.converters.flatbuffer.editor import Editor
from edgeclf.converters.flatbuffer.tree import (
    INTEGERS,
    operator_name,
    pack,
    scales_of,
    schema,
    stored_floats,
    text,
    type_name,
    unpack_graph,
)
from edgeclf.converters.scores import Head
from edgeclf.converters.source_spec import Channels
from edgeclf.errors import ConversionError

_BETWEEN = ("CAST", "DEQUANTIZE", "QUANTIZE")  # operators that only change a tensor's type
_SHAPING = (*_BETWEEN, "RESHAPE", "SQUEEZE")


def as_float_graph(
    model: bytes,
    *,
    output: str = "",
    shapes: Mapping[int, Sequence[int]] = MappingProxyType({}),
    head: Head | None = None,
    channels: Channels = "rgb",
    channels_first: bool = False,
) -> bytes:
    """A model as the converters quantise it: RGB in NHWC float32 in, probabilities float32 out.

    Numbers of other types at its ends are quantised and dequantised by their own scale, or cast
    where they have none. Weights that are only stored in fewer bits become float32.

    Args:
        model: A flatbuffer with one graph and one input.
        output: Name of the tensor that holds the scores; empty for the only one.
        shapes: Of its tensors, by index, where they are others than the file says: a size may be
            open there.
        head: What makes probabilities of its output; None where it answers them.
        channels: What its input takes.
        channels_first: Whether its input is [1, C, H, W].

    Raises:
        ConversionError: It has another number of graphs, or takes or answers other types.
    """
    tree, graph = unpack_graph(model)
    for index, tensor in enumerate(graph.tensors):
        tensor.shapeSignature = None
        if index in shapes:
            tensor.shape = [int(size) for size in shapes[index]]
    graph.outputs = [i for i in graph.outputs if output in ("", text(graph.tensors[i].name))]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ConversionError(
            f"The TFLite model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; "
            "expected one of each."
        )
    _drop_unused(graph)
    _store_as_floats(tree, graph)
    editor = Editor(tree)
    _take_floats(editor, graph)
    take_rgb(editor, graph, channels, channels_first=channels_first)
    _answer_floats(editor, graph)
    if head is not None:
        add_head(editor, graph, head)
    editor.sign("image", "probabilities")
    return pack(tree)


def with_own_names(model: bytes) -> bytes:
    """Gives each tensor a name of its own, as quantisers need; the same where all have one."""
    tree, graph = unpack_graph(model)
    names = [text(tensor.name) for tensor in graph.tensors]
    if all(names) and len({*names}) == len(names):
        return model
    taken = set[str]()
    for index, (tensor, name) in enumerate(zip(graph.tensors, names, strict=True)):
        new = name or "tensor"
        while new in taken or (new != name and new in names):
            new = f"{new}_{index}"
        tensor.name = new
        taken.add(new)
    return pack(tree)


def with_one_image(model: bytes) -> bytes:
    """Frees a batch that is written into the model's own RESHAPE operators; the same for one."""
    tree, graph = unpack_graph(model)
    batch = int(graph.tensors[graph.inputs[0]].shape[0])
    if batch == 1:
        return model
    editor = Editor(tree)
    for operator in graph.operators:
        if operator_name(tree, operator) != "RESHAPE" or len(operator.inputs) < 2:
            continue
        tensor = graph.tensors[operator.inputs[1]]
        if _is_stored(tree, tensor):
            data = np.asarray(tree.buffers[tensor.buffer].data).tobytes()
            sizes = np.frombuffer(data, "<i4").copy()
            if sizes.size and sizes[0] == batch:
                sizes[0] = 1
                operator.inputs = [operator.inputs[0], editor.constant("shape_of_one", sizes)]
                operator.builtinOptions = None  # which hold the sizes once more
                operator.builtinOptionsType = 0
    return pack(tree)


def quantized_as(model: bytes, output: int = 0) -> Quantized | None:
    """What a model is that was quantised; None for one that computes in float.

    Args:
        model: A flatbuffer with one graph.
        output: Which of its outputs is to answer; what only others need does not count.
    """
    tree, graph = unpack_graph(model)
    graph.outputs = [graph.outputs[output]]
    _drop_unused(graph)
    computing = [o for o in graph.operators if operator_name(tree, o) not in _BETWEEN]
    static, dynamic = set(), 0
    for operator in computing:
        given = [graph.tensors[index] for index in operator.inputs if index >= 0]
        flowing = {type_name(t.type) for t in given if not _is_stored(tree, t) and scales_of(t)}
        stored = {type_name(t.type) for t in given if _is_stored(tree, t) and scales_of(t)}
        static |= flowing & INTEGERS.keys()
        dynamic += bool(stored and not flowing)
    if static:
        return Quantized("int8", f"static, {' and '.join(sorted(static)).lower()} activations")
    if dynamic:
        return Quantized("dynamic", f"quantised as values come, in {dynamic} operators")
    return None


def parameter_count(model: bytes) -> int:
    """How many numbers a model has learnt: its constants of float types, and quantised ones."""
    tree, graph = unpack_graph(model)
    floats = ("FLOAT16", "FLOAT32")
    return sum(int(np.prod(t.shape)) for t in graph.tensors if _is_stored(tree, t)
               and (type_name(t.type) in floats or scales_of(t)))  # fmt: skip


def made_by_softmax(model: bytes, output: int) -> bool:
    """Whether a softmax makes one of the outputs, but for what changes its shape or type."""
    tree, graph = unpack_graph(model)
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    maker = makers.get(graph.outputs[output])
    while maker is not None and operator_name(tree, maker) in _SHAPING:
        maker = makers.get(maker.inputs[0])
    return maker is not None and operator_name(tree, maker) == "SOFTMAX"


def _is_stored(tree: Any, tensor: Any) -> bool:
    return tree.buffers[tensor.buffer].data is not None


def _drop_unused(graph: Any) -> None:
    """Leaves the operators that the outputs are computed from."""
    needed, kept = set(graph.outputs), []
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            kept.append(operator)
            needed.update(operator.inputs)
    graph.operators = kept[::-1]


def _store_as_floats(tree: Any, graph: Any) -> None:
    """Weights that a DEQUANTIZE makes float32 before they are used are stored as float32."""
    for operator in [o for o in graph.operators if operator_name(tree, o) == "DEQUANTIZE"]:
        stored, result = (graph.tensors[o] for o in (operator.inputs[0], operator.outputs[0]))
        values = stored_floats(tree, stored)
        if values is None or type_name(stored.type) == "FLOAT32":
            continue
        buffer = schema().BufferT()
        buffer.data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
        tree.buffers.append(buffer)
        result.buffer = len(tree.buffers) - 1
        graph.operators.remove(operator)


def _take_floats(editor: Editor, graph: Any) -> None:
    (given,) = graph.inputs
    tensor = graph.tensors[given]
    if type_name(tensor.type) == "FLOAT32":
        return
    _check_type("takes", tensor)
    outer = editor.tensor("image_floats", schema().TensorType.FLOAT32, tensor.shape)
    if scales_of(tensor):
        editor.first("QUANTIZE", schema().QuantizeOptionsT(), [outer], given)
    else:
        editor.first("CAST", _cast(schema().TensorType.FLOAT32, tensor.type), [outer], given)
    graph.inputs = [outer]


def _answer_floats(editor: Editor, graph: Any) -> None:
    (answer,) = graph.outputs
    tensor = graph.tensors[answer]
    if type_name(tensor.type) == "FLOAT32":
        return
    _check_type("answers", tensor)
    if not scales_of(tensor):
        raise ConversionError(
            f"The TFLite model answers {type_name(tensor.type)} without a scale; expected scores "
            "in FLOAT32, or integers that say what they stand for. Export it with float scores."
        )
    outer = editor.tensor("score_floats", schema().TensorType.FLOAT32, tensor.shape)
    editor.last("DEQUANTIZE", schema().DequantizeOptionsT(), [answer], outer)
    graph.outputs = [outer]


def _check_type(does: str, tensor: Any) -> None:
    if type_name(tensor.type) not in INTEGERS:
        raise ConversionError(
            f"The TFLite model {does} {type_name(tensor.type)} in {text(tensor.name)!r}; expected "
            f"FLOAT32, {', '.join(INTEGERS)}."
        )


def _cast(from_: int, to: int) -> Any:
    options = schema().CastOptionsT()
    options.inDataType, options.outDataType = from_, to
    return options
