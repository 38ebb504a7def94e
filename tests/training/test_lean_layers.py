"""Layers that cost a CPU less compute what Keras's do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
tf = pytest.importorskip("tensorflow", reason="needs edgeclf[train]")

from edgeclf.training.lean_layers import lean  # noqa: E402

layers = keras.layers
SHAPE = (9, 12, 4)


def network(stride: int, kernel: int, *, frozen: bool) -> keras.Model:
    """A block as ours are: depthwise with a BatchNorm, then 1x1 with a BatchNorm."""
    keras.utils.set_random_seed(0)
    given = keras.Input(SHAPE)
    x = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False)(given)
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.ReLU(6.0)(x)
    # A bias before a BatchNorm that learns has no gradient but what rounding leaves.
    x = layers.Conv2D(6, 1, padding="same", use_bias=frozen)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    model = keras.Model(given, x)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
            layer.trainable = not frozen
    return model


def step(model: keras.Model, training: bool = True) -> list[np.ndarray]:
    """Answers and gradients, and the variables afterwards."""
    rng = np.random.default_rng(1)
    images = tf.constant(rng.normal(size=(5, *SHAPE)).astype(np.float32))
    weights = tf.constant(rng.normal(size=(5, *model.output_shape[1:])).astype(np.float32))

    @tf.function
    def traced() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            answers = model(images, training=training)
            loss = tf.reduce_sum(answers * weights)
        return [answers, *tape.gradient(loss, [images, *model.trainable_variables])]

    return [*(each.numpy() for each in traced()), *model.get_weights()]


def check(make: Callable[[], keras.Model], training: bool = True) -> None:
    expected = step(make(), training)
    model = make()
    with lean(model):
        found = step(model, training)
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() < 5e-5 * max(1, np.abs(other).max())
    assert not [layer for layer in model.layers if "call" in vars(layer)], "as before"


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("stride", "kernel"), [(1, 5), (2, 5), (2, 3)])
def test_a_step_is_the_same(stride: int, kernel: int, frozen: bool) -> None:
    check(lambda: network(stride, kernel, frozen=frozen))


def test_a_network_within_a_trainer_is_reached_and_judged_by_kept_statistics() -> None:
    def trainer() -> keras.Model:
        given = keras.Input(SHAPE)
        return keras.Model(given, network(1, 5, frozen=False)(given))

    check(trainer, training=False)


def test_layers_are_really_replaced() -> None:
    """An operation of its own stands for each BatchNorm that learns, none for a frozen one."""

    def operations(frozen: bool) -> list[str]:
        model = network(1, 5, frozen=frozen)
        with lean(model):
            traced = tf.function(lambda x: model(x, training=True))
            graph = traced.get_concrete_function(tf.TensorSpec((5, *SHAPE))).graph
        return [operation.type for operation in graph.get_operations()]

    assert operations(frozen=False).count("FusedBatchNormV3") == 2
    folded = operations(frozen=True)
    assert "FusedBatchNormV3" not in folded and folded.count("BiasAdd") == 2


def test_a_convolution_that_another_layer_reads_too_is_not_folded() -> None:
    def two_readers() -> keras.Model:
        keras.utils.set_random_seed(0)
        given = keras.Input(SHAPE)
        x = layers.Conv2D(4, 1, use_bias=False)(given)
        norm = layers.BatchNormalization()
        model = keras.Model(given, layers.Add()([x, norm(x)]))
        norm.set_weights([np.full(4, value) for value in (0.5, 0.1, 0.2, 2.0)])
        norm.trainable = False
        return model

    check(two_readers)
