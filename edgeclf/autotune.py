"""`edgeclf autotune`: which runtime and how many threads answer fastest on this device."""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.errors import MeasurementError, OptionError
from edgeclf.system.arguments import add_device
from edgeclf.system.device import Device
from edgeclf.system.words import counted

if TYPE_CHECKING:
    from edgeclf.artifact import Format
    from edgeclf.measurement.jobs.inference import InferenceJob, InferenceResult

_ROUNDS = 3
_SECONDS = 0.7  # of measuring, for each candidate in each round
_BATCHES = (1, 4, 16)  # pictures in one call, of engines that take several
# The usual runtime stays unless another is faster by more than this: less is noise, and the usual
# one is what the artifact was certified on.
_WORTH_IT = 0.95


@dataclass(frozen=True)
class Candidate:
    """One way to run an artifact, and what it took.

    Attributes:
        runtime: The runtime's name.
        threads: Threads for one call.
        p50_ms: Median over the rounds of each round's median time of one inference, without
            decoding; None if it failed.
        error: Why it failed, or None.
    """

    runtime: str
    threads: int
    p50_ms: float | None = None
    error: str | None = None

    def __str__(self) -> str:
        return f"{self.runtime}, {counted(self.threads, 'thread')}"


@dataclass(frozen=True)
class Tuning:
    """What `autotune` found.

    Attributes:
        runtime: The runtime that ``runtime="auto"`` takes from now on.
        threads: Its number of threads.
        reason: Why, in a sentence.
        candidates: All that were measured, fastest first, failures last.
        path: Where it is stored.
        batch: Pictures that a service may answer by one call where so many wait; 1 where that
            saves nothing.
    """

    runtime: str
    threads: int
    reason: str
    candidates: tuple[Candidate, ...]
    path: Path
    batch: int = 1


def autotune(
    model: str | os.PathLike[str],
    *,
    device: Device = "cpu",
    runtimes: Sequence[str] | None = None,
    threads: Sequence[int] | None = None,
) -> Tuning:
    """Measures the candidates in processes of their own, in turns, and stores the choice.

    The choice is kept beside the artifact as ``FILE.tuning.json``; ``runtime="auto"`` follows it
    as long as file, device and CPU stay the same. The artifact itself is not touched.

    Args:
        model: Path of an artifact.
        device: Where it is to run.
        runtimes: Names to try; by default all installed ones that take the file's format.
        threads: Counts to try; by default 1, 2, 4 and so on, up to the CPUs of this process.

    Returns:
        The choice and what every candidate took.

    Raises:
        ArtifactError: The model is no artifact.
        OptionError: Nothing to try, fewer than one thread, or no room beside the artifact.
        MeasurementError: No candidate runs; says why each does not.

    Examples:
        ```python
        print(edgeclf.autotune("mugs.int8.tflite").reason)
        classifier = edgeclf.Classifier("mugs.int8.tflite")  # runs as was found
        ```
    """
    from edgeclf.artifact import load_artifact
    from edgeclf.runtimes import DEFAULT_RUNTIME, runtimes_for
    from edgeclf.runtimes.choice import tuning_conditions, tuning_path
    from edgeclf.system import files
    from edgeclf.system.cpu import MOST_THREADS, available_cpus, is_thread_count
    from edgeclf.system.environment import RUNTIME_LIBRARIES, library_versions

    path = Path(model)
    where = tuning_path(path)
    files.check_out(where)
    artifact = load_artifact(path)
    names = tuple(runtimes or runtimes_for(artifact.format))
    counts = tuple(threads or _thread_counts(available_cpus()))
    if not names or not all(map(is_thread_count, counts)):
        raise OptionError(
            f"Nothing to try: runtimes {list(names)}, threads {list(counts)}. Expected at least "
            f"one of each, and counts of 1 to {MOST_THREADS}."
        )
    usual = Candidate(DEFAULT_RUNTIME[artifact.format], max(counts))
    measured = _measure_all(path, device, [Candidate(n, c) for n in names for c in counts])
    working = [c for c in measured if c.p50_ms is not None]
    if not working:
        reasons = "; ".join(f"{c.runtime}: {c.error}" for c in measured)
        raise MeasurementError(f"No candidate runs {path.name} here. {reasons}")
    chosen, reason = _choose(working, usual)
    batch, batch_ms = _worthwhile_batch(path, device, chosen, artifact.format)
    record = {
        "conditions": tuning_conditions(artifact, device),
        "runtime": chosen.runtime,
        "threads": chosen.threads,
        "reason": reason,
        "batch": batch,
        "ms_per_picture": batch_ms,
        "candidates": [dataclasses.asdict(candidate) for candidate in measured],
        "libraries": library_versions(RUNTIME_LIBRARIES),
    }
    files.write_json(where, record)
    return Tuning(chosen.runtime, chosen.threads, reason, measured, where, batch)


