#!/usr/bin/env bash
# Guess: a QUANTIZE from uint8 to int8, which only turns the top bit, costs less than a DEQUANTIZE
#   to float32 with a QUANTIZE back to int8 behind it, and all of them are XNNPACK's.
# Instead: XNNPACK takes the two and leaves the one to LiteRT's own kernel, which goes byte by byte:
#   both give the same bits, and the one takes 7.5 times as long as the two (86 and 11 us for
#   224 x 224 pixels).
# Seen with: ai-edge-litert 2.3.0, flatbuffers 25.12.19 (Python 3.11, Linux x86_64 with AVX-512,
#   2026-12-01).
# Why it matters: it is how an int8 classifier takes a photo's bytes, and what TensorFlow's converter
#   writes for inference_input_type=uint8. Of a small network that is a twentieth of the call.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python -I - <<'PYTHON'
import statistics
import sys
import time

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

SHAPE = [1, 224, 224, 3]


def tensor(name: str, kind: str, zero_point: int | None) -> schema.TensorT:
    made = schema.TensorT()
    made.name, made.shape, made.buffer = name, SHAPE, 0
    made.type = getattr(schema.TensorType, kind)
    if zero_point is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [1 / 128], [zero_point]
    return made


def chain(*steps: str) -> bytes:
    """uint8 to int8 by these operators one behind the other, float32 between them."""
    graph, model = schema.SubGraphT(), schema.ModelT()
    between = [tensor("floats", "FLOAT32", None)] * (len(steps) - 1)
    graph.tensors = [tensor("image", "UINT8", 127), *between, tensor("signed", "INT8", -1)]
    graph.inputs, graph.outputs, graph.operators = [0], [len(steps)], []
    model.version, model.operatorCodes, model.subgraphs = 3, [], [graph]
    model.buffers = [schema.BufferT()]
    for number, step in enumerate(steps):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode, code.version = getattr(schema.BuiltinOperator, step), 2
        code.deprecatedBuiltinCode = code.builtinCode
        operator.opcodeIndex, operator.inputs, operator.outputs = number, [number], [number + 1]
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


picture = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
engines = {}
for name, steps in {"one": ("QUANTIZE",), "two": ("DEQUANTIZE", "QUANTIZE")}.items():
    engine = engines[name] = Interpreter(model_content=chain(*steps), num_threads=1)
    engine.allocate_tensors()
    engine.set_tensor(0, picture)
    engine.invoke()
    if not np.array_equal(engine.get_tensor(len(steps)), (picture ^ 0x80).view(np.int8)):
        sys.exit("other bits")
    print(name, [step["op_name"] for step in engine._get_ops_details()])
times = {name: [] for name in engines}
for _ in range(200):
    for name, engine in engines.items():
        start = time.perf_counter()
        for _ in range(5):
            engine.invoke()
        times[name].append((time.perf_counter() - start) * 1e6 / 5)
one, two = (statistics.median(times[name]) for name in ("one", "two"))
print(f"QUANTIZE {one:.0f} us; DEQUANTIZE and QUANTIZE {two:.0f} us, {one / two:.1f} times less")
delegated = [any(s["op_name"] == "DELEGATE" for s in engines[n]._get_ops_details()) for n in engines]
sys.exit(0 if delegated == [False, True] and one > 3 * two else 1)
PYTHON
