"""A teacher and its students on the same photos: who answers what, and what each of them costs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact
from edgeclf.comparison.paired_latency import Ratio, timed
from edgeclf.datasets.photos import Photos
from edgeclf.image import ImageSpec, decode_image
from edgeclf.measurement.harness.process import measure
from edgeclf.measurement.jobs.answers import AnswersJob
from edgeclf.metrics.accuracy import Probabilities
from edgeclf.metrics.statistics import wilson_interval
from edgeclf.runtimes import DEFAULT_RUNTIME
from edgeclf.system.progress import track

_WORST = 8
_SHOWN_ANSWERS = 3
_THUMBNAIL = 160  # pixels of the longer side


@dataclass(frozen=True)
class Confusion:
    """How many photos of a class a model takes for a class, which may be the right one."""

    truth: str
    answer: str
    images: int


@dataclass(frozen=True)
class Model:
    """One artifact.

    Attributes:
        name: The model's name.
        file: The file's name.
        format: ``keras``, ``tflite`` or ``onnx``.
        precision: How its weights are stored.
        sha256: Of the file.
        size_bytes: Of the file.
        parameters: Number of weights of the network; None where the file does not tell.
        multiply_adds: For one image; None where they cannot be counted.
        multiply_adds_error: Why not.
        input_size: Rows and columns of its input.
        runtime: What it ran on.
        p50_ms: Median time of one inference, without decoding; None if that failed.
        latency_error: Why it failed.
        top1: Share of photos it is right about, 0..1.
        top1_interval_95: Wilson's interval of it.
        confusions: Every pair of truth and answer that there was.
    """

    name: str
    file: str
    format: str
    precision: str
    sha256: str
    size_bytes: int
    parameters: int | None
    multiply_adds: int | None
    multiply_adds_error: str | None
    input_size: tuple[int, int]
    runtime: str
    p50_ms: float | None
    latency_error: str | None
    top1: float
    top1_interval_95: tuple[float, float]
    confusions: tuple[Confusion, ...]


@dataclass(frozen=True)
class Disagreement:
    """A photo that teacher and student answer differently.

    Attributes:
        file: The photo, as seen from the data's folder.
        truth: Its class.
        teacher: The teacher's first answers, (class, probability), the most probable first.
        student: The student's.
        jpeg: A thumbnail in base64.
    """

    file: str
    truth: str
    teacher: tuple[tuple[str, float], ...]
    student: tuple[tuple[str, float], ...]
    jpeg: str


@dataclass(frozen=True)
class Student:
    """A student beside its teacher.

    Attributes:
        model: The student.
        size: Bytes of the files.
        parameters: Weights.
        multiply_adds: For one image.
        latency_ms: Of one inference on the same runtime, measured in turns.
        agreement: Share of photos with the same answer, 0..1.
        agreement_interval_95: Wilson's interval of it.
        only_teacher_right: Photos that the student alone has wrong.
        only_student_right: Photos that the teacher alone has wrong.
        both_wrong: Photos that both have wrong, with different answers.
        worst: The different answers in which the student finds the teacher's least probable, from
            what the teacher finds it.
    """

    model: Model
    size: Ratio
    parameters: Ratio
    multiply_adds: Ratio
    latency_ms: Ratio
    agreement: float
    agreement_interval_95: tuple[float, float]
    only_teacher_right: int
    only_student_right: int
    both_wrong: int
    worst: tuple[Disagreement, ...]


def all_answers(
    artifacts: Sequence[Artifact], photos: Photos, threads: int | None
) -> list[Probabilities]:
    """The probabilities of each model for all photos, each from a process of its own.

    Raises:
        MeasurementError: A runtime is missing, a photo cannot be read, or a process died.
    """
    paths = tuple(str(path.resolve()) for path in photos.paths)
    answers = []
    for artifact in track(artifacts, "answer the photos", len(artifacts)):
        job = AnswersJob(
            model=str(timed(artifact).path.resolve()),
            runtime=DEFAULT_RUNTIME[artifact.format],
            threads=threads,
            images=paths,
        )
        answers.append(np.array(measure(job).probabilities, np.float32))
    return answers


def confusions(answers: Probabilities, photos: Photos) -> tuple[Confusion, ...]:
    """Every pair of truth and answer that there is, in the order of the classes."""
    pairs, counts = np.unique(
        np.stack([photos.targets, answers.argmax(axis=1)]), axis=1, return_counts=True
    )
    return tuple(
        Confusion(photos.labels[truth], photos.labels[answer], int(count))
        for (truth, answer), count in zip(pairs.T, counts, strict=True)
    )


def describe_student(
    model: Model,
    teacher: Model,
    latency_ms: Ratio,
    answers: tuple[Probabilities, Probabilities],
    photos: Photos,
) -> Student:
    """A student's figures beside its teacher's.

    Args:
        model: The student.
        teacher: The teacher.
        latency_ms: From `edgeclf.comparison.paired_latency.Latencies.ratio`.
        answers: (the teacher's, the student's), float32 [N, classes].
        photos: What was answered.
    """
    first, second = (each.argmax(axis=1) for each in answers)
    right = [each == photos.targets for each in (first, second)]
    differ = first != second
    agreed = int((~differ).sum())
    return Student(
        model=model,
        size=Ratio(teacher.size_bytes / model.size_bytes, teacher.size_bytes, model.size_bytes),
        parameters=_counted(
            (teacher.file, teacher.parameters, "the file does not tell its number of weights"),
            (model.file, model.parameters, "the file does not tell its number of weights"),
        ),
        multiply_adds=_counted(
            (teacher.file, teacher.multiply_adds, teacher.multiply_adds_error),
            (model.file, model.multiply_adds, model.multiply_adds_error),
        ),
        latency_ms=latency_ms,
        agreement=agreed / len(photos),
        agreement_interval_95=wilson_interval(agreed, len(photos)),
        only_teacher_right=int((right[0] & ~right[1]).sum()),
        only_student_right=int((right[1] & ~right[0]).sum()),
        both_wrong=int((differ & ~right[0] & ~right[1]).sum()),
        worst=_worst(answers, photos, np.flatnonzero(differ)),
    )


def _counted(*sides: tuple[str, int | None, str | None]) -> Ratio:
    """The ratio of two whole figures; or why one of them is missing."""
    (_, teacher, _), (_, student, _) = sides
    missing = [f"{file}: {reason}" for file, value, reason in sides if not value]
    if not teacher or not student:
        return Ratio(None, teacher, student, note="; ".join(missing))
    return Ratio(teacher / student, teacher, student)


def _worst(
    answers: tuple[Probabilities, Probabilities], photos: Photos, differ: Any
) -> tuple[Disagreement, ...]:
    teacher, student = answers
    given = teacher[differ].argmax(axis=1)
    lost = teacher[differ, given] - student[differ, given]

    def first_answers(row: Any) -> tuple[tuple[str, float], ...]:
        order = np.argsort(-row, kind="stable")[:_SHOWN_ANSWERS]
        return tuple((photos.labels[i], float(row[i])) for i in order)

    return tuple(
        Disagreement(
            file=photos.name_of(photos.paths[index]),
            truth=photos.labels[photos.targets[index]],
            teacher=first_answers(teacher[index]),
            student=first_answers(student[index]),
            jpeg=_thumbnail(photos.paths[index]),
        )
        for index in differ[np.argsort(-lost, kind="stable")[:_WORST]]
    )


def _thumbnail(path: Path) -> str:
    image = decode_image(path, ImageSpec(_THUMBNAIL, _THUMBNAIL))
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()
