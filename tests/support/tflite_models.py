"""A tiny TFLite classifier of 4x6 pictures, built by hand: their mean is weighed."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeclf.converters.flatbuffer.editor import Editor
from edgeclf.converters.flatbuffer.tree import pack, unpack

SIZE = (4, 6)
CLASSES = 3
SCALE, ZERO_POINT = 2.0, -100
WEIGHTS = np.random.default_rng(0).normal(scale=0.05, size=(CLASSES, 3)).astype("<f4")


def model(*, quantized: bool = False, head: tuple[str, ...] = (), keep: bool = False) -> bytes:
    """From uint8 "image" [1, 4, 6, 3] to "probabilities" [1, 3], in one flatbuffer.

    Args:
        quantized: Whether the features are int8, as ``(value + 100) * 2``.
        head: Operators that take one tensor, between the mean and the dense layer.
        keep: Whether the mean keeps its dimensions.
    """
    tree = _empty()
    (graph,) = tree.subgraphs
    editor, kinds = Editor(tree), schema.TensorType
    shape = (1, *SIZE, 3)
    image = editor.tensor("image", kinds.UINT8, shape)
    features = editor.tensor("features_é", kinds.INT8 if quantized else kinds.FLOAT32, shape)
    options = schema.DequantizeOptionsT()
    editor.quantized(image, 1.0, 0)
    if quantized:
        editor.quantized(features, SCALE, ZERO_POINT)
        options = schema.QuantizeOptionsT()
    editor.last("QUANTIZE" if quantized else "DEQUANTIZE", options, [image], features)
    averaged = (1, 1, 1, 3) if keep else (1, 3)
    mean = editor.tensor("mean", graph.tensors[features].type, averaged)
    reducer = schema.ReducerOptionsT()
    reducer.keepDims = keep
    axes = editor.constant("axes", np.array([1, 2], "<i4"))
    editor.last("MEAN", reducer, [features, axes], mean)
    if quantized:
        editor.quantized(mean, SCALE, ZERO_POINT)
        floats = editor.tensor("mean_floats", kinds.FLOAT32, averaged)
        editor.last("DEQUANTIZE", schema.DequantizeOptionsT(), [mean], floats)
        mean = floats
    for number, kind in enumerate(head):
        made = editor.tensor(f"head_{number}", kinds.FLOAT32, averaged)
        options = getattr(schema, f"{kind.title().replace('_', '')}OptionsT")()
        editor.last(kind, options, [mean], made)
        mean = made
    _classify(editor, tree, mean)
    graph.inputs = [image]
    editor.sign("image", "probabilities")
    return pack(tree)


def _classify(editor: Editor, tree: Any, given: int) -> None:
    kinds = schema.TensorType
    weights = editor.constant("weights", WEIGHTS)
    logits, answer = (
        editor.tensor(n, kinds.FLOAT32, (1, CLASSES)) for n in ("logits", "probabilities")
    )
    editor.last("FULLY_CONNECTED", schema.FullyConnectedOptionsT(), [given, weights, -1], logits)
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    editor.last("SOFTMAX", softmax, [logits], answer)
    tree.subgraphs[0].outputs = [answer]


def _empty() -> Any:
    tree, graph = schema.ModelT(), schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    tree.version, tree.subgraphs, tree.operatorCodes = 3, [graph], []
    tree.buffers = [schema.BufferT()]
    return unpack(pack(tree))
