#!/usr/bin/env bash
# Guess: tf2onnx folds a BatchNorm into the convolution before it, a depthwise one too.
# Instead: behind a dense convolution nothing is left of it; behind a depthwise one a Mul and an Add
#   stay in the file. ONNX Runtime folds them as it loads a float file, so nobody sees it there; its
#   quantiser, given the same file, puts pairs of QuantizeLinear and DequantizeLinear around both,
#   and two roundings of whole maps stay between the layers.
# Seen with: tf2onnx 1.17.0, tensorflow 2.21.0, keras 3.15.1, onnx 1.23.2, onnxruntime 1.32.0
#   (Python 3.11, Linux x86_64, 2026-12-01).
# Why it matters: MobileNets and EfficientNets have one such in every block: EfficientNet-Lite0 has
#   16 Mul and 17 Add too many. onnxruntime.quantization.shape_inference.quant_pre_process folds them.
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
from collections import Counter

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

logging.getLogger("tf2onnx").setLevel(logging.ERROR)
logging.getLogger().setLevel(logging.ERROR)
onnxruntime.set_default_logger_severity(3)
layers, SHAPE = keras.layers, (8, 8, 4)


class Pictures(CalibrationDataReader):
    def __init__(self) -> None:
        self.left = iter(np.random.default_rng(0).normal(size=(4, 1, *SHAPE)).astype(np.float32))

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(({"x": x} for x in self.left), None)


def kinds(name: str, convolution: keras.layers.Layer) -> tuple[Counter, Counter]:
    """How many of each operator the float file has, and the quantised one."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input(SHAPE), convolution, layers.BatchNormalization(), layers.ReLU(),
        layers.Conv2D(4, 1), layers.GlobalAveragePooling2D(),
    ])
    norm = model.layers[1]
    norm.set_weights([np.random.default_rng(1).uniform(0.5, 2, w.shape) for w in norm.get_weights()])
    spec = [tf.TensorSpec((None, *SHAPE), name="x")]
    call = tf.function(lambda x: model(x, training=False), input_signature=spec, autograph=False)
    plain, _ = tf2onnx.convert.from_function(call, spec, opset=18)
    onnx.save(plain, f"{name}.onnx")
    quantize_static(f"{name}.onnx", "int8.onnx", Pictures(), QuantFormat.QDQ)
    return tuple(Counter(node.op_type for node in each.graph.node)
                 for each in (plain, onnx.load("int8.onnx")))


dense, dense_int8 = kinds("dense", layers.Conv2D(4, 3, use_bias=False))
depthwise, depthwise_int8 = kinds("depthwise", layers.DepthwiseConv2D(3, use_bias=False))
for name, plain, small in (("dense", dense, dense_int8), ("depthwise", depthwise, depthwise_int8)):
    print(f"{name}: {plain['Conv']} Conv, {plain['Mul']} Mul, {plain['Add']} Add; quantised "
          f"{small['Mul']} Mul, {small['Add']} Add, {small['QuantizeLinear']} QuantizeLinear")
folded = (dense["Mul"], dense["Add"]) == (0, 0)
left = (depthwise["Mul"], depthwise["Add"]) == (1, 1)
more = depthwise_int8["QuantizeLinear"] - dense_int8["QuantizeLinear"]
sys.exit(0 if folded and left and more == 2 and depthwise_int8["Mul"] == 1 else 1)
PYTHON
