"""The first and the last steps of a TFLite model from elsewhere.

The functions change a graph, by its editor, where its edges are not those of a float graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeclf.converters.channels import LUMA, TURNED
from edgeclf.converters.flatbuffer.editor import Editor
from edgeclf.converters.flatbuffer.tree import schema
from edgeclf.converters.scores import Head
from edgeclf.converters.source_spec import Channels


def add_head(editor: Editor, graph: Any, head: Head) -> None:
    """Puts what makes probabilities [1, classes] of the only output's scores behind it."""
    scores = graph.outputs[0]
    shape = list(map(int, graph.tensors[scores].shape))
    rows = [1, int(np.prod(shape))]

    def append(operator: str, options: Any, inputs: list[int], shape: list[int]) -> int:
        answer = editor.tensor(f"scores_{operator.lower()}", schema().TensorType.FLOAT32, shape)
        editor.last(operator, options, inputs, answer)
        return answer

    if shape != rows:  # as [1, 1, 1, C], or [C] of a model that answers its first image alone
        wanted = editor.constant("scores_rows", np.array([-1, rows[1]], "<i4"))
        options = schema().ReshapeOptionsT()
        options.newShape = [-1, rows[1]]
        shape, scores = rows, append("RESHAPE", options, [scores, wanted], rows)
    if head.single:
        if head.logits:
            scores = append("LOGISTIC", None, [scores], shape)
        one = editor.constant("scores_one", np.ones(1, "<f4"))
        first = append("SUB", schema().SubOptionsT(), [one, scores], shape)
        options = schema().ConcatenationOptionsT()
        options.axis = 1
        scores = append("CONCATENATION", options, [first, scores], [*shape[:-1], 2])
    elif head.logits:
        softmax = schema().SoftmaxOptionsT()
        softmax.beta = 1.0
        scores = append("SOFTMAX", softmax, [scores], shape)
    graph.outputs = [scores]


def take_rgb(editor: Editor, graph: Any, channels: Channels, *, channels_first: bool) -> None:
    """Puts what makes the only input of RGB float32 [1, H, W, 3] before it.

    Args:
        editor: Of the model.
        graph: Its only graph.
        channels: What it takes.
        channels_first: Whether in the layout [1, C, H, W].
    """
    inner = graph.inputs[0]
    batch, *sizes = map(int, graph.tensors[inner].shape)
    height, width = sizes[1:] if channels_first else sizes[:2]

    def image(name: str, depth: int) -> int:
        shape = (batch, height, width, depth)
        return editor.tensor(name, schema().TensorType.FLOAT32, shape)

    if channels_first:
        outer = image("image_nhwc", 1 if channels == "grey" else 3)
        order = editor.constant("to_channels_first", np.array([0, 3, 1, 2], "<i4"))
        editor.first("TRANSPOSE", schema().TransposeOptionsT(), [outer, order], inner)
        inner = outer
    if channels != "rgb":
        outer = image("image_rgb", 3)
        if channels == "bgr":
            turned = schema().GatherOptionsT()
            turned.axis = 3
            order = editor.constant("turned", np.array(TURNED, "<i4"))
            editor.first("GATHER", turned, [outer, order], inner)
        else:
            options = schema().Conv2DOptionsT()
            options.strideH = options.strideW = 1
            options.dilationHFactor = options.dilationWFactor = 1
            options.padding = schema().Padding.VALID
            luma = editor.constant("luma", np.array(LUMA, "<f4").reshape(1, 1, 1, 3))
            zero = editor.constant("luma_bias", np.zeros(1, "<f4"))
            editor.first("CONV_2D", options, [outer, luma, zero], inner)
        inner = outer
    graph.inputs = [inner]
