#!/usr/bin/env bash
# Guess: model(x) is inference unless it is told training=True, and an exported model is too.
# Instead: the `call` of Resizing and CenterCrop has training=True as its default, and the default
#   of one layer is taken for all that follow it. Behind one, model(x) drops values at random and
#   normalises by the batch, and moves the averages that predict() uses: calling a model changes
#   it. model.export() writes that into a SavedModel and into ONNX: one photo's answer depends on
#   the others in the batch. predict() and TFLiteConverter.from_keras_model do not.
# Seen with: keras 3.15.1, tensorflow 2.21.0 (Python 3.11, Linux x86_64, 2026-11-29). Mended in
#   keras-team/keras#23166 for a later release, as a fault of segmentation models.
# Why it matters: a Resizing layer is how Keras' guides put the preprocessing into a classifier;
#   what predict() was measured on is not what is served. model(x, training=False) is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    tensorflow==2.21.0 keras==3.15.1 numpy==2.4.6 || exit 2
cd "$folder"
export TF_CPP_MIN_LOG_LEVEL=3 KERAS_BACKEND=tensorflow KERAS_HOME=$folder
venv/bin/python -I -W ignore - <<'PYTHON'
import sys

import keras
import numpy as np
import tensorflow as tf

layers = keras.layers
photos = np.random.default_rng(0).normal(3, 1, (8, 16, 16, 3)).astype(np.float32)


def off(first: keras.layers.Layer) -> list[float]:
    """How far the exported answers, those to one photo alone, and the averages move."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((16, 16, 3)), first, layers.Conv2D(4, 3), layers.BatchNormalization(),
        layers.GlobalAveragePooling2D(),
    ])
    predicted = model.predict(photos, verbose=0)
    model.export("exported", verbose=False)
    module = tf.saved_model.load("exported")
    served = module.serve(photos).numpy()
    alone = module.serve(photos[:1]).numpy()
    model(photos)
    after = model.predict(photos, verbose=0)
    return [float(np.abs(a - b).max()) for a, b in
            ((served, predicted), (alone, served[:1]), (after, predicted))]


moved = {}
for layer in (layers.Rescaling(1.0), layers.Resizing(12, 12), layers.CenterCrop(12, 12)):
    name = type(layer).__name__
    moved[name] = off(layer)
    served, alone, after = moved[name]
    print(f"{name}: the SavedModel is off predict() by {served:.3f}, one photo alone off itself in "
          f"a batch by {alone:.3f}, predict() moves by {after:.3f} when the model is called")
plain = moved.pop("Rescaling")
sys.exit(0 if max(plain) < 1e-4 and all(min(m) > 0.01 for m in moved.values()) else 1)
PYTHON
