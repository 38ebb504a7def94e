"""A comparison of models as Markdown and as one HTML page that loads nothing from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from edgeclf.comparison.paired_latency import Ratio
from edgeclf.comparison.students import Model, Student
from edgeclf.reporting import text
from edgeclf.reporting.html import page_environment
from edgeclf.reporting.tables import Cell, Table, make_table, markdown_document

Record = Mapping[str, Any]

_MOST_CLASSES = 12  # of a confusion matrix; beyond that the most frequent confusions are listed
_MOST_CONFUSIONS = 15  # of each model
_MANY = ("more", "fewer", "as many")
_STRONGEST = 0.5  # share of colour in a full cell, on which text can still be read


def describe(teacher: Model, student: Student, images: int) -> str:
    """The findings about one student, in words.

    Args:
        teacher: What it is held against.
        student: The student with its ratios.
        images: How many photos both answered.
    """
    return " ".join(_sentences(teacher, student, images))


def to_markdown(comparison: Record) -> str:
    """The whole report but for the photos.

    Args:
        comparison: What `edgeclf.compare` wrote, of the schema ``edgeclf.comparison/1``.
    """
    return markdown_document(
        f"Comparison: {_title(comparison)}",
        comparison["sentences"],
        [*_tables(comparison), *_matrix_tables(comparison), *_confusion_table(comparison)],
        _facts(comparison),
    )


def to_html(comparison: Record) -> str:
    """The whole report as one page.

    Args:
        comparison: What `edgeclf.compare` wrote, of the schema ``edgeclf.comparison/1``.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    environment = page_environment()
    environment.filters.update(percent=text.percent)
    return environment.get_template("comparison.html.j2").render(
        title=_title(comparison),
        leads=[text.unbroken(words) for words in comparison["sentences"]],
        tables=_tables(comparison),
        labels=comparison["labels"],
        matrices=_matrices(comparison),
        confusions=_confusion_table(comparison),
        students=comparison["students"],
        facts=_facts(comparison),
    )


def _sentences(teacher: Model, student: Student, images: int) -> Iterable[str]:
    model = student.model
    size, parameters, multiply_adds = student.size, student.parameters, student.multiply_adds
    parts = [
        _times("is", size, ("larger than", "smaller than", "as large as"), text.size, teacher.file),
        _times("has", parameters, _MANY, text.count, "parameters"),
        _times("needs", multiply_adds, _MANY, text.count, "multiply-adds"),
    ]
    said = [part for part in parts if part]
    yield f"{model.file} {', '.join(said[:-1])}{' and ' * (len(said) > 1)}{said[-1]}."
    yield _speed(student.latency_ms)
    change = 100 * (model.top1 - teacher.top1)
    low, high = zip(teacher.top1_interval_95, model.top1_interval_95, strict=True)
    overlap = "overlap" if max(low) <= min(high) else "do not overlap"
    verb = "loses" if change < 0 else "gains"
    points = f"{verb} {abs(change):.1f} points of" if f"{change:.1f}" not in ("0.0", "-0.0") else (
        "keeps the"
    )  # fmt: skip
    yield (
        f"It {points} top-1 ({text.percent(model.top1)} against {text.percent(teacher.top1)} on "
        f"{images:,} photos; the 95 % intervals {overlap}) and gives the teacher's answer on "
        f"{text.percent(student.agreement)} of them."
    )


def _times(
    verb: str,
    ratio: Ratio,
    words: tuple[str, str, str],
    write: Callable[[float], str],
    what: str,
) -> str:
    """Such as "has 3.00 times fewer parameters (100 k against 300 k)"; empty without a ratio."""
    if ratio.value is None or ratio.teacher is None or ratio.student is None:
        return ""
    more, less, alike = words
    factor = text.digits(max(ratio.value, 1 / ratio.value))
    times = f"{factor} times {less if ratio.value > 1 else more}" if factor != "1.00" else alike
    return f"{verb} {times} {what} ({write(ratio.student)} against {write(ratio.teacher)})"


