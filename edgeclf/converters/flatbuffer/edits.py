"""What a model takes and gives, and what its file says of that.

But for `up_to`, the functions change a tree that `unpack` gave, which is packed once they are done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np

from edgeclf.artifact import Normalization
from edgeclf.converters.flatbuffer.editor import Editor
from edgeclf.converters.flatbuffer.tree import pack, schema, text, unpack_graph

_UINT8_OVER_INT8 = 128  # zero points of the same values differ by this


def take_bytes(tree: Any, scheme: Normalization) -> None:
    """Puts what turns bytes into a float graph's input before it.

    Where mean is one whole number and std is one number, that is only a change of type, because
    (x - mean) / std is what a quantised tensor of scale 1 / std and zero point mean stands for:
    DEQUANTIZE before float32; before int8 a QUANTIZE behind it, which changes no bit. A QUANTIZE
    alone would do, but XNNPACK has none from uint8 to int8, and what LiteRT has takes longer than
    both: of the demo's student (96 pixels, LiteRT 2.3, a Xeon) 0.02 of 0.46 ms.

    Args:
        tree: Of a float graph, or one that was quantised and has an int8 input.
        scheme: What the float graph expects of the bytes.
    """
    (graph,) = tree.subgraphs
    editor = Editor(tree)
    (inner_index,) = graph.inputs
    inner = graph.tensors[inner_index]
    image = editor.tensor("image", schema().TensorType.UINT8, inner.shape)
    if inner.type == schema().TensorType.INT8:
        scale, zero_point = _scale(inner)
        editor.quantized(image, scale, zero_point + _UINT8_OVER_INT8)
        values = editor.tensor("image_float", schema().TensorType.FLOAT32, inner.shape)
        editor.first("QUANTIZE", schema().QuantizeOptionsT(), [values], inner_index)
        editor.first("DEQUANTIZE", schema().DequantizeOptionsT(), [image], values)
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


def sign(tree: Any) -> None:
    """Names the input ``image`` and the output ``probabilities`` in the only signature."""
    Editor(tree).sign("image", "probabilities")


def say_batch(tree: Any, *, is_free: bool) -> None:
    """Says in the input's and the output's signature whether the batch may be resized."""
    (graph,) = tree.subgraphs
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[index]
        sizes = [-1, *(int(size) for size in tensor.shape[1:])]
        tensor.shapeSignature = sizes if is_free else None


def shorten_names(tree: Any) -> None:
    """Leaves of a tensor's name the first of those that TensorFlow's converter joined by ``;``.

    It names what a fused operator computes, and its bias, by all that went into it, several hundred
    bytes each. Where several begin alike, what is computed keeps the name, and the others get a
    number behind a ``;``.
    """
    (graph,) = tree.subgraphs
    computed = {int(index) for operator in graph.operators for index in operator.outputs}
    taken: Counter[str] = Counter()
    for index in sorted(range(len(graph.tensors)), key=lambda each: each not in computed):
        short = text(graph.tensors[index].name).partition(";")[0]
        taken[short] += 1
        graph.tensors[index].name = short if taken[short] == 1 else f"{short};{taken[short]}"


def add_metadata(tree: Any, name: str, content: bytes) -> None:
    """Adds a named metadata buffer, or replaces the one of that name."""
    buffer = schema().BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    tree.buffers.append(buffer)
    entry = schema().MetadataT()
    entry.name, entry.buffer = name.encode(), len(tree.buffers) - 1
    others = [e for e in tree.metadata or [] if text(e.name) != name]
    tree.metadata = [*others, entry]


def up_to(model: bytes, names: Collection[str] | None) -> bytes:
    """A model that answers other tensors, without what they are not computed of.

    Args:
        model: A flatbuffer with one graph.
        names: Of the tensors; None for all that operators compute. Only those that are floats, or
            integers that stand for some, are answered.
    """
    tree, graph = unpack_graph(model)
    kinds = schema().TensorType
    outputs = [
        index
        for operator in graph.operators
        for index in operator.outputs
        if (name := text(graph.tensors[index].name)) and (names is None or name in names)
        and graph.tensors[index].type in (kinds.FLOAT32, kinds.INT8, kinds.INT16)
    ]  # fmt: skip
    needed, operators = set(outputs), []
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            operators.append(operator)
            needed.update(operator.inputs)
    graph.operators, graph.outputs = operators[::-1], outputs
    tree.signatureDefs = None  # which names the output that was
    return pack(tree)


def _scale(tensor: Any) -> tuple[float, int]:
    return float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
