#!/usr/bin/env bash
# Guess: a process that may run on CPU 0 alone (taskset, a cpuset) keeps ONNX Runtime's threads
#   there.
# Instead: the default session makes a thread for each core of the machine and pins it to its own:
#   here to CPU 1, outside of the mask. With intra_op_num_threads given the threads stay inside.
# Seen with: onnxruntime 1.32.0, onnx 1.23.2 (Python 3.11, Linux x86_64, 2026-11-28).
# Why it matters: cores that were set aside for a camera or a control loop get a spinning
#   neighbour. Set the number of threads, from the mask.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python -I - <<'PYTHON'
import os
import re
import sys
from pathlib import Path

if not {0, 1} <= os.sched_getaffinity(0):
    print("this needs CPUs 0 and 1")
    sys.exit(2)
os.sched_setaffinity(0, {0})
import onnxruntime
from onnx import TensorProto, helper

value = helper.make_tensor_value_info
graph = helper.make_graph(
    [helper.make_node("Relu", ["x"], ["y"])],
    "g",
    [value("x", TensorProto.FLOAT, [1, 3])],
    [value("y", TensorProto.FLOAT, [1, 3])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def masks_of_new_threads(threads: int | None) -> list[str]:
    before = set(os.listdir("/proc/self/task"))
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    new = sorted(set(os.listdir("/proc/self/task")) - before)
    status = [Path(f"/proc/self/task/{thread}/status").read_text() for thread in new]
    del session
    return [re.search(r"Cpus_allowed_list:\s*(\S+)", text)[1] for text in status]


default, given = masks_of_new_threads(None), masks_of_new_threads(2)
print(
    f"process on CPU 0; new threads may run on {default} by default, on {given} if 2 are asked for"
)
sys.exit(0 if default and "0" not in default and given == ["0"] else 1)
PYTHON
