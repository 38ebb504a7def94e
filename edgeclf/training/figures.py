"""What a network costs, counted in its graph."""

from __future__ import annotations

import math

import keras
from keras import layers

from edgeclf.training.applications import flat_layers
from edgeclf.training.backbones import Backbone, build_classifier, input_spec

_COUNTED = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Dense)


def multiply_adds(model: keras.Model) -> int:
    """Multiplications with an addition in one forward pass of one image.

    Counted are convolutions and dense layers, as the published figures do: each number of a kernel
    is used once at each position of the output.
    """
    total = 0
    for layer in flat_layers(model):
        if isinstance(layer, _COUNTED):
            kernels = sum(math.prod(w.shape) for w in layer.weights if "kernel" in w.name)
            total += kernels * math.prod(layer.output.shape[1:-1])
    return total


def backbone_figures(backbone: Backbone, input_size: int | None = None) -> dict[str, int]:
    """Builds a backbone and counts it, up to its pooled features.

    Args:
        backbone: The network.
        input_size: Rows and columns; its own by default.

    Returns:
        ``input_size``, ``parameters`` and ``multiply_adds``.
    """
    spec = input_spec(backbone, input_size)
    model = build_classifier(backbone, 2, spec)
    body = keras.Model(model.input, model.get_layer("features").output)
    return {
        "input_size": spec.height,
        "parameters": int(body.count_params()),
        "multiply_adds": multiply_adds(body),
    }
