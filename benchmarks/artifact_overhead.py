"""What it costs that an artifact knows itself: bytes in the file, and time to read it.

Time is that of `load_artifact` (read, check the seal, parse the metadata) beyond that of reading
the same bytes, interleaved in one process with a warm page cache. Per 10 MB it is judged on a
made-up artifact of 40 MB: on small files the fixed cost of parsing hides what a byte costs.

    python benchmarks/artifact_overhead.py [FILE ...]      (default: all in runs/demo)
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from edgeclf.artifact import Artifact, Metadata, load_artifact, save_artifact, seal_artifact
from edgeclf.image import ImageSpec

ALLOWED_MS = 5.0  # more per 10 MB
ROUNDS = 31
SYNTHETIC_BYTES = 40_000_000


def synthetic(folder: Path) -> Path:
    metadata = Metadata("synthetic", ("cat", "dog"), ImageSpec(224, 224))
    artifact = seal_artifact(b"\x10\x00\x00\x00TFL3" + os.urandom(SYNTHETIC_BYTES), metadata)
    path = folder / "synthetic.tflite"
    save_artifact(artifact, path)
    return path


def median_ms(path: Path) -> tuple[float, ...]:
    """Reading alone, `load_artifact`, and one SHA-256 of the bytes: the floor of any check."""
    content = path.read_bytes()
    steps: tuple[Callable[[], object], ...] = (
        path.read_bytes,
        lambda: load_artifact(path),
        lambda: hashlib.sha256(content).digest(),
    )
    samples: tuple[list[float], ...] = tuple([] for _ in steps)
    for _ in range(ROUNDS + 1):
        for step, times in zip(steps, samples, strict=True):
            start = time.perf_counter()
            step()
            times.append((time.perf_counter() - start) * 1e3)
    return tuple(statistics.median(times[1:]) for times in samples)


def sizes(artifact: Artifact) -> tuple[int, int]:
    """Bytes of the metadata without the certificate, and of the certificate."""
    certificate = artifact.metadata.certificate
    whole = len(artifact.metadata.to_json().encode())
    part = len(json.dumps(certificate, ensure_ascii=False).encode()) if certificate else 0
    return whole - part, part


def main() -> int:
    demo = Path("runs/demo")
    kinds = ("tflite", "onnx", "keras")
    default = sorted(path for kind in kinds for path in demo.glob(f"*.{kind}"))
    paths = [Path(word) for word in sys.argv[1:]] or default
    if paths:
        print(f"{'file':>9}  {'metadata':>20}  {'certificate':>20}")
    else:
        print(f"no artifacts in {demo}; run 'edgeclf demo', or name some")
    for path in paths:
        artifact = load_artifact(path)
        size = artifact.size_bytes
        parts = "  ".join(f"{n / 1e3:7.1f} kB ({n / size:6.1%})" for n in sizes(artifact))
        print(f"{size / 1e3:6.0f} kB  {parts}  {path.name}")
    print(f"\n{'read':>11}  {'load_artifact':>13}  {'more':>11}  {'one SHA-256':>11}")
    with tempfile.TemporaryDirectory() as folder:
        for path in (*paths, synthetic(Path(folder))):
            read, load, digest = median_ms(path)
            print(
                f"{read:8.2f} ms  {load:10.2f} ms  {load - read:8.2f} ms  {digest:8.2f} ms  "
                f"{path.name}"
            )
    per_10_mb = (load - read) / (SYNTHETIC_BYTES / 10e6)
    floor = digest / (SYNTHETIC_BYTES / 10e6)
    print(f"\non 40 MB, more per 10 MB: {per_10_mb:.1f} ms (allowed: {ALLOWED_MS:.0f}); "
          f"one SHA-256 takes {floor:.1f} ms")  # fmt: skip
    return 1 if per_10_mb > ALLOWED_MS else 0


if __name__ == "__main__":
    raise SystemExit(main())
