"""Latency of a teacher and its students: which files stand for them, and their times in turns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf.artifact import Artifact, Format, load_artifact
from edgeclf.errors import ArtifactError
from edgeclf.measurement.harness.interleave import measure_interleaved
from edgeclf.measurement.jobs.inference import InferenceJob
from edgeclf.metrics.statistics import paired_ratio
from edgeclf.runtimes import DEFAULT_RUNTIME, RuntimeInfo

ROUNDS = 7  # each a fresh process for every file
SECONDS = 0.7  # of measuring in each of them


@dataclass(frozen=True)
class Ratio:
    """The teacher's figure over the student's.

    Attributes:
        value: Teacher / student; None where there is no such ratio.
        teacher: The teacher's figure.
        student: The student's figure.
        interval_95: Of the ratio, where it was measured.
        note: What was compared, or why there is no ratio.
    """

    value: float | None
    teacher: float | None = None
    student: float | None = None
    interval_95: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Timed:
    """A file whose latency is measured, on the runtime of its format."""

    path: Path
    format: Format

    def __str__(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Pair:
    """Two files of the same format that stand for teacher and student, and why these."""

    teacher: Timed
    student: Timed
    note: str


@dataclass(frozen=True)
class Latencies:
    """What measuring in turns gave.

    Attributes:
        medians_ms: The median of every round, of each file that worked.
        runtimes: What each ran on, with version and threads.
        errors: Why each other file did not.
    """

    medians_ms: dict[Timed, list[float]]
    runtimes: dict[Timed, RuntimeInfo]
    errors: dict[Timed, str]

    def p50_ms(self, timed: Timed) -> float | None:
        """The median over the rounds."""
        medians = self.medians_ms.get(timed)
        return None if medians is None else statistics.median(medians)

    def ratio(self, pair: Pair | str) -> Ratio:
        """Teacher over student; or the reason why there is none."""
        if isinstance(pair, str):
            return Ratio(None, note=pair)
        for timed in (pair.teacher, pair.student):
            if timed in self.errors:
                return Ratio(None, note=f"{timed} could not be measured: {self.errors[timed]}")
        value, low, high = paired_ratio(
            self.medians_ms[pair.teacher], self.medians_ms[pair.student]
        )
        return Ratio(
            value, self.p50_ms(pair.teacher), self.p50_ms(pair.student), (low, high), pair.note
        )


def timed(artifact: Artifact) -> Timed:
    """The file behind an artifact that was read from one."""
    assert artifact.path is not None
    return Timed(artifact.path, artifact.format)


def find_pair(teacher: Artifact, student: Artifact) -> Pair | str:
    """Two files whose latencies can be compared: those given, or conversions beside them.

    A conversion is the same model if name, classes, number of weights and training are the same.

    Returns:
        The pair; or why there is none.
    """
    given = (timed(teacher), timed(student))
    if teacher.format == student.format:
        runtime = DEFAULT_RUNTIME[teacher.format]
        return Pair(*given, f"{given[0]} and {given[1]} on {runtime}")
    names = f"{given[0]} and {given[1]}"
    of_master, of_student = _conversions(teacher, student), _conversions(student, teacher)
    same = [Pair(timed(m), given[1], "") for m in of_master
            if m.metadata.precision == student.metadata.precision]  # fmt: skip
    same += [Pair(given[0], timed(s), "") for s in of_student
             if s.metadata.precision == teacher.metadata.precision]  # fmt: skip
    other = [Pair(timed(m), given[1], "") for m in of_master]
    other += [Pair(given[0], timed(s), "") for s in of_student]
    if not same and not other:
        return (
            f"{names} share no runtime, and beside them is neither a .{student.format} file of "
            f"{teacher.metadata.name} nor a .{teacher.format} file of {student.metadata.name}"
        )
    found = (same or other)[0]
    runtime = DEFAULT_RUNTIME[found.teacher.format]
    return Pair(
        found.teacher,
        found.student,
        f"{found.teacher} and {found.student} on {runtime}, because {names} share no runtime",
    )


def _conversions(artifact: Artifact, other: Artifact) -> list[Artifact]:
    """The same model in the other's format, from files in the same folder; fp32 before the rest."""
    metadata, folder = artifact.metadata, timed(artifact).path.parent
    found = []
    for path in sorted(folder.glob(f"{_escaped(metadata.name)}.*{other.format}")):
        if path.resolve() == timed(other).path.resolve():
            continue
        try:
            read = load_artifact(path)
        except ArtifactError:
            continue
        same = all(
            getattr(read.metadata, key) == getattr(metadata, key)
            for key in ("name", "labels", "parameters", "training")
        )
        if same and read.format == other.format:
            found.append(read)
    return sorted(found, key=lambda a: a.metadata.precision != "fp32")


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def measure_latencies(
    files: Sequence[Timed], threads: int | None, *, rounds: int, seconds: float
) -> Latencies:
    """Times one inference of each file, in turns and each time in a fresh process."""
    jobs = {
        each: InferenceJob(
            model=str(each.path.resolve()),
            runtime=DEFAULT_RUNTIME[each.format],
            threads=threads,
            seconds=seconds,
        )
        for each in files
    }
    results, errors = measure_interleaved(jobs, rounds=rounds, title="compare in turns")
    medians = {
        each: [result.inference_ms.p50 for result in found] for each, found in results.items()
    }
    return Latencies(medians, {e: found[0].runtime for e, found in results.items()}, errors)