def _speed(ratio: Ratio) -> str:
    if ratio.value is None or ratio.interval_95 is None:
        return f"No latency ratio is given: {ratio.note.rstrip('.')}."
    assert ratio.teacher is not None and ratio.student is not None
    low, high = ratio.interval_95
    figures = (
        f"{text.duration(ratio.student)} against {text.duration(ratio.teacher)} for one image, "
        f"{ratio.note}"
    )
    if low <= 1 <= high:
        return f"No difference in speed was shown: {figures}; the 95 % interval of the ratio, " \
               f"{_interval((low, high))}, has 1 in it."  # fmt: skip
    value, ends = (ratio.value, (low, high)) if low > 1 else (1 / ratio.value, (1 / high, 1 / low))
    word = "faster" if low > 1 else "slower"
    return (
        f"It answers {text.digits(value)} times {word} (95 % interval {_interval(ends)}): "
        f"{figures}."
    )


def _interval(ends: Sequence[float]) -> str:
    return "–".join(text.digits(end) for end in ends)


def _title(comparison: Record) -> str:
    students = ", ".join(student["model"]["file"] for student in comparison["students"])
    return f"{comparison['teacher']['file']} and {students}"


def _models(comparison: Record) -> list[Record]:
    """The teacher first."""
    return [comparison["teacher"], *(student["model"] for student in comparison["students"])]


def _tables(comparison: Record) -> list[Table]:
    makers = (_model_table, _ratio_table, _agreement_table)
    return [table for make in makers for table in make(comparison)]


def _model_table(comparison: Record) -> list[Table]:
    rows = []
    notes = []
    for index, model in enumerate(_models(comparison)):
        rows.append((
            Cell(model["file"], "" if index else "teacher"),
            model["precision"],
            model["runtime"],
            Cell(text.percent(model["top1"]), text.interval(model["top1_interval_95"])),
            text.size(model["size_bytes"]),
            text.count(model["parameters"]),
            _known(model["multiply_adds"], text.count),
            _known(model["p50_ms"], text.milliseconds),
        ))  # fmt: skip
        if model["multiply_adds_error"]:
            notes.append(f"{model['file']}: {model['multiply_adds_error']}")
        if model["latency_error"]:
            notes.append(f"{model['file']} was not timed: {model['latency_error']}")
    return make_table(
        "Models",
        f"Top-1 on {comparison['images']:,} photos with its 95 % interval (Wilson); multiply-adds "
        "of convolutions and dense layers for one image, counted in the file; p50 is the median "
        "time of one inference, without decoding.",
        ("File", "Precision", "Runtime", "Top-1", "Size", "Parameters", "Multiply-adds",
         "p50 (ms)"),
        rows,
        3,
        notes,
    )  # fmt: skip


def _ratio_table(comparison: Record) -> list[Table]:
    rows, notes = [], []
    for student in comparison["students"]:
        file = student["model"]["file"]
        rows.append((
            file,
            _ratio_cell(student["size"], text.size),
            _ratio_cell(student["parameters"], text.count),
            _ratio_cell(student["multiply_adds"], text.count),
            _ratio_cell(student["latency_ms"], text.duration),
        ))  # fmt: skip
        for what, key in (("parameters", "parameters"), ("multiply-adds", "multiply_adds")):
            if student[key]["value"] is None:
                notes.append(f"{file}: no ratio of {what}: {student[key]['note'].rstrip('.')}.")
        latency = student["latency_ms"]
        words = f"latency: {latency['note']}" if latency["value"] else _speed(Ratio(**latency))
        notes.append(f"{file}: {words.rstrip('.')}.")
    return make_table(
        "Teacher over student",
        "How many times the student's figure goes into the teacher's, and the two figures. Latency "
        "with the 95 % interval of the ratio: the student is faster only if that lies above 1.",
        ("Student", "Size", "Parameters", "Multiply-adds", "Latency"),
        rows,
        1,
        notes,
    )


def _ratio_cell(ratio: Record, write: Callable[[float], str]) -> Cell:
    if ratio["value"] is None:
        return Cell(text.DASH)
    interval = f" [{_interval(ratio['interval_95'])}]" if ratio["interval_95"] else ""
    return Cell(
        text.ratio(ratio["value"]) + interval,
        f"{write(ratio['teacher'])} / {write(ratio['student'])}",
    )


