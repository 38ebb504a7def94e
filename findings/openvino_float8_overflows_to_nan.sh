#!/usr/bin/env bash
# Guess: a Cast to float8e4m3fn saturates in every engine, as ONNX lays down (saturate is 1 by
#   default): 1000 becomes 448.
# Instead: ONNX Runtime and onnx's reference give 448, OpenVINO gives NaN; and for float8e5m2 it
#   gives infinity instead of 57344.
# Seen with: openvino 2026.4.1, onnxruntime 1.32.0, onnx 1.23.2 (Python 3.11, Linux x86_64,
#   2026-11-28).
# Why it matters: one activation above 448 in a model quantised to eight-bit floats, and the NaN
#   reaches every probability; on the engine that it was quantised with nothing was to be seen.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python -I - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

x = np.array([1, 448, 1000, -1e9], np.float32)
value = helper.make_tensor_value_info
core = openvino.Core()
seen = {}
for kind in ("FLOAT8E4M3FN", "FLOAT8E5M2"):
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["eight"], to=TensorProto.DataType.Value(kind)),
            helper.make_node("Cast", ["eight"], ["y"], to=TensorProto.FLOAT),
        ],
        "g",
        [value("x", TensorProto.FLOAT, [4])],
        [value("y", TensorProto.FLOAT, [4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    seen[kind] = [
        ReferenceEvaluator(model).run(None, {"x": x})[0].tolist(),
        onnxruntime.InferenceSession(content).run(None, {"x": x})[0].tolist(),
        core.compile_model(core.read_model(content), "CPU")(x)[0].tolist(),
    ]
    print(
        f"{kind}: reference {seen[kind][0]}, ONNX Runtime {seen[kind][1]}, OpenVINO {seen[kind][2]}"
    )

expected = {
    "FLOAT8E4M3FN": "[[1, 448, 448, -448], [1, 448, 448, -448], [1, 448, nan, nan]]",
    "FLOAT8E5M2": "[[1, 448, 1024, -57344], [1, 448, 1024, -57344], [1, 448, 1024, -inf]]",
}
sys.exit(0 if all(repr(seen[k]).replace(".0", "") == text for k, text in expected.items()) else 1)
PYTHON
