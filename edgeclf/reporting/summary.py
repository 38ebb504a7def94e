"""The figures that a report derives from benchmark rows; nothing is derived anywhere else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeclf.measurement.matrix.recommendation import SAME_SPEED, Limits, Recommendation, recommend
from edgeclf.measurement.matrix.schema import Row, is_unstable, row_threads, steady_pss_bytes, total
from edgeclf.reporting import text


@dataclass(frozen=True)
class FigurePair:
    """One figure of the teacher and of the student, and teacher / student."""

    teacher: float
    student: float
    ratio: float


@dataclass(frozen=True)
class Accuracy:
    """Top-1 of both.

    Attributes:
        teacher: Share of photos, 0..1.
        student: Share of photos, 0..1.
        change_points: Student - teacher, in percentage points.
        intervals_overlap: Whether the two 95 % intervals have a value in common.
        images: How many photos the student was asked.
    """

    teacher: float
    student: float
    change_points: float
    intervals_overlap: bool
    images: int


@dataclass(frozen=True)
class RowComparison:
    """Two measured rows, one of the teacher and one of the student.

    Attributes:
        title: What is compared, in a few words.
        teacher_file: The teacher's artifact.
        student_file: The student's artifact.
        parameters: Number of weights; None where a file does not tell.
        size_bytes: Sizes of the files.
        total_p50_ms: Median latency from the bytes of an image file to the answer; None, like
            the next two, where one of the rows has none.
        steady_pss_bytes: Memory of the process after many answers.
        top1: Accuracy.
        student_agreement: Share of photos on which the student's artifact has the same top-1 as
            the Keras model it was converted from; None without one.
    """

    title: str
    teacher_file: str
    student_file: str
    parameters: FigurePair | None
    size_bytes: FigurePair
    total_p50_ms: FigurePair | None
    steady_pss_bytes: FigurePair | None
    top1: Accuracy | None
    student_agreement: float | None


@dataclass(frozen=True)
class RowFailure:
    """A row that has no figures, and why."""

    model: str
    file: str
    precision: str
    runtime: str
    reason: str


@dataclass(frozen=True)
class Summary:
    """What the rows say together.

    Attributes:
        title: Names what was measured.
        limits: What the recommended row has to keep.
        recommendation: The row to ship, and why each other lost.
        teacher: The model with most parameters; None if that cannot be told.
        student: The model with fewest; the teacher's name where there is one model only.
        headline: The teacher as Keras source against the student as int8 TFLite.
        like_with_like: Teacher against student, each on the same runtime and precision.
        failures: The rows that failed.
        sentences: All that in words.
    """

    title: str
    limits: Limits
    recommendation: Recommendation
    teacher: str | None
    student: str | None
    headline: RowComparison | None
    like_with_like: tuple[RowComparison, ...]
    failures: tuple[RowFailure, ...]
    sentences: tuple[str, ...]


def summarize(results: Mapping[str, Any], limits: Limits | None = None) -> Summary:
    """Derives a report's figures.

    Args:
        results: What `edgeclf.benchmark` returned. Rows that failed are compared with nothing.
        limits: What the recommended row has to keep; by default what the benchmark was given.
    """
    rows: list[Row] = results["rows"]
    if limits is None:
        limits = Limits(**results.get("limits", {}))
    teacher, student = _roles(rows)
    measured = _of_one_input([row for row in rows if not row["error"]])
    headline = _headline(measured, teacher, student)
    same = _like_with_like(measured, teacher, student) if teacher != student else ()
    failures = tuple(
        RowFailure(row["model"], row["file"], row["precision"], row["runtime"]["name"],
                " ".join(row["error"].split()))
        for row in rows if row["error"]
    )  # fmt: skip
    names = list(dict.fromkeys(row["model"] for row in rows))
    return Summary(
        f"{student} against {teacher}" if teacher != student else ", ".join(names),
        limits,
        recommend(results, limits),
        teacher,
        student,
        headline,
        same,
        failures,
        tuple(_sentences(results, teacher, student, headline, same, failures)),
    )


def _roles(rows: Iterable[Row]) -> tuple[str | None, str | None]:
    """The names of teacher and student; twice the same for one model, None if undecided."""
    parameters: dict[str, int] = {}
    for row in rows:
        if row["parameters"] is not None:
            parameters.setdefault(row["model"], row["parameters"])
    if not parameters or (len(parameters) > 1 and len(set(parameters.values())) == 1):
        return None, None
    by_size = sorted(parameters, key=parameters.__getitem__)
    return by_size[-1], by_size[0]


def _headline(rows: list[Row], teacher: str | None, student: str | None) -> RowComparison | None:
    source = _fastest(rows, model=teacher, format="keras")
    small = _fastest(rows, model=student, format="tflite", precision="int8")
    if source is None or small is None:
        return None
    return _compare(f"Keras {source['precision']} → int8 TFLite", source, small)


def _like_with_like(
    rows: list[Row], teacher: str | None, student: str | None
) -> tuple[RowComparison, ...]:
    students = {_way(row): row for row in reversed(rows) if row["model"] == student}
    pairs = [
        (row, students[_way(row)])
        for row in rows
        if row["model"] == teacher and _way(row) in students
    ]
    several = len({row_threads(row) for row, _ in pairs}) > 1
    return tuple(_compare(_title(row, several), row, other) for row, other in pairs)


def _title(row: Row, with_threads: bool) -> str:
    title = f"{row['runtime']['name']} {row['precision']}"
    if with_threads:
        title += f", {text.threads(row_threads(row))}"
    return title if row["batch"] == 1 else f"{title}, batch {row['batch']}"


def _of_one_input(rows: list[Row]) -> list[Row]:
    """The rows measured from photos; those on random input where there are no others."""
    return [row for row in rows if row["input"] == "photos"] or rows


def _way(row: Row) -> tuple[Any, ...]:
    """How a row was run: two with the same way can be compared."""
    runtime = row["runtime"]
    where = (runtime["name"], runtime.get("device"), row_threads(row))
    return (*where, row["format"], row["precision"], row["batch"], row["input"])


def _fastest(rows: Iterable[Row], **wanted: Any) -> Row | None:
    """Of an artifact's rows that answer one photo at a time, the one with the lowest median."""
    candidates = [
        row for row in rows
        if all(row[key] == value for key, value in wanted.items()) and row["batch"] == 1
    ]  # fmt: skip
    return min(candidates, key=lambda row: (total(row) or {"p50": math.inf})["p50"], default=None)


