"""What a run computes in: float32, or float16 on a GPU; repeatable bits where asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.image import ImageSpec
from edgeclf.networks.backend import keras, tf
from edgeclf.networks.builder import Backbone, build_classifier
from edgeclf.training.config import TrainingConfig
from edgeclf.training.distribution import open_strategy


def prepare(config: TrainingConfig) -> None:
    """Sets TensorFlow up for a run.

    Raises:
        OptionError: Mixed precision was asked for, and TensorFlow sees no GPU; or the devices or
            machines to distribute over are not there.
        MissingDependencyError: TensorBoard's events were asked for, and it is not installed.
    """
    if config.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise MissingDependencyError("tensorboard", "tensorboard", "Writing its events")
    if config.mixed_precision and not tf.config.list_physical_devices("GPU"):
        raise OptionError(
            "Mixed precision was asked for, and TensorFlow sees no GPU here; on a CPU it would "
            "only be slower. Leave it out, or install edgeclf[tensorflow-gpu] where there is one."
        )
    open_strategy(config.distribute)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()


@contextmanager
def computing_in(config: TrainingConfig) -> Iterator[None]:
    """Networks built in this block compute in what `config` says; their weights are float32."""
    before = keras.mixed_precision.dtype_policy()
    if config.mixed_precision:
        keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def as_float32(model: keras.Model, backbone: Backbone, spec: ImageSpec) -> keras.Model:
    """The model itself where it computes in float32, else one that does with the same weights.

    Args:
        model: From `build_classifier`.
        backbone: What it was built from.
        spec: And for which images.
    """
    if model.get_layer("logits").compute_dtype == "float32":
        return model
    plain = build_classifier(backbone, model.output_shape[-1], spec)
    plain.set_weights(model.get_weights())
    return plain
