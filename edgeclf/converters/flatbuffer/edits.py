"""What a model takes and gives, and what its file says of that."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeclf.artifact import Normalization
from edgeclf.converters.flatbuffer.edges import add_head, take_rgb
from edgeclf.converters.flatbuffer.editor import Editor
from edgeclf.converters.flatbuffer.tree import pack, schema, text, type_name, unpack, unpack_graph
from edgeclf.converters.scores import Head
from edgeclf.converters.source_spec import Channels
from edgeclf.errors import ConversionError

_UINT8_OVER_INT8 = 128  # zero points of the same values differ by this


def as_float_graph(
    model: bytes,
    *,
    head: Head | None = None,
    channels: Channels = "rgb",
    channels_first: bool = False,
) -> bytes:
    """A float model as the converters quantise it: RGB in NHWC float32 in, probabilities out.

    Args:
        model: A flatbuffer with one graph, one float32 input and one float32 output.
        head: What makes probabilities of its output; None where it answers them.
        channels: What its input takes.
        channels_first: Whether its input is [1, C, H, W].

    Raises:
        ConversionError: It has another number of graphs, inputs or outputs, or other types.
    """
    tree, graph = unpack_graph(model)
    for role, indices in (("input", graph.inputs), ("output", graph.outputs)):
        types = [type_name(graph.tensors[index].type) for index in indices]
        if types != ["FLOAT32"]:
            raise ConversionError(
                f"The TFLite model's {role}s are {types}; expected one of FLOAT32. A model that "
                "is quantised already cannot be converted again; take the one it was made from."
            )
    editor = Editor(tree)
    take_rgb(editor, graph, channels, channels_first=channels_first)
    if head is not None:
        add_head(editor, graph, head)
    editor.sign("image", "probabilities")
    return pack(tree)


def with_bytes_input(model: bytes, scheme: Normalization) -> bytes:
    """Puts what turns bytes into a float graph's input before it.

    Where mean is one whole number and std is one number, that is a single operation without any
    arithmetic of its own, because (x - mean) / std is what a quantised tensor of scale 1 / std
    and zero point mean stands for: DEQUANTIZE before float32, QUANTIZE before int8.

    Args:
        model: A float graph, or one that was quantised and has an int8 input.
        scheme: What the float graph expects of the bytes.
    """
    tree, graph = unpack_graph(model)
    editor = Editor(tree)
    (inner_index,) = graph.inputs
    inner = graph.tensors[inner_index]
    image = editor.tensor("image", schema().TensorType.UINT8, inner.shape)
    if inner.type == schema().TensorType.INT8:
        scale, zero_point = _scale(inner)
        editor.quantized(image, scale, zero_point + _UINT8_OVER_INT8)
        editor.first("QUANTIZE", schema().QuantizeOptionsT(), [image], inner_index)
    elif scheme.is_exact:
        editor.quantized(image, 1 / scheme.stds[0], round(scheme.means[0]))
        editor.first("DEQUANTIZE", schema().DequantizeOptionsT(), [image], inner_index)
    else:
        editor.quantized(image, 1.0, 0)
        factor = editor.constant("1/std", np.divide(1, scheme.stds, dtype=np.float64).astype("<f4"))
        shift = editor.constant("-mean/std", (-np.divide(scheme.means, scheme.stds)).astype("<f4"))
        values, scaled = (
            editor.tensor(name, schema().TensorType.FLOAT32, inner.shape)
            for name in ("image_float", "image_scaled")
        )
        editor.first("ADD", schema().AddOptionsT(), [scaled, shift], inner_index)
        editor.first("MUL", schema().MulOptionsT(), [values, factor], scaled)
        editor.first("DEQUANTIZE", schema().DequantizeOptionsT(), [image], values)
    graph.inputs = [image]
    editor.sign("image", "probabilities")
    return pack(tree)


def with_signature(model: bytes) -> bytes:
    """Names the input ``image`` and the output ``probabilities`` in the only signature."""
    tree = unpack(model)
    Editor(tree).sign("image", "probabilities")
    return pack(tree)


def with_free_batch(model: bytes) -> bytes:
    """Says in the input's and the output's signature that the batch may be resized."""
    tree, graph = unpack_graph(model)
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[index]
        tensor.shapeSignature = [-1, *(int(size) for size in tensor.shape[1:])]
    return pack(tree)


def with_metadata(model: bytes, name: str, content: bytes) -> bytes:
    """Adds a named metadata buffer, or replaces the one of that name."""
    tree = unpack(model)
    buffer = schema().BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    tree.buffers.append(buffer)
    entry = schema().MetadataT()
    entry.name, entry.buffer = name.encode(), len(tree.buffers) - 1
    others = [e for e in tree.metadata or [] if text(e.name) != name]
    tree.metadata = [*others, entry]
    return pack(tree)


def _scale(tensor: Any) -> tuple[float, int]:
    return float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
