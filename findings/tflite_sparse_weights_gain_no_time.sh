#!/usr/bin/env bash
# Guess: 1x1 convolutions in float of which nine tenths are zeros, converted with
#   Optimize.EXPERIMENTAL_SPARSITY, run several times as fast in LiteRT: XNNPACK has kernels for
#   just that.
# Instead: the converter stores the weights sparse and puts a DENSIFY before each convolution; the
#   engine unpacks them when it loads the file and multiplies the zeros as well. The file is an
#   eighth of the dense one, and a call takes as long.
# Seen with: tensorflow 2.21.0, keras 3.15.1, ai-edge-litert 2.3.0 (Python 3.11, Linux x86_64,
#   2026-11-30): 8 DENSIFY, 8 CONV_2D, 0.13 of the size, 1.00 of the time.
# Why it matters: who prunes single weights for a device gets a smaller file and no time; whole
#   channels have to go.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0 \
    keras==3.15.1 ai-edge-litert==2.3.0 numpy==2.4.6 || exit 2
cd "$folder"
export TF_CPP_MIN_LOG_LEVEL=3 KERAS_BACKEND=tensorflow KERAS_HOME=$folder
venv/bin/python -I -W ignore - 2>/dev/null <<'PYTHON'
import statistics
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

LAYERS, CHANNELS, SIDE = 8, 256, 14
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((SIDE, SIDE, CHANNELS), batch_size=1)])
for _ in range(LAYERS):
    model.add(keras.layers.Conv2D(CHANNELS, 1, activation="relu"))
for layer in model.layers:
    kernel, bias = layer.get_weights()
    kernel[np.abs(kernel) < np.quantile(np.abs(kernel), 0.9)] = 0
    layer.set_weights([kernel * 3, bias])


def converted(optimizations: list[object]) -> bytes:
    call = tf.function(lambda x: model(x), input_signature=[tf.TensorSpec(model.input_shape)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()])
    converter.optimizations = optimizations
    return converter.convert()


files = {"dense": converted([]), "sparse": converted([tf.lite.Optimize.EXPERIMENTAL_SPARSITY])}
engines, answers = {}, {}
for name, content in files.items():
    engines[name] = Interpreter(model_content=content, num_threads=1)
    engines[name].allocate_tensors()
    given = np.random.default_rng(0).normal(size=(1, SIDE, SIDE, CHANNELS)).astype(np.float32)
    engines[name].set_tensor(engines[name].get_input_details()[0]["index"], given)
    engines[name].invoke()
    answers[name] = engines[name].get_tensor(engines[name].get_output_details()[0]["index"])
plain = Interpreter(model_content=files["sparse"], experimental_preserve_all_tensors=True)
names = [each["op_name"] for each in plain._get_ops_details()]
times: dict[str, list[float]] = {name: [] for name in engines}
for _ in range(200):
    for name, engine in engines.items():
        start = time.perf_counter()
        engine.invoke()
        times[name].append(time.perf_counter() - start)
dense, sparse = (statistics.median(times[name]) for name in ("dense", "sparse"))
same = np.allclose(answers["dense"], answers["sparse"], rtol=1e-4, atol=1e-5)
size = len(files["sparse"]) / len(files["dense"])
print(f"{names.count('DENSIFY')} DENSIFY, {names.count('CONV_2D')} CONV_2D; the same answers: {same}; "
      f"{size:.2f} of the size, {sparse / dense:.2f} of the time")
held = names.count("DENSIFY") == LAYERS and same and size < 0.5 and sparse / dense > 0.7
sys.exit(0 if held else 1)
PYTHON
