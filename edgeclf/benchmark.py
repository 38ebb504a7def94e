"""`edgeclf benchmark`: artifacts on runtimes, measured on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.errors import OptionError
from edgeclf.measurement.matrix.gates import add_gate_arguments, check_gates, gates_from
from edgeclf.measurement.matrix.recommendation import add_limit_arguments, limits_from
from edgeclf.system.arguments import add_device
from edgeclf.system.device import Device

if TYPE_CHECKING:
    from edgeclf.measurement.matrix.cases import BenchmarkMatrix

_OUT = "benchmark.json"
_OF_COMPARE = ("rounds", "seconds")
_OF_MATRIX = (
    "models", "random", "runtimes", "batch", "arrivals", "quick", "fresh",
    "max_latency_ms", "max_memory_mb", "max_size_mb", "min_accuracy", "max_drop", "fail_if",
    "baseline", "tolerance",
)  # fmt: skip


def benchmark(
    models: Sequence[str | os.PathLike[str]],
    images: str | os.PathLike[str] | None,
    *,
    matrix: BenchmarkMatrix | None = None,
    device: Device = "cpu",
    arrivals_per_s: float | None = None,
    out: str | os.PathLike[str] = _OUT,
    quick: bool = False,
    fresh: bool = False,
) -> dict[str, Any]:
    """Measures artifacts x runtimes x threads x batch: accuracy, latency, throughput, memory.

    Every figure comes from a process of its own; memory and latency from different ones. The
    results are written after every row. Rows that `out` already holds are taken over if file,
    settings, machine and libraries are the same, so an interrupted benchmark goes on.
    docs/benchmarking.md explains the method and every field.

    Args:
        models: Artifacts; a ``.keras`` one among them is the reference that the others of its
            name are compared with.
        images: Labelled photos: a folder that holds one folder a class, or a CSV. None for random
            pixels: the models alone, without accuracy.
        matrix: Runtimes, threads and batch sizes to run each artifact with; by default its usual
            runtime, on the CPUs this process may use, one picture a call.
        device: Where the models run.
        arrivals_per_s: Also measure an open stream of so many requests a second, with latency
            counted from when each arrives.
        out: Where the results go, as JSON.
        quick: Fewer samples: enough for p50 and p90, not for a published figure.
        fresh: Whether to measure every row again.

    Returns:
        The results as written; a row that failed holds its reason.

    Raises:
        ArtifactError: A model is no artifact.
        DataError: The photos cannot be used, or have other classes than the models.
        OptionError: No model, a number that is too small, or an `out` that cannot be written.
        RuntimeLoadError: There is no runtime of such a name.

    Examples:
        ```python
        results = edgeclf.benchmark(
            ["mugs.keras", "mugs.int8.tflite"], "photos/eval", out="benchmark.json"
        )
        for row in results["rows"]:
            print(row["file"], row["error"] or row["latency"]["stages_ms"]["total"]["p50"])
        ```
    """
    if not models:
        raise OptionError("No model was given; expected at least one artifact.")
    if arrivals_per_s is not None and not arrivals_per_s > 0:
        raise OptionError(f"arrivals_per_s is {arrivals_per_s:g}; expected more than 0, or None.")
    from edgeclf.measurement.matrix.cases import BenchmarkMatrix
    from edgeclf.measurement.matrix.run import BenchmarkRequest, measure_matrix

    request = BenchmarkRequest(
        tuple(Path(model) for model in models),
        None if images is None else Path(images),
        matrix or BenchmarkMatrix(),
        device,
        arrivals_per_s or 0.0,
        quick,
    )
    return measure_matrix(request, Path(out), fresh=fresh)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("models", nargs="*", help="artifacts: .keras, .tflite, .onnx")
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--images", metavar="DIR",
                       help="labelled photos, a folder a class or a CSV")  # fmt: skip
    given.add_argument("--random", action="store_true",
                       help="random pixels: the models alone, without accuracy")  # fmt: skip
    parser.add_argument("--runtimes", nargs="+", metavar="NAME",
                        help="default: the usual one of each file")  # fmt: skip
    parser.add_argument("--threads", nargs="+", type=int, metavar="N",
                        help="default: the CPUs this process may use")  # fmt: skip
    parser.add_argument("--batch", nargs="+", type=int, metavar="N", default=[1],
                        help="pictures in one call (default: 1)")  # fmt: skip
    add_device(parser)
    parser.add_argument("--arrivals", type=float, metavar="RATE",
                        help="also measure an open stream of RATE requests a second")  # fmt: skip
    parser.add_argument("--out", metavar="FILE",
                        help="default: benchmark.json, or comparison-ab.json")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer samples, for a first look")
    parser.add_argument("--fresh", action="store_true",
                        help="measure also the rows that FILE already holds")  # fmt: skip
    add_limit_arguments(parser)
    add_gate_arguments(parser)
    pair = parser.add_argument_group("A against B")
    pair.add_argument("--compare", nargs=2, metavar=("A", "B"), help="which of two is faster; each "
                      "FILE[@RUNTIME[:THREADS]]; with --images from photos, else the engine "
                      "alone")  # fmt: skip
    pair.add_argument("--rounds", type=int, help="default: 16")
    pair.add_argument("--seconds", type=float, help="for each process (default: 0.7)")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    if args.compare:
        return _run_compare(args)
    _refuse(args, _OF_COMPARE, "the matrix", "Add --compare A B")
    if not args.images and not args.random:
        raise OptionError(
            "Received neither labelled photos (--images DIR) nor --random; expected one of the two."
        )
    from edgeclf.measurement.matrix.cases import BenchmarkMatrix
    from edgeclf.system.cpu import cpu_model

    limits, gates = limits_from(args), gates_from(args, cpu_model())  # before anything is measured
    out = args.out or _OUT
    results = benchmark(
        args.models,
        args.images,
        matrix=BenchmarkMatrix(args.runtimes, args.threads or (None,), args.batch),
        device=args.device,
        arrivals_per_s=args.arrivals,
        out=out,
        quick=args.quick,
        fresh=args.fresh,
    )
    passed = check_gates(results, Path(out), limits, gates)
    print(out)
    return 1 if not passed or any(row["error"] for row in results["rows"]) else 0


def _run_compare(args: argparse.Namespace) -> int:
    from edgeclf.measurement.matrix import ab

    _refuse(args, _OF_MATRIX, "--compare A B", "Leave out --compare")
    if args.threads and len(args.threads) > 1:
        raise OptionError(
            f"--threads is {args.threads}; expected one number beside --compare. To compare "
            "numbers of threads, write FILE@:1 FILE@:2."
        )
    given = {
        name: value
        for name in ("rounds", "seconds", "out")
        if (value := getattr(args, name)) is not None
    }
    threads = args.threads[0] if args.threads else None
    found = ab.compare_ab(
        *args.compare, images=args.images, threads=threads, device=args.device, **given
    )
    print(found)
    print(args.out or ab.OUT)
    return 0


def _refuse(args: argparse.Namespace, names: Sequence[str], beside: str, advice: str) -> None:
    """Refuses options that would have no effect."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    idle = [name for name in names if getattr(args, name) not in (parser.get_default(name), [])]
    if idle:
        options = ", ".join("models" if n == "models" else f"--{n.replace('_', '-')}" for n in idle)
        raise OptionError(f"{options} have no effect on {beside}. {advice}, or leave them out.")


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["benchmark", *sys.argv[1:]]))
