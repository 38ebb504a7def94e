#!/usr/bin/env bash
# Guess: onnx.utils.extract_model keeps the model's metadata_props, as every other tool of the
#   package does.
# Instead: it drops all of them, silently.
# Seen with: onnx 1.23.2 (Python 3.11, Linux x86_64, 2026-11-28).
# Why it matters: labels, normalisation and provenance that travel in metadata_props are gone from
#   a model whose head was cut off or replaced; the file still loads and answers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnx==1.23.2 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python -I - <<'PYTHON'
import sys

import onnx
from onnx import TensorProto, helper

value = helper.make_tensor_value_info
graph = helper.make_graph(
    [
        helper.make_node("Relu", ["x"], ["features"]),
        helper.make_node("Softmax", ["features"], ["y"], axis=1),
    ],
    "classifier",
    [value("x", TensorProto.FLOAT, [1, 3])],
    [value("y", TensorProto.FLOAT, [1, 3])],
    value_info=[value("features", TensorProto.FLOAT, [1, 3])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
helper.set_model_props(model, {"labels": "cat,dog,owl", "licence": "Apache-2.0"})
onnx.save(model, "whole.onnx")
onnx.utils.extract_model("whole.onnx", "part.onnx", ["x"], ["features"])

before, after = (
    sorted(entry.key for entry in onnx.load(path).metadata_props)
    for path in ("whole.onnx", "part.onnx")
)
print(f"before {before}, after {after}")
sys.exit(0 if before == ["labels", "licence"] and after == [] else 1)
PYTHON
