"""Keras Applications as backbones: their layers in our own graph, on our own normalisation.

Each was trained on its own scaling of the bytes. That scaling is the backbone's `normalization`
and stands in the frame's first layer, so a photo enters every network in the same way; what the
network itself would do to its input is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from edgeclf.artifact import Normalization
from edgeclf.networks.backend import keras, layers, ops

# By the names that keras.applications.imagenet_utils gives them.
TF = Normalization(127.5, 127.5)
TORCH = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CAFFE = Normalization((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))

_RED_LAST = (2, 1, 0)
# As in efficientnet_lite: with Keras's 0.99 the averages never catch up on a few hundred photos.
_BN_MOMENTUM = 0.9
_OWN_PREPROCESSING = ("MobileNetV3", "EfficientNetV2", "ConvNeXt")


def application(
    inputs: keras.KerasTensor, *, name: str, blue_first: bool = False
) -> keras.KerasTensor:
    """Adds the convolutional part of a Keras Application to `inputs`, layer by layer.

    Args:
        inputs: Float images [N, H, W, 3], red first, normalised as the network expects it.
        name: Its function in `keras.applications`.
        blue_first: Whether its weights expect blue, green, red. The weights stay as Keras
            publishes them; one gather before the first layer turns the channels.

    Returns:
        The feature map of ``include_top=False``.
    """
    options: dict[str, Any] = {}
    if name.startswith(_OWN_PREPROCESSING):
        options["include_preprocessing"] = False
    turned = ops.take(inputs, _RED_LAST, axis=-1) if blue_first else inputs
    with warnings.catch_warnings():  # of input sizes that no weights were published for
        warnings.simplefilter("ignore", UserWarning)
        network = getattr(keras.applications, name)(
            include_top=False, weights=None, input_tensor=turned, **options
        )
    for layer in flat_layers(network):
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = _BN_MOMENTUM
    return network.output


def flat_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model, and those of the models among them."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from flat_layers(layer)
        else:
            yield layer
