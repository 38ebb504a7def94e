"""`edgeclf compare`: what students lose against their teacher, and what they gain."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.errors import EdgeclfError, OptionError
from edgeclf.system.cpu import MOST_THREADS, is_thread_count

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact
    from edgeclf.comparison.paired_latency import Latencies
    from edgeclf.comparison.students import Model, Student
    from edgeclf.datasets.photos import Photos

_SCHEMA = "edgeclf.comparison/1"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        teacher: The model that the students are held against.
        students: Each with its ratios, teacher over student.
        labels: The classes, in the models' order.
        images: How many photos all of them answered.
        data_sha256: Of these photos.
        sentences: The findings in words, one text a student.
        path: The JSON file; ``.md`` and ``.html`` lie beside it.
    """

    teacher: Model
    students: tuple[Student, ...]
    labels: tuple[str, ...]
    images: int
    data_sha256: str
    sentences: tuple[str, ...]
    path: Path


def compare(
    teacher: str | os.PathLike[str],
    students: Sequence[str | os.PathLike[str]],
    data: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    threads: int | None = None,
) -> Comparison:
    """Compares students with their teacher: size, arithmetic, speed, accuracy and answers.

    Latency is measured in turns, each time in a fresh process, and only on the same runtime: if
    the formats differ, a conversion that lies beside one of the files stands in for it, and the
    report says so; without one there is no ratio.

    Args:
        teacher: An artifact of any format.
        students: Artifacts with the same classes.
        data: Labelled photos that none of them was trained on: a folder that holds one folder a
            class, or a CSV.
        out: Folder for ``NAME.comparison.json``, ``.md`` and ``.html``, NAME being the teacher's;
            by default the first student's.
        threads: Threads for one call; by default the CPUs this process may use.

    Returns:
        The figures. A ratio that cannot be given is None, with the reason beside it.

    Raises:
        ArtifactError: A file is no artifact.
        DataError: The photos cannot be used, or the models have other classes.
        MeasurementError: A model cannot be run here.
        OptionError: There is no student, fewer than one thread, or `out` cannot be written to.

    Examples:
        ```python
        found = edgeclf.compare("mugs-teacher.int8.tflite", ["mugs.int8.tflite"], "photos/eval")
        print(*found.sentences, found.path)
        ```
    """
    if not students or not is_thread_count(threads):
        raise OptionError(
            f"{len(students)} students and threads {threads}; expected at least one student, and "
            f"1 to {MOST_THREADS} threads."
        )
    from edgeclf.artifact import load_artifact
    from edgeclf.comparison import paired_latency as paired
    from edgeclf.comparison import students as measured
    from edgeclf.datasets.validation import find_photos_for
    from edgeclf.reporting import comparison_page as pages
    from edgeclf.reporting.html import write_pages
    from edgeclf.system import files

    folder = files.out_folder(out, Path(students[0]).parent)
    artifacts = [load_artifact(path) for path in (teacher, *students)]
    photos = find_photos_for(artifacts, data, partial=True)
    answers = measured.all_answers(artifacts, photos, threads)
    pairs = [paired.find_pair(artifacts[0], artifact) for artifact in artifacts[1:]]
    timed = [paired.timed(artifact) for artifact in artifacts]
    timed += [t for p in pairs if not isinstance(p, str) for t in (p.teacher, p.student)]
    latencies = paired.measure_latencies(
        list(dict.fromkeys(timed)), threads, rounds=paired.ROUNDS, seconds=paired.SECONDS
    )
    models = [
        _describe(artifact, probabilities, photos, latencies)
        for artifact, probabilities in zip(artifacts, answers, strict=True)
    ]
    described = tuple(
        measured.describe_student(
            model, models[0], latencies.ratio(pair), (answers[0], probabilities), photos
        )
        for model, pair, probabilities in zip(models[1:], pairs, answers[1:], strict=True)
    )
    path = folder / f"{models[0].name}.comparison.json"
    sentences = tuple(pages.describe(models[0], student, len(photos)) for student in described)
    result = Comparison(
        models[0], described, photos.labels, len(photos), photos.sha256, sentences, path
    )
    record = _record(result, latencies)
    files.write_json(path, record)
    write_pages(path, record, pages.to_markdown, pages.to_html)
    return result


def _record(result: Comparison, latencies: Latencies) -> dict[str, Any]:
    """What is written: schema ``edgeclf.comparison/1``."""
    from edgeclf.comparison.paired_latency import ROUNDS, SECONDS
    from edgeclf.system.environment import environment

    return {
        "schema": _SCHEMA,
        **{key: value for key, value in dataclasses.asdict(result).items() if key != "path"},
        "method": f"latency: one inference at a time, without decoding; {ROUNDS} rounds in turns, "
        f"each a fresh process of {SECONDS} s for every file; a ratio is estimated from those of "
        "the rounds (Hodges-Lehmann), its interval by signed ranks",
        "runtimes": {
            str(each): dataclasses.asdict(ran) for each, ran in latencies.runtimes.items()
        },
        "environment": environment(),
    }


def _describe(artifact: Artifact, answers: Any, photos: Photos, latencies: Latencies) -> Model:
    from edgeclf.comparison import students as measured
    from edgeclf.comparison.paired_latency import timed as timed_file
    from edgeclf.metrics.accuracy import accuracy_record
    from edgeclf.networks.artifact_stats import count_multiply_adds
    from edgeclf.runtimes import DEFAULT_RUNTIME

    metadata, timed = artifact.metadata, timed_file(artifact)
    multiply_adds = error = None
    try:
        multiply_adds = count_multiply_adds(artifact)
    except EdgeclfError as exc:
        error = str(exc)
    accuracy = accuracy_record(answers, photos)
    low, high = accuracy["top1_interval_95"]
    return measured.Model(
        name=metadata.name,
        file=timed.path.name,
        format=artifact.format,
        precision=metadata.precision,
        sha256=artifact.sha256,
        size_bytes=artifact.size_bytes,
        parameters=metadata.parameters,
        multiply_adds=multiply_adds,
        multiply_adds_error=error,
        input_size=(metadata.image.height, metadata.image.width),
        runtime=DEFAULT_RUNTIME[artifact.format],
        p50_ms=latencies.p50_ms(timed),
        latency_error=latencies.errors.get(timed),
        top1=accuracy["top1"],
        top1_interval_95=(low, high),
        confusions=measured.confusions(answers, photos),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("teacher", help="the artifact that the others are held against")
    parser.add_argument("students", nargs="+", metavar="STUDENT",
                        help="artifacts: .keras, .tflite, .onnx")  # fmt: skip
    parser.add_argument("--data", metavar="DIR", required=True,
                        help="labelled photos, a folder a class or a CSV")  # fmt: skip
    parser.add_argument("--out", metavar="DIR",
                        help="where results go (default: the first student's)")  # fmt: skip
    parser.add_argument("--threads", type=int, help="default: the CPUs this process may use")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    result = compare(args.teacher, args.students, args.data, out=args.out, threads=args.threads)
    for words in result.sentences:
        print(words)
    for ending in (".json", ".md", ".html"):
        if (page := result.path.with_suffix(ending)).is_file():
            print(page)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["compare", *sys.argv[1:]]))
