#!/usr/bin/env bash
# Guess: a convolution and a layer normalisation, each a layer of its own, convert as well on one
#   pixel as on four.
# Instead: on one pixel, where a transpose is a reshape, tf2onnx writes the transposes that it has
#   moved as reshapes to sizes they no longer have. From [N, 1, 1, C] comes [N, 1, C, C]: every
#   channel less the mean of every other. It converts without an error, the checker is content, and
#   a mean or a sum behind it hides the shape. Opset 18 does so with layer and RMS normalisation,
#   opset 13 and 17 with L2 normalisation.
# Seen with: tf2onnx 1.17.0, tensorflow 2.21.0, keras 3.15.1, onnx 1.23.2, onnxruntime 1.32.0
#   (Python 3.11, Linux x86_64, 2026-11-29).
# Why it matters: ConvNeXt at 32 pixels (CIFAR) ends in a map of one pixel: its ONNX file answers
#   with other features, three standard deviations off.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tf2onnx==1.17.0 \
    tensorflow==2.21.0 keras==3.15.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 || exit 2
cd "$folder"
export TF_CPP_MIN_LOG_LEVEL=3 KERAS_BACKEND=tensorflow KERAS_HOME=$folder
venv/bin/python -I -W ignore - <<'PYTHON'
import logging
import sys

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx

logging.getLogger("tf2onnx").setLevel(logging.ERROR)
onnxruntime.set_default_logger_severity(3)
layers, CHANNELS = keras.layers, 8


def change(normalization: keras.layers.Layer, pixels: int, opset: int) -> tuple[object, float]:
    """The shape of the ONNX file's answer, and how far the mean of it is off Keras'."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((pixels, pixels, CHANNELS)),
        layers.DepthwiseConv2D(3, padding="same"),
        normalization,
        layers.Dense(4),
    ])
    spec = [tf.TensorSpec((None, pixels, pixels, CHANNELS), name="x")]
    call = tf.function(lambda x: model(x, training=False), input_signature=spec, autograph=False)
    converted, _ = tf2onnx.convert.from_function(call, spec, opset=opset)
    onnx.checker.check_model(converted, full_check=True)
    x = np.random.default_rng(0).normal(size=(3, pixels, pixels, CHANNELS)).astype(np.float32)
    (answer,) = onnxruntime.InferenceSession(converted.SerializeToString()).run(None, {"x": x})
    expected = np.asarray(model(x, training=False))
    mean = (1, 2)
    return answer.shape, float(np.abs(answer.mean(mean) - expected.mean(mean)).max())


seen = []
for name, opset in (("LayerNormalization", 18), ("RMSNormalization", 18),
                    ("UnitNormalization", 13), ("UnitNormalization", 17)):
    for pixels in (1, 2):
        shape, off = change(getattr(layers, name)(), pixels, opset)
        print(f"{name}, opset {opset}, {pixels} x {pixels} pixels: {shape}, off by {off:.6f}")
        seen.append((pixels, shape, off))
right = all(shape == (3, 2, 2, 4) and off < 1e-5 for pixels, shape, off in seen if pixels == 2)
wrong = all(shape == (3, 1, 8, 4) and off > 0.1 for pixels, shape, off in seen if pixels == 1)
sys.exit(0 if right and wrong else 1)
PYTHON
