"""Memory of a process after its first answer, and whether it grows over 100,000 more.

Fresh processes in turns, each ending with its own proportional set size (PSS). "Bare" is numpy and
the engine as its documentation shows it, on the same random array. The growth check runs once more
with a leak built in on purpose, which it has to find.

    python benchmarks/device_memory.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from shared import Figure, finish, parse

ALLOWED_MB = 12.0
GROWTH_MB = 1.0
LEAK_BYTES = 64  # of the control, a call
CHECKS = (("mugs.int8.tflite", "litert"), ("mugs.int8.onnx", "onnxruntime"))


def child(job: dict[str, object]) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def pss_mb() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3 * 1.024


def first_answer(job: dict[str, object]) -> dict[str, float]:
    import numpy as np

    model, side, who = str(job["model"]), int(str(job["side"])), job["who"]
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    if who == "edgeclf":
        from edgeclf import Classifier

        classifier = Classifier(model, threads=2)
        classifier.classify(image)
    elif model.endswith("tflite"):
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=model, num_threads=2)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis])
        interpreter.invoke()
        interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].argmax()
    else:
        import os

        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        session.run(None, {"image": image[np.newaxis]})[0][0].argmax()
    return {"pss_mb": pss_mb()}


def growth(job: dict[str, object]) -> dict[str, float]:
    import numpy as np

    from edgeclf import Classifier

    side, calls, leak = (int(str(job[name])) for name in ("side", "calls", "leak"))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, side, side, 3), np.uint8)
    kept = []
    with Classifier(str(job["model"]), threads=2) as classifier:
        for index in range(calls // 10):  # pools and caches fill up first
            classifier.classify(images[index % 16])
        before = pss_mb()
        for index in range(calls):
            classifier.classify(images[index % 16])
            if leak:
                kept.append(bytes(leak))
        return {"grown_mb": pss_mb() - before}


def main() -> int:
    if "--child" in sys.argv:
        job = json.loads(sys.argv[-1])
        print(json.dumps(growth(job) if "calls" in job else first_answer(job)))
        return 0
    args = parse(__doc__, rounds=(5, "processes of each"), calls=(100_000, "classifications"))
    from edgeclf.artifact import load_artifact

    figures = []
    for name, runtime in CHECKS:
        path = args.artifacts / name
        job = {"model": str(path), "side": load_artifact(path).metadata.image.width}
        found: dict[str, list[float]] = {"bare": [], "edgeclf": []}
        for turn in range(args.rounds):
            for who in found if turn % 2 else reversed(found):
                found[who].append(child({**job, "who": who})["pss_mb"])
        bare, ours = (statistics.median(found[who]) for who in ("bare", "edgeclf"))
        figures.append(
            Figure(f"PSS after the first answer above the bare engine, {runtime}", ours - bare,
                   "MB", at_most=ALLOWED_MB, note=f"{ours:.1f} against {bare:.1f} MB"),
        )  # fmt: skip
        grown = child({**job, "calls": args.calls, "leak": 0})["grown_mb"]
        leaked = child({**job, "calls": args.calls, "leak": LEAK_BYTES})["grown_mb"]
        figures += [
            Figure(f"growth over {args.calls:,} classifications, {runtime}", grown, "MB",
                   at_most=GROWTH_MB),
            Figure(f"growth with a leak of {LEAK_BYTES} bytes a call, {runtime}", leaked, "MB",
                   at_least=GROWTH_MB, note="the control: must be found"),
        ]  # fmt: skip
    method = f"{args.rounds} fresh processes of each in turns, PSS from smaps_rollup, 2 threads"
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
