#!/usr/bin/env bash
# Guess: onnx.version_converter either keeps what a model computes or raises: from opset 11 up to
#   13 it rebuilds Softmax by Flatten and Reshape.
# Instead: downward from 13 to 12 or 11 it changes the number of the opset and nothing else: a
#   Softmax over the channels of a map then runs over channels, rows and columns together. And
#   upward a Hardmax is not rebuilt. No error, and the checker is content.
# Seen with: onnx 1.23.2, onnxruntime 1.32.0 (Python 3.11, Linux x86_64, 2026-11-28).
# Why it matters: opset 11 or 12 is what older engines on devices ask for. Answers stay plausible
#   (positive, summing to 1) and are others.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python -I - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, version_converter

x = np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)
value = helper.make_tensor_value_info


def run(model: onnx.ModelProto) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


def change(operator: str, before: int, after: int) -> float:
    """The largest change of an answer by converting `operator` over the channels."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], axis=1)],
        "g",
        [value("x", TensorProto.FLOAT, x.shape)],
        [value("y", TensorProto.FLOAT, x.shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", before)], ir_version=8)
    converted = version_converter.convert_version(model, after)
    return float(np.abs(run(model) - run(converted)).max())


cases = (("Softmax", 11, 13), ("Softmax", 13, 12), ("Softmax", 13, 11), ("Hardmax", 11, 13))
seen = [change(*case) for case in cases]
for case, difference in zip(cases, seen, strict=True):
    print(f"{case[0]} {case[1]} to {case[2]}: answers change by up to {difference:.3f}")
sys.exit(0 if seen[0] < 1e-6 and min(seen[1:]) > 0.1 else 1)
PYTHON