def _compare(title: str, teacher: Row, student: Row) -> RowComparison:
    both = (teacher, student)
    agreement = student["agreement"]
    medians = [percentiles["p50"] if (percentiles := total(row)) else None for row in both]
    return RowComparison(
        title=title,
        teacher_file=teacher["file"],
        student_file=student["file"],
        parameters=_ratio(*(row["parameters"] for row in both)),
        size_bytes=_positive_ratio(*(row["size_bytes"] for row in both)),
        total_p50_ms=_ratio(*medians),
        steady_pss_bytes=_ratio(*map(steady_pss_bytes, both)),
        top1=_accuracy(*(row["accuracy"] for row in both)),
        student_agreement=agreement["top1_agreement"] if agreement else None,
    )


def _ratio(teacher: float | None, student: float | None) -> FigurePair | None:
    return _positive_ratio(teacher, student) if teacher and student else None


def _positive_ratio(teacher: float, student: float) -> FigurePair:
    return FigurePair(teacher, student, teacher / student)


def _accuracy(
    teacher: Mapping[str, Any] | None, student: Mapping[str, Any] | None
) -> Accuracy | None:
    if teacher is None or student is None:
        return None
    (low, high), (other_low, other_high) = teacher["top1_interval_95"], student["top1_interval_95"]
    return Accuracy(
        teacher["top1"],
        student["top1"],
        (student["top1"] - teacher["top1"]) * 100,
        low <= other_high and other_low <= high,
        student["images"],
    )