def _agreement_table(comparison: Record) -> list[Table]:
    rows = [
        (
            student["model"]["file"],
            Cell(text.percent(student["agreement"]),
                 text.interval(student["agreement_interval_95"])),
            *(f"{student[key]:,}" for key in ("only_teacher_right", "only_student_right",
                                              "both_wrong")),
        )
        for student in comparison["students"]
    ]  # fmt: skip
    return make_table(
        "Agreement",
        f"Share of the {comparison['images']:,} photos with the same answer, and its 95 % "
        "interval; then the photos with different answers, by who is right.",
        ("Student", "Agreement", "Only the teacher right", "Only the student right", "Both wrong"),
        rows,
        1,
    )


def _counts(model: Record) -> dict[tuple[str, str], int]:
    return {(c["truth"], c["answer"]): c["images"] for c in model["confusions"]}


def _matrix_tables(comparison: Record) -> list[Table]:
    """The confusion matrices in figures, for Markdown."""
    labels = comparison["labels"]
    return [
        Table(
            f"Confusion of {file}",
            "Rows: the truth; columns: the answer.",
            ("Truth", *labels),
            [[Cell(label), *(Cell(cell["count"]) for cell in row)]
             for label, row in zip(labels, matrix, strict=True)],
            1,
            (),
        )
        for file, matrix in _matrices(comparison)
    ]  # fmt: skip


def _matrices(comparison: Record) -> list[tuple[str, list[list[dict[str, Any]]]]]:
    """Each model's matrix: counts, and how strongly a cell is coloured, 0..1."""
    labels = comparison["labels"]
    if len(labels) > _MOST_CLASSES:
        return []
    matrices = []
    for model in _models(comparison):
        counts = _counts(model)
        rows = []
        for truth in labels:
            row = [counts.get((truth, answer), 0) for answer in labels]
            total = max(sum(row), 1)
            rows.append([
                {"count": f"{count:,}", "right": truth == answer,
                 "strength": 100 * _STRONGEST * (count / total) ** 0.5}
                for answer, count in zip(labels, row, strict=True)
            ])  # fmt: skip
        matrices.append((model["file"], rows))
    return matrices


def _confusion_table(comparison: Record) -> list[Table]:
    """The most frequent confusions, where a matrix would be too wide."""
    if len(comparison["labels"]) <= _MOST_CLASSES:
        return []
    rows = []
    for model in _models(comparison):
        wrong = {pair: n for pair, n in _counts(model).items() if pair[0] != pair[1]}
        for truth, answer in sorted(wrong, key=lambda pair: -wrong[pair])[:_MOST_CONFUSIONS]:
            rows.append((model["file"], truth, answer, f"{wrong[truth, answer]:,}"))
    return make_table(
        "Confusions",
        f"The most frequent wrong answers of each model; all are in the JSON. "
        f"{len(comparison['labels']):,} classes are too many for a matrix.",
        ("File", "Truth", "Answer", "Photos"),
        rows,
        3,
    )


def _facts(comparison: Record) -> dict[str, str]:
    """The conditions, each with its name."""
    facts = {
        model["file"]: f"{model['name']}, {model['precision']}, {_input(model)}, SHA-256 "
        f"{model['sha256']}"
        for model in _models(comparison)
    }
    facts["Photos"] = f"{comparison['images']:,}, SHA-256 {comparison['data_sha256']}"
    facts["Method"] = comparison["method"]
    rows = []
    for name, runtime in comparison["runtimes"].items():
        facts[f"{name} ran on"] = f"{text.runtime_library(runtime)} ({text.runtime_place(runtime)})"
        rows.append({"runtime": runtime})
    facts |= text.environment_facts({"environment": comparison["environment"], "rows": rows})
    return facts | {"Date": comparison["environment"]["date"]}


def _input(model: Record) -> str:
    rows, columns = model["input_size"]
    return f"{columns}x{rows} pixels"


def _known(value: float | None, write: Callable[[float], str]) -> str:
    return text.DASH if value is None else write(value)
