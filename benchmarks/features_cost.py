"""What features, and what a file makes of them, cost beside the answer, of the same file.

Features: the engine as it was loaded, the engine with the features as its second output, and the
call that also fetches them, in turns in one process; the figures are the medians over the turns of
the differences between the bursts' medians. Loading is the second engine, which the first such
call pays for once.

Confidence, unknown and a set of 90 %: `classify` with all of it against `classify` of the same file
without its member `trust`, on an image of the model's size, in turns likewise; and that arithmetic
by itself. Memory is the peak of what Python and numpy hold during one call, by tracemalloc, which
sees every array that the engine hands over and nothing within the engine.

    python benchmarks/features_cost.py
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
from shared import Figure, finish, interleaved_ms, medians, parse

from edgeclf import Classifier, Prediction
from edgeclf.artifact import Artifact, load_artifact, seal_artifact
from edgeclf.inference.confidence import Confidence
from edgeclf.runtimes import DEFAULT_RUNTIME, load_runtime
from edgeclf.system.cpu import available_cpus

ALLOWED_MS = 0.05
ALLOWED_KB = 200
SIZES_KB = {192: 12, 1280: 60}  # of the member trust, by the number of features
BURST = 10
COVERAGE = 0.9
FILES = ("mugs.int8.tflite", "mugs.int8.onnx", "mugs.fp32.tflite", "mugs.fp32.onnx")
TEACHER = "mugs-teacher.int8.tflite"


def main() -> int:
    args = parse(__doc__, rounds=(300, "turns of ten calls"))
    threads = available_cpus()
    figures = []
    for name in FILES:
        artifact = load_artifact(args.artifacts / name)
        figures += [*tap(artifact, name, args.rounds, threads)]
        figures += [*trust(artifact, name, args.rounds)]
    figures += [size(load_artifact(args.artifacts / name), name) for name in (FILES[0], TEACHER)]
    described = f"{args.rounds} turns of ten calls, {threads} threads, one process"
    return finish(__file__, figures, described, args.write)


def tap(artifact: Artifact, name: str, rounds: int, threads: int) -> Iterator[Figure]:
    """What the second output costs, and fetching it."""
    runtime, images = DEFAULT_RUNTIME[artifact.format], picture(artifact)[np.newaxis]
    plain, tapped = (load_runtime(runtime, artifact, threads=threads) for _ in range(2))
    method: Any = tapped.run_with_features  # type: ignore[attr-defined]
    start = perf_counter()
    method(images)
    load_ms = (perf_counter() - start) * 1e3
    found = by_turn(
        {
            "plain": lambda: plain.run(images),
            "tapped": lambda: tapped.run(images),
            "features": lambda: method(images),
        },
        rounds,
    )
    note = f"plain {np.median(found['plain']):.3f} ms; loading {load_ms:.1f} ms, once"
    for key, what in (("tapped", "one output more"), ("features", "features fetched")):
        above = float(np.median(found[key] - found["plain"]))
        title = f"{what}, above the answer alone, median, {name}"
        yield Figure(title, above, "ms", at_most=ALLOWED_MS, note=note)


def trust(artifact: Artifact, name: str, rounds: int) -> Iterator[Figure]:
    """What confidence, unknown and a set cost together, in time and memory."""
    image = picture(artifact)
    plain, full = (
        seal_artifact(artifact.content, replace(artifact.metadata, trust=each, certificate=None))
        for each in (None, artifact.metadata.trust)
    )
    confidence = Confidence.of(full)
    assert confidence is not None, f"{name} was not calibrated"
    with Classifier(plain) as bare, Classifier(full) as trusting:
        rows, features = trusting.features(image[np.newaxis])
        calls = {
            "bare": lambda: bare.classify(image).label,
            "full": lambda: everything(trusting.classify(image)),
        }
        found = by_turn(calls, rounds)
        alone = medians(
            interleaved_ms(
                {
                    "judge": lambda: confidence.judge(rows, features),
                    "set": lambda: confidence.sets.members(rows[0].tolist(), COVERAGE),
                },
                rounds, burst=BURST, warmup=50,
            )
        )  # fmt: skip
        peaks = {key: peak_kb(call) for key, call in calls.items()}
    yield Figure(f"confidence, unknown and a set by themselves, median, {name}",
                 alone["judge"] + alone["set"], "ms", at_most=ALLOWED_MS)  # fmt: skip
    yield Figure(
        f"classify with all three, above one of the file without, median, {name}",
        float(np.median(found["full"] - found["bare"])), "ms", at_most=ALLOWED_MS,
        note=f"without {np.median(found['bare']):.3f} ms",
    )  # fmt: skip
    yield Figure(
        f"memory of such a call, above one of the file without, {name}",
        peaks["full"] - peaks["bare"], "kB", at_most=ALLOWED_KB,
        note=f"without {peaks['bare']:.1f} kB",
    )  # fmt: skip


def size(artifact: Artifact, name: str) -> Figure:
    """The member `trust`, in the form that the file holds it in."""
    features, record = artifact.metadata.features, artifact.metadata.trust
    assert features is not None and record is not None, f"{name} was not calibrated"
    channels = features["shape"][-1]
    kilobytes = len(json.dumps(record, ensure_ascii=False).encode()) / 1e3
    return Figure(f"metadata for {channels} features, {name}", kilobytes, "kB",
                  at_most=SIZES_KB[channels])  # fmt: skip


def everything(answer: Prediction) -> tuple[float | None, bool | None, tuple[str, ...] | None]:
    return answer.confidence, answer.unknown, answer.set(COVERAGE)


def picture(artifact: Artifact) -> np.ndarray:
    spec = artifact.metadata.image
    return np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), np.uint8)


def by_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """The median of each turn's calls, [rounds]."""
    found = interleaved_ms(calls, rounds, burst=BURST, warmup=50)
    return {key: np.median(np.reshape(ms, (-1, BURST)), axis=1) for key, ms in found.items()}


def peak_kb(call: Callable[[], object]) -> float:
    """The most that a call holds at once above what was held before it; of ten, the largest."""
    peaks = []
    tracemalloc.start()
    try:
        for _ in range(10):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            call()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return max(peaks[1:]) / 1e3  # the first also makes what Python keeps


if __name__ == "__main__":
    raise SystemExit(main())
