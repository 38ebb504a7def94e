#!/usr/bin/env bash
# Guess: OpenVINO's CACHE_DIR notices that the file at a path holds other weights.
# Instead: compile_model(path) knows the file by path, size and modification time; when these are
#   the same it takes the old model from the cache and answers with it.
#   compile_model(read_model(path)) and a later time do notice.
# Seen with: openvino 2026.4.1, onnx 1.23.2 (Python 3.11, Linux x86_64, 2026-11-28).
# Why it matters: two trainings of one network have one size, and reproducible archives, container
#   layers and cp -p set or keep times: a device that was updated may go on answering with last
#   month's model.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python -I - <<'PYTHON'
import os
import sys

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

X = np.ones((1, 4), np.float32)
value = helper.make_tensor_value_info


def write(weight: float, time_s: int) -> None:
    """The same network with another weight, dated as an archive would date it."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "classifier",
        [value("x", TensorProto.FLOAT, [1, 4])],
        [value("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(np.full((4, 2), weight, np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, "model.onnx")
    os.utime("model.onnx", (time_s, time_s))


def answer(by_path: bool) -> float:
    core = openvino.Core()
    core.set_property({"CACHE_DIR": "cache"})
    model = "model.onnx" if by_path else core.read_model("model.onnx")
    return float(core.compile_model(model, "CPU")(X)[0][0, 0])


write(1.0, 1_000_000_000)
first = answer(by_path=True)
write(2.0, 1_000_000_000)
replaced, read_first = answer(by_path=True), answer(by_path=False)
write(2.0, 1_000_000_060)
later = answer(by_path=True)
print(f"weights 1: {first}; weights 2: by path {replaced}, read first {read_first}, later {later}")
sys.exit(0 if (first, replaced, read_first, later) == (4, 4, 8, 8) else 1)
PYTHON
