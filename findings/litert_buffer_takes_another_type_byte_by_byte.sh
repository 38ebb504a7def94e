#!/usr/bin/env bash
# Guess: TensorBuffer.write of LiteRT's CompiledModel refuses an array of another dtype or length
#   than the tensor's, or converts it, as Interpreter.set_tensor refuses it.
# Instead: uint8, int8, int32 and float16 are copied byte by byte into the float32 tensor, a
#   shorter array over its beginning; the rest keeps the picture before. No error; only float64,
#   int64 and a longer array are refused. read() with another dtype gives bytes too.
# Seen with: ai-edge-litert 2.3.0, flatbuffers 25.12.19 (Python 3.11, Linux x86_64, 2026-11-28).
# Why it matters: who moves from Interpreter to CompiledModel and hands over a uint8 photo gets
#   answers about a quarter of it, mixed with the last one. Compare dtype and size with
#   get_input_tensor_details yourself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python -I - <<'PYTHON'
import sys

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter


def tensor(name: str, buffer: int) -> schema.TensorT:
    made = schema.TensorT()
    made.name, made.shape, made.buffer = name, [1, 4], buffer
    made.type = schema.TensorType.FLOAT32
    return made


def model_that_adds_nothing() -> bytes:
    """y = x + 0 on float32 [1, 4]."""
    code, add, graph, model = (
        schema.OperatorCodeT(),
        schema.OperatorT(),
        schema.SubGraphT(),
        schema.ModelT(),
    )
    code.builtinCode, code.version = schema.BuiltinOperator.ADD, 1
    add.opcodeIndex, add.inputs, add.outputs = 0, [0, 1], [2]
    add.builtinOptionsType, add.builtinOptions = (
        schema.BuiltinOptions.AddOptions,
        schema.AddOptionsT(),
    )
    graph.tensors = [tensor("x", 0), tensor("zero", 1), tensor("y", 0)]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [add]
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.zeros(16, np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


content = model_that_adds_nothing()
interpreter = Interpreter(model_content=content)
interpreter.allocate_tensors()
compiled = CompiledModel.from_buffer(content)
inputs, outputs = compiled.create_input_buffers(0), compiled.create_output_buffers(0)
before = np.full((1, 4), 9, np.float32)
seen = {}
for picture in (
    np.array([[1, 2, 3, 4]], np.uint8), np.array([[1, 2, 3, 4]], np.float16),
    np.ones((1, 3), np.float32), np.ones((1, 4), np.float64), np.ones((1, 5), np.float32),
):  # fmt: skip
    name = f"{picture.dtype} x {picture.size}"
    try:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
        refused = False
    except ValueError:
        refused = True
    inputs[0].write(before)
    try:
        inputs[0].write(picture)
        compiled.run_by_index(0, inputs, outputs)
        answer = outputs[0].read(4, np.float32)
        raw = picture.tobytes() + before.tobytes()[picture.nbytes :]
        seen[name] = "bytes" if answer.tobytes() == raw else "something else"
        print(f"{name}: Interpreter refuses: {refused}; CompiledModel answers {answer}")
    except (ValueError, RuntimeError) as exc:
        seen[name] = "refused"
        print(f"{name}: Interpreter refuses: {refused}; CompiledModel: {exc}")
    if not refused:
        sys.exit(1)
sys.exit(0 if list(seen.values()) == ["bytes"] * 3 + ["refused"] * 2 else 1)
PYTHON