def _thread_counts(cpus: int) -> list[int]:
    """1, 2, 4 and so on, and all of them."""
    powers = [2**n for n in range(cpus.bit_length()) if 2**n < cpus]
    return [*powers, cpus]


def _measure_all(
    path: Path, device: Device, candidates: Sequence[Candidate]
) -> tuple[Candidate, ...]:
    """Fastest first; those that failed last, with the reason."""
    from edgeclf.measurement.harness.interleave import measure_interleaved

    jobs = {candidate: _job(path, device, candidate) for candidate in candidates}
    results, errors = measure_interleaved(jobs, rounds=_ROUNDS, title=f"autotune {path.name}")
    measured = [
        dataclasses.replace(candidate, error=errors[candidate])
        if candidate in errors
        else dataclasses.replace(candidate, p50_ms=_median(results[candidate]))
        for candidate in candidates
    ]
    return tuple(sorted(measured, key=lambda c: (c.p50_ms is None, c.p50_ms or 0.0)))


def _job(path: Path, device: Device, candidate: Candidate, pictures: int = 1) -> InferenceJob:
    from edgeclf.measurement.jobs.inference import InferenceJob

    return InferenceJob(
        model=str(path.resolve()),
        runtime=candidate.runtime,
        device=device,
        threads=candidate.threads,
        seconds=_SECONDS,
        pictures=pictures,
    )


def _worthwhile_batch(
    path: Path, device: Device, chosen: Candidate, format_: Format
) -> tuple[int, dict[str, float]]:
    """How many pictures a call of the chosen runtime should have, and what each then takes, in ms.

    A `.tflite` file takes one at a time, so there is nothing to measure.
    """
    if format_ == "tflite":
        return 1, {}
    from edgeclf.measurement.harness.interleave import measure_interleaved

    jobs = {count: _job(path, device, chosen, count) for count in _BATCHES}
    results, _ = measure_interleaved(jobs, rounds=_ROUNDS, title=f"batches of {path.name}")
    each = {count: _median(rounds) / count for count, rounds in results.items()}
    best = min(each, key=each.__getitem__, default=1)
    worth = each[best] < _WORTH_IT * each[1] if 1 in each else False
    shares = {str(count): round(value, 4) for count, value in sorted(each.items())}
    return (best if worth else 1), shares


def _median(rounds: Sequence[InferenceResult]) -> float:
    return round(statistics.median(each.inference_ms.p50 for each in rounds), 4)


def _choose(working: Sequence[Candidate], usual: Candidate) -> tuple[Candidate, str]:
    """The fastest; or the usual one, where the difference is not worth a change."""
    fastest = working[0]
    base = next(
        (c for c in working if (c.runtime, c.threads) == (usual.runtime, usual.threads)), None
    )
    assert fastest.p50_ms is not None
    words = f"{fastest.runtime} with {counted(fastest.threads, 'thread')}"
    if base is None or base is fastest:
        return fastest, f"tuned on this device: {words} was the fastest, {fastest.p50_ms:.2f} ms"
    assert base.p50_ms is not None
    ratio = base.p50_ms / fastest.p50_ms
    if fastest.p50_ms > _WORTH_IT * base.p50_ms:
        return base, f"tuned on this device: nothing was faster by more than {ratio - 1:.0%}"
    return fastest, (
        f"tuned on this device: {words} took {fastest.p50_ms:.2f} ms, the usual {base.runtime} "
        f"with {base.threads} {base.p50_ms:.2f} ms"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("models", nargs="+", help="artifacts: .tflite, .onnx or .keras")
    add_device(parser)
    parser.add_argument("--runtimes", nargs="+", metavar="NAME",
                        help="default: the installed ones that take the file")  # fmt: skip
    parser.add_argument("--threads", nargs="+", type=int, metavar="N",
                        help="default: 1, 2, 4 ... up to this process's CPUs")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    for model in args.models:
        tuning = autotune(model, device=args.device, runtimes=args.runtimes, threads=args.threads)
        for c in tuning.candidates:
            result = f"{c.p50_ms:8.3f} ms" if c.p50_ms is not None else f"failed: {c.error}"
            print(f"{c.runtime:<14} {counted(c.threads, 'thread'):<10}  {result}")
        if tuning.batch > 1:
            print(f"where several wait, a service answers {tuning.batch} by one call")
        print(f"{tuning.reason}; stored in {tuning.path}")
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["autotune", *sys.argv[1:]]))
