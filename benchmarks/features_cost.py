"""What it costs to get the features beside the answer, of the same file.

The engine as it was loaded, the engine with the features as its second output, and the call that
also fetches them, in turns in one process; the figures are the medians over the turns of the
differences between the bursts' medians. Loading is the second engine, which the first such call
pays for once.

    python benchmarks/features_cost.py
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
from shared import Figure, finish, interleaved_ms, parse

from edgeclf.artifact import load_artifact
from edgeclf.runtimes import DEFAULT_RUNTIME, load_runtime
from edgeclf.system.cpu import available_cpus

ALLOWED_MS = 0.05
BURST = 10
FILES = ("mugs.int8.tflite", "mugs.int8.onnx", "mugs.fp32.tflite", "mugs.fp32.onnx")


def main() -> int:
    args = parse(__doc__, rounds=(300, "turns of ten calls"))
    threads = available_cpus()
    figures = []
    for name in FILES:
        artifact = load_artifact(args.artifacts / name)
        spec, runtime = artifact.metadata.image, DEFAULT_RUNTIME[artifact.format]
        image = np.random.default_rng(0).integers(0, 256, (1, spec.height, spec.width, 3), np.uint8)
        plain, tapped = (load_runtime(runtime, artifact, threads=threads) for _ in range(2))
        method: Any = tapped.run_with_features  # type: ignore[attr-defined]
        start = perf_counter()
        method(image)
        load_ms = (perf_counter() - start) * 1e3
        calls = {
            "plain": lambda i=image, r=plain: r.run(i),
            "tapped": lambda i=image, r=tapped: r.run(i),
            "features": lambda i=image, m=method: m(i),
        }
        found = interleaved_ms(calls, args.rounds, burst=BURST, warmup=50)
        medians = {key: np.median(np.reshape(ms, (-1, BURST)), axis=1) for key, ms in found.items()}
        note = f"plain {np.median(medians['plain']):.3f} ms; loading {load_ms:.1f} ms, once"
        for key, what in (("tapped", "one output more"), ("features", "features fetched")):
            above = float(np.median(medians[key] - medians["plain"]))
            title = f"{what}, above the answer alone, median, {name}"
            figures.append(Figure(title, above, "ms", at_most=ALLOWED_MS, note=note))
    described = f"{args.rounds} turns of ten calls, {threads} threads, one process"
    return finish(__file__, figures, described, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
