"""How latency and memory grow with input size, batch, threads and number of classes.

The plain student with random weights, converted to int8 here: how long a network takes depends on
its shape, not on what it has learned. One thing grows at a time from the same point. Each figure
is of the model alone, on random bytes, in fresh processes in turns; memory is the process's PSS
after its last answer. Needs TensorFlow, for the models.

    python benchmarks/scaling.py
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from shared import Figure, finish, parse, results_path

from edgeclf.measurement.harness.interleave import measure_interleaved
from edgeclf.measurement.harness.process import CommandJob
from edgeclf.system import files
from edgeclf.system.child import serve
from edgeclf.system.cpu import available_cpus

COMMAND = (sys.executable, __file__, "--child")
BACKBONE = "student"
SIDE, CLASSES = 96, 4
SIDES = (64, 96, 128, 192, 256, 384)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
CLASS_COUNTS = (4, 100, 1_000, 10_000)
THREADS_SIDE = 256  # on a small picture, threads have nothing to share
CALIBRATION_IMAGES = 8
WARMUP_CALLS, LEAST_CALLS = 3, 5
RUNTIMES = {"litert": "tflite", "onnxruntime": "onnx"}
TITLES = {
    "input size": "input size, pixels a side",
    "batch": "images in a call",
    "threads": f"threads, at {THREADS_SIDE} pixels",
    "classes": "classes",
}
# Okabe and Ito's colours, which colour-blind people can tell apart; readable by day and by night.
COLOURS = {"litert": "#0072b2", "onnxruntime": "#d55e00"}
MARKERS = {"litert": "o", "onnxruntime": "s"}


@dataclass(frozen=True)
class BenchmarkCase:
    """One measured point."""

    sweep: str
    value: int
    runtime: str
    side: int = SIDE
    classes: int = CLASSES
    batch: int = 1
    threads: int = 0

    def __str__(self) -> str:
        return f"{self.sweep} {self.value:,} on {self.runtime}"


def all_cells() -> list[BenchmarkCase]:
    cpus = available_cpus()
    threads = [1 << n for n in range((2 * cpus).bit_length())]
    return [
        cell
        for runtime in RUNTIMES
        for cell in (
            *(BenchmarkCase("input size", n, runtime, side=n, threads=cpus) for n in SIDES),
            *(BenchmarkCase("batch", n, runtime, batch=n, threads=cpus) for n in BATCHES),
            *(BenchmarkCase("threads", n, runtime, side=THREADS_SIDE, threads=n) for n in threads),
            *(BenchmarkCase("classes", n, runtime, classes=n, threads=cpus) for n in CLASS_COUNTS),
        )
    ]


def write_models(folder: Path, side: int, classes: int) -> None:
    """One network as int8, in the format of each runtime."""
    from edgeclf.artifact import Metadata, save_artifact, seal_artifact
    from edgeclf.converters import find_converter
    from edgeclf.converters.base import Recipe, Source, TensorFlowGraph
    from edgeclf.image import ImageSpec
    from edgeclf.networks.builder import build_classifier, find_backbone, part
    from edgeclf.training.fit import use_seed

    use_seed(0)
    spec = ImageSpec(side, side)
    model = build_classifier(find_backbone(BACKBONE), classes, spec)
    core = part(model, "normalize", "probabilities")
    labels = tuple(f"class {n}" for n in range(classes))
    images = np.random.default_rng(0).integers(
        0, 256, (CALIBRATION_IMAGES, side, side, 3), np.uint8
    )
    source = Source(
        TensorFlowGraph(
            lambda image: core(image, training=False), [v.value for v in model.variables]
        ),
        Metadata(BACKBONE, labels, spec, precision="int8", parameters=model.count_params()),
        images,
    )
    for format_ in RUNTIMES.values():
        converted = find_converter(format_)(source).convert(Recipe("int8", "min-max"))
        save_artifact(
            seal_artifact(converted.content, source.metadata),
            folder / file_of(side, classes, format_),
        )


def file_of(side: int, classes: int, format_: str) -> str:
    return f"{side}px-{classes}.int8.{format_}"


def measure_cell(job: Mapping[str, Any]) -> dict[str, Any]:
    """Median time of a call, and memory after the last: what a child process does.

    Args:
        job: ``model``, ``runtime``, ``threads``, ``side``, ``batch``, ``seconds``.
    """
    from edgeclf import Classifier
    from edgeclf.measurement.probes.memory import memory_use

    shape = (job["batch"], job["side"], job["side"], 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    times_ms: list[float] = []
    with Classifier(job["model"], runtime=job["runtime"], threads=job["threads"]) as classifier:
        for _ in range(WARMUP_CALLS):
            classifier.probabilities(images)
        end = time.perf_counter() + job["seconds"]
        while len(times_ms) < LEAST_CALLS or time.perf_counter() < end:
            start = time.perf_counter()
            classifier.probabilities(images)
            times_ms.append((time.perf_counter() - start) * 1e3)
        return {"p50_ms": statistics.median(times_ms), "pss_bytes": memory_use().pss_bytes}


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Latency above, memory below, a column for each of `TITLES`."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    settings = {"svg.hashsalt": "edgeclf", "font.size": 9, "axes.grid": True,
                "grid.color": "#dddddd", "axes.spines.top": False, "axes.spines.right": False,
                "legend.frameon": False}  # fmt: skip
    with pyplot.rc_context(settings):
        figure, axes = pyplot.subplots(
            2, len(TITLES), figsize=(11, 5), sharex="col", sharey="row", layout="constrained"
        )
        for column, (sweep, title) in enumerate(TITLES.items()):
            latency, memory = axes[:, column]
            for runtime in RUNTIMES:
                found = [r for r in rows if (r["sweep"], r["runtime"]) == (sweep, runtime)]
                values = [r["value"] for r in found]
                style = {"color": COLOURS[runtime], "marker": MARKERS[runtime], "markersize": 4}
                latency.plot(values, [r["p50_ms"] for r in found], label=runtime, **style)
                memory.plot(values, [r["pss_bytes"] / 1e6 for r in found], **style)
            ticks = sorted({r["value"] for r in rows if r["sweep"] == sweep})
            memory.set_xscale("log")
            memory.set_xticks(ticks, [f"{n:,}" for n in ticks])
            memory.set_xticks([], minor=True)
            memory.set_xlabel(title)
            latency.set_yscale("log")
            latency.yaxis.set_major_formatter("{x:g}")
        axes[0, 0].set_ylabel("latency of a call, p50, ms (log)")
        axes[1, 0].set_ylabel("PSS, MB")
        axes[1, 0].set_ylim(bottom=0)
        axes[0, 0].legend()
        with files.replacing(path) as temporary:
            figure.savefig(temporary, metadata={"Date": None})
        pyplot.close(figure)


def figures_of(rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """What growing costs at the far end, beside its beginning."""
    figures = []
    for runtime in RUNTIMES:
        for sweep in TITLES:
            found = [r for r in rows if (r["sweep"], r["runtime"]) == (sweep, runtime)]
            if len(found) < 2:
                continue
            first, last = found[0], found[-1]
            more_mb = (last["pss_bytes"] - first["pss_bytes"]) / 1e6
            figures.append(
                Figure(
                    f"latency, {sweep} {last['value']:,} / {first['value']:,}, {runtime}",
                    last["p50_ms"] / first["p50_ms"],
                    note=f"{last['p50_ms']:.3g} / {first['p50_ms']:.3g} ms, {more_mb:+.1f} MB",
                )
            )
    return figures


def main() -> int:
    if "--child" in sys.argv:
        return serve(lambda job, _: (measure_cell(job), b""))
    args = parse(__doc__, rounds=(3, "processes of each"), seconds=(0.4, "of measuring in each"))
    load = os.getloadavg()[0]
    cells = all_cells()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side, classes in sorted({(cell.side, cell.classes) for cell in cells}):
            write_models(folder, side, classes)
        jobs = {
            cell: CommandJob(
                command=COMMAND,
                document={
                    "model": str(folder / file_of(cell.side, cell.classes, RUNTIMES[cell.runtime])),
                    "runtime": cell.runtime,
                    "threads": cell.threads,
                    "side": cell.side,
                    "batch": cell.batch,
                    "seconds": args.seconds,
                },
            )
            for cell in cells
        }
        results, errors = measure_interleaved(jobs, rounds=args.rounds, title="scaling")
    for cell, reason in errors.items():
        print(f"{cell} FAILED: {reason}")
    rows = [
        {
            "sweep": cell.sweep,
            "value": cell.value,
            "runtime": cell.runtime,
            **{key: statistics.median(r[key] for r in found) for key in ("p50_ms", "pss_bytes")},
            "rounds_ms": [r["p50_ms"] for r in found],
        }
        for cell, found in results.items()
    ]
    if args.write:
        draw(rows, results_path(args.write, __file__, "svg"))
    method = (
        f"{BACKBONE} as int8, random weights; {SIDE} x {SIDE} pixels, {CLASSES} classes, one image "
        f"and {available_cpus()} threads but for what grows (threads: {THREADS_SIDE} pixels); "
        f"medians of {args.rounds} fresh processes in turns, {args.seconds} s each; load of the "
        f"machine before {load:.1f}"
    )
    return finish(__file__, figures_of(rows), method, args.write, rows=rows,
                  errors={str(cell): reason for cell, reason in errors.items()})  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
