"""What stays frozen in a network that is trained above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeclf.networks.backend import keras, layers, tf
from edgeclf.networks.builder import part
from edgeclf.networks.engines import Engine


class FrozenPart(layers.Layer):
    """An engine as a layer of a network that is trained above it.

    Args:
        engine: Answers one end.
        shape: Of what it answers a picture.
    """

    def __init__(self, engine: Engine, shape: Sequence[int]) -> None:
        super().__init__(trainable=False)
        self._engine, self._shape = engine, tuple(shape)

    def call(self, images: Any) -> Any:
        """The answers, float32, for images of values 0..255."""
        maps = tf.numpy_function(lambda given: self._engine(given)[0], [images], tf.float32)
        return tf.ensure_shape(maps, (None, *self._shape))

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """For Keras, which would call it otherwise."""
        return (input_shape[0], *self._shape)


def frozen_end(model: keras.Model) -> str | None:
    """The layer up to which nothing of a network is trained, and through which all goes.

    Args:
        model: In the frame of `build_classifier`; its layers say by ``trainable`` what learns.

    Returns:
        Its name; None where training starts with the first layer that has weights.
    """
    depths = model._nodes_by_depth
    for depth in sorted(depths, reverse=True):
        for node in depths[depth]:
            if not node.operation.trainable_weights:
                continue
            (given, *_) = node.input_tensors
            below = given._keras_history.operation
            has_weights = any(layer.weights for layer in _before(model, below.name))
            return below.name if has_weights and _is_cut(model, below.name) else None
    return None


def _before(model: keras.Model, end: str) -> list[Any]:
    outputs = model.get_layer(end).output
    return list(keras.Model(model.inputs, outputs).layers)


def _is_cut(model: keras.Model, end: str) -> bool:
    """Whether nothing goes around that layer."""
    try:
        part(model, end, "logits")
    except ValueError:
        return False
    return True
