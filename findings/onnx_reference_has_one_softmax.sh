#!/usr/bin/env bash
# Guess: onnx's own ReferenceEvaluator follows the opset that a model names.
# Instead: Softmax of opset 11 is computed as that of opset 13: along the last axis instead of
#   over all from axis 1 on. Scores of shape [N, C, 1, 1] without an axis become 1, 1, 1, ...;
#   ONNX Runtime and OpenVINO give the probabilities.
# Seen with: onnx 1.23.2, onnxruntime 1.32.0, openvino 2026.4.1 (Python 3.11, Linux x86_64,
#   2026-11-28).
# Why it matters: the evaluator is what engines and converters are compared with. Classifiers of
#   opset 7 to 12 whose head is a convolution end in just this node; the comparison then blames
#   the engine that is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python -I - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

scores = np.arange(5, dtype=np.float32).reshape(1, 5, 1, 1)
right = np.exp(scores) / np.exp(scores).sum()
value = helper.make_tensor_value_info
graph = helper.make_graph(
    [helper.make_node("Softmax", ["x"], ["y"])],
    "head",
    [value("x", TensorProto.FLOAT, scores.shape)],
    [value("y", TensorProto.FLOAT, scores.shape)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
onnx.checker.check_model(model, full_check=True)
content = model.SerializeToString()

core = openvino.Core()
seen = {
    "reference": ReferenceEvaluator(model).run(None, {"x": scores})[0],
    "onnxruntime": onnxruntime.InferenceSession(content).run(None, {"x": scores})[0],
    "openvino": core.compile_model(core.read_model(content), "CPU")(scores)[0],
}
for name, answer in seen.items():
    print(f"{name}: {np.round(answer.ravel(), 3)}")
engines = all(np.allclose(seen[name], right, atol=1e-6) for name in ("onnxruntime", "openvino"))
sys.exit(0 if engines and np.all(seen["reference"] == 1) else 1)
PYTHON
