#!/usr/bin/env bash
# Guess: a Keras model that is called on a batch outside of any tf.function frees what a layer made
#   once the next has read it, so that a deep chain takes the memory of two of its maps.
# Instead: the functional model keeps every layer's output until the whole call is over. A chain of
#   24 convolutions takes 24 maps at its peak; traced by tf.function, the same takes three.
# Seen with: tensorflow 2.21.0, keras 3.15.1 (Python 3.11, Linux x86_64, 2026-12-01).
# Why it matters: who compares a converted file with its source by `model(batch)` needs many times
#   the memory of `model.predict_on_batch` or of a traced call; a few pictures at a time help.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0 \
    keras==3.15.1 numpy==2.4.6 || exit 2
cd "$folder"
export TF_CPP_MIN_LOG_LEVEL=3 KERAS_BACKEND=tensorflow KERAS_HOME=$folder
cat > maps.py <<'PYTHON'
import re
import sys

import keras
import numpy as np
import tensorflow as tf

LAYERS, CHANNELS, SIDE, BATCH = 24, 32, 128, 8
image = x = keras.Input((SIDE, SIDE, CHANNELS))
for _ in range(LAYERS):
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
call = tf.function(lambda images: model(images, training=False))
run = {"layer by layer": lambda images: model(images, training=False), "traced": call}[sys.argv[1]]


def megabytes(what: str) -> float:
    status = open("/proc/self/status").read()
    return int(re.search(rf"{what}:\s+(\d+)", status)[1]) / 1e3


run(tf.zeros((1, SIDE, SIDE, CHANNELS)))  # all that is loaded and made once
images = tf.zeros((BATCH, SIDE, SIDE, CHANNELS))
before = megabytes("VmRSS")
run(images)
one = BATCH * SIDE * SIDE * CHANNELS * 4 / 1e6
print((megabytes("VmHWM") - before) / one)
PYTHON
eager=$(venv/bin/python -I -W ignore maps.py "layer by layer" 2>/dev/null)
traced=$(venv/bin/python -I -W ignore maps.py traced 2>/dev/null)
printf 'maps of one layer at the peak: %.1f layer by layer, %.1f traced\n' "$eager" "$traced"
awk "BEGIN { exit !($eager > 20 && $traced < 10) }"
