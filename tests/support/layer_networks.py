"""Networks of many kinds of layers, for the tests of what is written layer by layer."""

from __future__ import annotations

import keras
import numpy as np

layers = keras.layers


def with_statistics(model: keras.Model) -> keras.Model:
    """The model with the statistics and offsets of one that has been trained."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.3, 0.9, w.shape) * np.sign(w + 0.1) if w.ndim == 1 else w
                       for w in model.get_weights()])  # fmt: skip
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_variance.assign(np.abs(layer.moving_variance))
    return model


def many_kinds(groups: int = 2, activation: str = "hard_sigmoid") -> keras.Model:
    """Every layer that is written into files, at sizes that "same" pads unevenly."""
    keras.utils.set_random_seed(0)
    image = keras.Input((19, 22, 3), dtype="uint8", name="image")
    x = layers.Rescaling([1 / 50, 1 / 60, 1 / 70], offset=[-1, -2, 0.5], name="normalize")(image)
    x = layers.Conv2D(8, (3, 5), strides=2, padding="same", activation="relu6")(x)
    x = layers.BatchNormalization()(x)  # the convolution's activation is in between
    x = shortcut = layers.Activation("silu", name="maps")(x)
    x = layers.ZeroPadding2D(((1, 2), (0, 1)))(x)
    x = layers.DepthwiseConv2D(3, padding="valid", depth_multiplier=2, use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.ReLU(6.0)(x)
    x = layers.Rescaling(0.5, offset=0.1)(x)
    x = layers.Conv2D(8, 1, padding="same", groups=groups, use_bias=False)(x)
    x = layers.BatchNormalization(center=False)(x)
    x = layers.MaxPooling2D(3, strides=1, padding="same")(x)
    x = layers.MaxPooling2D((2, 1), strides=1)(layers.ZeroPadding2D(((1, 0), (0, 0)))(x))
    x = layers.Conv2D(8, 2, padding="same", dilation_rate=2, activation=activation)(x)
    shortcut = layers.ZeroPadding2D(((0, 1), (0, 0)))(shortcut)
    shortcut = layers.Conv2D(8, (1, 2), padding="valid", activation="tanh")(shortcut)
    x = layers.DepthwiseConv2D(5, strides=2, padding="same")(x)
    shortcut = layers.Conv2D(8, 3, strides=2, padding="same", activation="hard_silu")(shortcut)
    x = layers.Add()([x, layers.ReLU()(shortcut), layers.Dropout(0.5)(x)])
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dense(5, name="logits")(x)
    return keras.Model(image, layers.Softmax(name="probabilities")(x))


def gated() -> keras.Model:
    """What larger networks have between their convolutions: gates, branches, functions."""
    keras.utils.set_random_seed(0)
    image = keras.Input((19, 22, 3), dtype="float32", name="image")
    x = keras.ops.take(layers.Rescaling(1 / 128)(image), (2, 1, 0), axis=-1)
    x = layers.SeparableConv2D(8, 3, strides=2, padding="same", depth_multiplier=2)(x)
    x = layers.BatchNormalization()(x)
    x = layers.SeparableConv2D(8, 3, padding="valid", use_bias=False, activation="relu6")(x)
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Reshape((1, 1, 8))(gate)
    gate = layers.Conv2D(8, 1, activation="sigmoid")(gate)
    x = layers.Multiply(name="maps")([x, gate])
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = x * (layers.ReLU(6.0)(gate + 3.0) * (1 / 6))
    mean = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    x = layers.Concatenate()([mean, layers.MaxPooling2D(3, strides=1, padding="same")(x), x + mean])
    x = layers.AveragePooling2D(2)(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dense(5, name="logits")(x)
    return keras.Model(image, layers.Softmax(name="probabilities")(x))


def nested() -> keras.Model:
    """A pretrained network and augmentation as layers, and one network in two places."""
    keras.utils.set_random_seed(0)
    image = keras.Input((19, 22, 3), dtype="float32", name="image")
    inside = [layers.Rescaling(1 / 128), layers.RandomFlip(), layers.RandomRotation(0.1)]
    augmentation = keras.Sequential(inside)
    x = layers.Conv2D(6, 3, padding="same")(augmentation(image))
    given = keras.Input((19, 22, 6))
    first = layers.ReLU()(given)  # of what is read outside as well
    inner = keras.Model(given, layers.BatchNormalization()(layers.Conv2D(6, 1)(first)))
    y = layers.ReLU(6.0)(inner(x))
    x = layers.Add(name="maps")([inner(y), x])
    given = keras.Input((19, 22, 6))
    conv = layers.Conv2D(6, 1)(given)
    inner = keras.Model(given, layers.Add()([conv, layers.ReLU()(conv)]))
    x = layers.MaxPooling2D(4)(layers.ReLU()(inner(x)))
    x = layers.Flatten(name="features")(layers.SpatialDropout2D(0.5)(x))
    x = layers.Dense(5, name="logits")(layers.GaussianNoise(0.5)(x))
    return keras.Model(image, layers.Softmax(name="probabilities")(x))
