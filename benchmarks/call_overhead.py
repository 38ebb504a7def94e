"""What `classify` costs above the bare engine, for a picture that already has the input's size.

The bare engine is what its documentation shows: set the tensor, invoke, get the tensor, argmax;
with as many threads. Bursts of ten calls in turns, in one process; the figure is the median over
the turns of the difference between the two bursts' medians, so that a disturbance that lasts
longer than a turn does not count.

    python benchmarks/call_overhead.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from shared import Figure, finish, interleaved_ms, parse

from edgeclf import Classifier
from edgeclf.artifact import load_artifact
from edgeclf.runtimes import import_runtime
from edgeclf.system.cpu import available_cpus

ALLOWED_MS = 0.06
BURST = 10
FILES = ("mugs.int8.tflite", "mugs.int8.onnx", "mugs.fp32.tflite", "mugs.fp32.onnx")


def bare_litert(path: Path, image: np.ndarray, threads: int) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    answer = interpreter.get_output_details()[0]["index"]

    def call() -> object:
        interpreter.set_tensor(given, image[np.newaxis])
        interpreter.invoke()
        return interpreter.get_tensor(answer)[0].argmax()

    return call


def bare_onnxruntime(path: Path, image: np.ndarray, threads: int) -> Callable[[], object]:
    import_runtime("onnxruntime")  # with its telemetry off, for both sides
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": image[np.newaxis]})[0][0].argmax()


def main() -> int:
    args = parse(__doc__, rounds=(300, "turns of ten calls"))
    threads = available_cpus()
    figures = []
    for name in FILES:
        path = args.artifacts / name
        spec = load_artifact(path).metadata.image
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (spec.height, spec.width, 3), np.uint8)
        bare = bare_litert if name.endswith("tflite") else bare_onnxruntime
        with Classifier(path, threads=threads) as classifier:
            calls = {
                "bare": bare(path, image, threads),
                "edgeclf": lambda c=classifier, i=image: c.classify(i).label,
            }
            found = interleaved_ms(calls, args.rounds, burst=BURST, warmup=50)
        turns = {name: np.reshape(ms, (-1, BURST)) for name, ms in found.items()}
        bare_ms, ours_ms = (np.median(turns[name], axis=1) for name in ("bare", "edgeclf"))
        above = float(np.median(ours_ms - bare_ms))
        what = f"classify(array) above the bare engine, median, {name}"
        note = f"bare {np.median(bare_ms):.3f} ms"
        figures.append(Figure(what, above, "ms", at_most=ALLOWED_MS, note=note))
    method = f"{args.rounds} turns of ten calls, {threads} threads, one process"
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
