"""A against B: which of two answers faster on this machine, or that no difference shows."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edgeclf.artifact import Artifact, load_artifact
from edgeclf.datasets.photos import find_photos
from edgeclf.errors import MeasurementError, OptionError
from edgeclf.measurement.harness.interleave import interleave
from edgeclf.measurement.jobs.base import Job
from edgeclf.measurement.jobs.inference import InferenceJob, InferenceResult
from edgeclf.measurement.jobs.latency import LatencyJob, LatencyResult
from edgeclf.measurement.probes.affinity import choose_cpus
from edgeclf.measurement.workloads.sampling import Sampling
from edgeclf.metrics.statistics import MIN_ROUNDS, paired_ratio
from edgeclf.runtimes import DEFAULT_RUNTIME, Device, runtime_names
from edgeclf.system import files
from edgeclf.system.cpu import MOST_THREADS, is_thread_count
from edgeclf.system.environment import environment
from edgeclf.system.progress import log

SCHEMA = "edgeclf.comparison-ab/1"
OUT = "comparison-ab.json"
ROUNDS = 16  # that count, each a fresh process for A and one for B
SECONDS = 0.7  # of measuring in each of them
_MIN_CALLS = 32  # in each of them, unless they take longer than
_MAX_S = 60.0
_IMAGES = 32

Result: TypeAlias = InferenceResult | LatencyResult
Verdict = Literal["A is faster", "A is slower", "no difference shown"]


@dataclass(frozen=True)
class LatencyVerdict:
    """What the rounds say.

    Attributes:
        verdict: A difference is claimed only if the interval excludes 1.
        ratio: How many times as long as B takes A takes; below 1, A is the faster.
        interval_95: Of the ratio.
        rounds: How many it rests on.
    """

    verdict: Verdict
    ratio: float
    interval_95: tuple[float, float]
    rounds: int

    def __str__(self) -> str:
        low, high = self.interval_95
        return (
            f"{self.verdict}: A takes {self.ratio:.3f} times as long as B "
            f"(95 % interval {low:.3f} to {high:.3f}, {self.rounds} rounds)"
        )


@dataclass(frozen=True)
class Side:
    """A or B.

    Attributes:
        artifact: What is run.
        runtime: The runtime's name.
        threads: Threads for one call; None for the CPUs this process may use.
    """

    artifact: Artifact
    runtime: str
    threads: int | None


def parse_side(text: str | os.PathLike[str], threads: int | None = None) -> Side:
    """Reads ``FILE``, ``FILE@RUNTIME``, ``FILE@RUNTIME:THREADS`` or ``FILE@:THREADS``.

    A file of that very name, @ and all, comes first.

    Args:
        text: What to read.
        threads: Where the text names none.

    Raises:
        ArtifactError: The file is no artifact.
        OptionError: There is no such runtime, or threads are not a number from 1 up.
    """
    given = os.fspath(text)
    path, asked = given, ""
    if "@" in given and not Path(given).exists():
        path, _, asked = given.rpartition("@")
    runtime, _, count = asked.partition(":")
    if runtime and runtime not in runtime_names():
        raise OptionError(
            f"{given} names the runtime {runtime!r}; expected FILE@RUNTIME or FILE@RUNTIME:THREADS "
            f"with one of {', '.join(runtime_names())}."
        )
    if count and not (count.isdecimal() and is_thread_count(int(count))):
        raise OptionError(f"{given} names {count!r} threads; expected 1 to {MOST_THREADS}.")
    artifact = load_artifact(path)
    return Side(
        artifact, runtime or DEFAULT_RUNTIME[artifact.format], int(count) if count else threads
    )


def compare_latencies(a_ms: Sequence[float], b_ms: Sequence[float]) -> LatencyVerdict:
    """Compares the figures of the same rounds.

    Args:
        a_ms: A's figure of each round, at least `MIN_ROUNDS`.
        b_ms: B's, of the same rounds.
    """
    ratio, low, high = paired_ratio(a_ms, b_ms)
    verdict: Verdict = "no difference shown"
    if high < 1:
        verdict = "A is faster"
    elif low > 1:
        verdict = "A is slower"
    return LatencyVerdict(verdict, ratio, (low, high), len(a_ms))


def compare_ab(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    threads: int | None = None,
    device: Device = "cpu",
    out: str | os.PathLike[str] = OUT,
) -> LatencyVerdict:
    """Measures A and B in turns, each time in a fresh process, and says which is the faster.

    Whatever ends it, also Ctrl-C, the rounds measured so far are in `out` by then, with
    ``"complete": false``.

    Args:
        a: See `parse_side`.
        b: The same; it may be the same file on another runtime or with other threads.
        images: Photos, a folder a class or a CSV: each call then goes from the bytes of an image
            file to the answer. Without, it is the engine alone, on one random picture.
        rounds: How many count; one more comes first and is dropped.
        seconds: Of measuring, in each process.
        threads: For a side that names none; by default the CPUs this process may use. With a
            number, the processes are pinned to as many CPUs.
        device: Where both run.
        out: Where all figures go, as JSON; see docs/benchmarking.md.

    Raises:
        ArtifactError: A file is no artifact.
        DataError: The photos cannot be used.
        OptionError: Too few rounds for an interval, no time, a side that cannot be read, or an
            `out` that cannot be written.
        MeasurementError: A side does not run here.
    """
    if rounds < MIN_ROUNDS or not seconds > 0 or not is_thread_count(threads):
        raise OptionError(
            f"{rounds} rounds of {seconds} s, threads {threads}; expected at least {MIN_ROUNDS} "
            "rounds, as fewer carry no 95 % interval, more than 0 s, and 1 to "
            f"{MOST_THREADS} threads."
        )
    files.check_out(out)
    sides = {"A": parse_side(a, threads), "B": parse_side(b, threads)}
    photos = None if images is None else find_photos(images)
    paths = [] if photos is None else [str(path.resolve()) for path in photos.paths]
    spread = paths[:: max(1, len(paths) // _IMAGES)][:_IMAGES]
    jobs: dict[str, Job[Any]] = {
        name: _job(side, device, spread, seconds) for name, side in sides.items()
    }
    taken: list[tuple[str, Result]] = []
    try:
        for name, result in interleave(jobs, rounds=rounds + 1, title="A against B"):
            if isinstance(result, MeasurementError):
                raise MeasurementError(f"{name}, {sides[name].artifact.path}: {result}")
            taken.append((name, result))
    finally:
        if taken:
            record = _record(sides, _rounds(taken), rounds, seconds)
            record["data_sha256"] = None if photos is None else photos.sha256
            files.write_json(Path(out), record)
            if not record["complete"]:
                log(f"{record['rounds']} of {rounds} rounds were measured; they are in {out}")
    return compare_latencies(*_counted(_rounds(taken)))


def _job(
    side: Side, device: Device, images: Sequence[str], seconds: float
) -> InferenceJob | LatencyJob:
    assert side.artifact.path is not None
    how: dict[str, Any] = {
        "model": str(side.artifact.path.resolve()),
        "runtime": side.runtime,
        "device": device,
        "threads": side.threads,
        "cpus": choose_cpus(side.threads),
    }
    if not images:
        return InferenceJob(**how, seconds=seconds)
    sampling = Sampling(window_s=seconds, min_samples=_MIN_CALLS, patience_s=0.0, max_s=_MAX_S)
    return LatencyJob(**how, images=tuple(images), sampling=sampling)


def _rounds(taken: Sequence[tuple[str, Result]]) -> list[dict[str, Result]]:
    """The results by name, a round each, in the order they were measured in."""
    return [dict(taken[index : index + 2]) for index in range(0, len(taken), 2)]


def _counted(rounds: Sequence[Mapping[str, Result]]) -> tuple[list[float], list[float]]:
    """The medians in milliseconds of A and of B, of the whole rounds after the first."""
    whole = [each for each in rounds[1:] if len(each) == 2]
    a, b = ([_p50_ms(each[name]) for each in whole] for name in ("A", "B"))
    return a, b


def _stages_ms(result: Result) -> dict[str, Any]:
    if isinstance(result, LatencyResult):
        return dict(result.latency["stages_ms"])
    return {"inference": asdict(result.inference_ms)}


def _p50_ms(result: Result) -> float:
    stages = _stages_ms(result)
    return float(stages.get("total", stages["inference"])["p50"])


def _record(
    sides: Mapping[str, Side],
    rounds: Sequence[Mapping[str, Result]],
    wanted: int,
    seconds: float,
) -> dict[str, Any]:
    """What is written: schema ``edgeclf.comparison-ab/1``, see docs/benchmarking.md."""
    a_ms, b_ms = _counted(rounds)
    verdict = compare_latencies(a_ms, b_ms) if len(a_ms) >= MIN_ROUNDS else None
    first = next(iter(rounds[0].values()))
    stage = "total" if "total" in _stages_ms(first) else "inference"
    return {
        "schema": SCHEMA,
        "complete": len(a_ms) == wanted,
        "verdict": verdict and verdict.verdict,
        "ratio": verdict and verdict.ratio,
        "interval_95": verdict and list(verdict.interval_95),
        "rounds": len(a_ms),
        "stage": stage,
        "method": f"{wanted} rounds after one that is dropped; in each a fresh process for A and "
        f"one for B, which measures for {seconds} s, in the order given; the figure of a process "
        f"is the median of the stage '{stage}'; ratio A / B of the rounds by Hodges and Lehmann, "
        "interval by signed ranks",
        "sides": {
            name: {
                "file": side.artifact.path and side.artifact.path.name,
                "sha256": side.artifact.sha256,
                "size_bytes": side.artifact.size_bytes,
                "runtime": next(
                    (asdict(each[name].runtime) for each in rounds if name in each), None
                ),
                "p50_ms": statistics.median(ms) if ms else None,
            }
            for (name, side), ms in zip(sides.items(), (a_ms, b_ms), strict=True)
        },
        "each_round": [
            {
                "dropped": number == 0,
                "order": "".join(each),
                **{name: _stages_ms(result) for name, result in each.items()},
            }
            for number, each in enumerate(rounds)
        ],
        "environment": environment(),
    }
