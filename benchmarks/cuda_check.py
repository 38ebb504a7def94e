"""Whether CUDA is really used on this machine, and what it gives. Needs a GPU.

Loads an .onnx (or .keras) artifact on the GPU and on the CPU and says which provider ran, whether
the answers agree, what the first call costs, and the latency of both. Exits 1 if the answers
differ, 2 with the runtime's own words if there is no CUDA to be had.

    python benchmarks/cuda_check.py FILE.fp32.onnx [--images DIR]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from shared import Figure, finish, interleaved_ms, medians, photos

from edgeclf import Classifier, EdgeclfError, load_image
from edgeclf.datasets.photos import find_unlabelled

# TF32 and other orders of summation; int8 graphs run in float on a GPU.
TOLERANCES = {"fp32": 0.005, "fp16": 0.02, "int8": 0.05}


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether CUDA is really used here.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=Path, help="photos (default: the mugs' evaluation set)")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="store the figures in results/")
    args = parser.parse_args()
    try:
        start = time.perf_counter()
        gpu = Classifier(args.model, device="cuda")
        load_ms = (time.perf_counter() - start) * 1e3
        spec = gpu.artifact.metadata.image
        paths = find_unlabelled(args.images).paths if args.images else photos()
        images = np.stack([load_image(path, spec) for path in paths])
        start = time.perf_counter()
        gpu.classify(images[0])
        first_ms = (time.perf_counter() - start) * 1e3
        cpu = Classifier(args.model)
        on_gpu = np.concatenate([gpu.probabilities(part) for part in np.array_split(images, 8)])
        on_cpu = np.concatenate([cpu.probabilities(part) for part in np.array_split(images, 8)])
    except EdgeclfError as exc:
        print(f"cuda_check: {exc}", file=sys.stderr)
        return 2
    info = gpu.describe()
    print(f"runs on {info.device} by {info.delegate}, {info.library} {info.library_version}")
    found = medians(
        interleaved_ms(
            {"gpu": lambda: gpu.classify(images[0]), "cpu": lambda: cpu.classify(images[0])},
            args.rounds, warmup=20,
        )
    )  # fmt: skip
    tolerance = TOLERANCES.get(gpu.artifact.metadata.precision, 0.05)
    same = float((on_gpu.argmax(axis=1) == on_cpu.argmax(axis=1)).mean())
    figures = [
        Figure("CUDA against CPU: largest change of a probability",
               float(np.abs(on_gpu - on_cpu).max()), at_most=tolerance),
        Figure("CUDA against CPU: same top-1", same, at_least=0.995),
        Figure("loading on the GPU", load_ms, "ms"),
        Figure("the first call", first_ms, "ms"),
        Figure("later calls, median", found["gpu"], "ms", note=f"CPU {found['cpu']:.2f} ms"),
    ]  # fmt: skip
    method = f"{args.model.name}, {len(images)} photos, {info.delegate}"
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