def _sentences(
    results: Mapping[str, Any],
    teacher: str | None,
    student: str | None,
    headline: RowComparison | None,
    same: tuple[RowComparison, ...],
    failures: tuple[RowFailure, ...],
) -> Iterable[str]:
    if headline:
        yield from _headline_sentences(results, headline, teacher, student)
    total = len(results["rows"])
    ratios = sorted(each.total_p50_ms.ratio for each in same if each.total_p50_ms)
    if len(ratios) > 1:
        yield (
            "On the same runtime and precision, the teacher's median latency is "
            f"{text.ratio(ratios[0])} to {text.ratio(ratios[-1])} the student's."
        )
    if not headline and teacher is None:
        yield "The files do not tell which model is the teacher and which the student."
    elif not headline and (teacher != student or _any_keras(results)):
        yield (
            f"{teacher} as Keras source and {student} as int8 TFLite are not compared: "
            "one of the two was not measured."
        )
    if failures:
        reasons = "the reason is" if len(failures) == 1 else "the reasons are"
        yield f"{text.part(len(failures), total, 'row')} failed; {reasons} given below."
    unstable = sum(map(is_unstable, results["rows"]))
    if unstable:
        one = ("was", "it was", "its")
        were, they, their = one if unstable == 1 else ("were", "they were", "their")
        yield (
            f"{text.part(unstable, total, 'row')} {were} unstable while {they} measured: "
            f"{their} latency is not to be relied on."
        )
    if len({row["accuracy"]["data_sha256"] for row in results["rows"] if row["accuracy"]}) > 1:
        yield "The rows were measured on different photos: their accuracies cannot be compared."
    if not results["complete"]:
        yield "The benchmark was interrupted: rows are missing."
    if results["method"]["quick"]:
        yield "This was a quick run: a first look, not figures to publish."


def _any_keras(results: Mapping[str, Any]) -> bool:
    return any(row["format"] == "keras" for row in results["rows"])


def _headline_sentences(
    results: Mapping[str, Any], headline: RowComparison, teacher: str | None, student: str | None
) -> Iterable[str]:
    distilled = teacher != student
    subject = f"The int8 student {student}" if distilled else f"{student} as int8 TFLite"
    object_ = f"the Keras teacher {teacher}" if distilled else "its Keras source"
    sizes = headline.size_bytes
    claims = [
        f"{_size_words(sizes.ratio, object_)} "
        f"({text.size(sizes.student)} against {text.size(sizes.teacher)})"
    ]
    if latency := headline.total_p50_ms:
        claims.append(
            f"{_speed_words(latency.ratio)} here (median {text.duration(latency.student)} against "
            f"{text.duration(latency.teacher)}, {text.latency_of(results)})"
        )
    if top1 := headline.top1:
        claims.append(
            f"{_top1_words(top1.change_points)} ({text.percent(top1.student)} against "
            f"{text.percent(top1.teacher)} on {top1.images:,} photos; the 95 % intervals "
            f"{'overlap' if top1.intervals_overlap else 'do not overlap'})"
        )
    yield f"{subject} {', '.join(claims[:-1])}{' and ' * (len(claims) > 1)}{claims[-1]}."
    if headline.student_agreement is not None and distilled:
        yield (
            "Converted to int8, it gives the same answer as its own Keras source on "
            f"{text.percent(headline.student_agreement)} of the photos."
        )
    elif headline.student_agreement is not None:
        same = text.percent(headline.student_agreement)
        yield f"Both give the same answer on {same} of the photos."


def _size_words(ratio: float, object_: str) -> str:
    if text.ratio(ratio) == "1.00x":
        return f"is as large as {object_}"
    if ratio > 1:
        return f"is {text.digits(ratio)} times smaller than {object_}"
    return f"is {text.digits(1 / ratio)} times larger than {object_}"


def _speed_words(ratio: float) -> str:
    if abs(ratio - 1) < SAME_SPEED:
        return "answers about as fast"
    if ratio > 1:
        return f"answers {text.digits(ratio)} times faster"
    return f"answers {text.digits(1 / ratio)} times slower"


def _top1_words(change_points: float) -> str:
    amount = f"{abs(change_points):.1f}"
    if amount == "0.0":
        return "keeps its top-1"
    return f"{'gains' if change_points > 0 else 'loses'} {amount} points of top-1"
