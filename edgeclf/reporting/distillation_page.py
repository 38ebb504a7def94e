"""A study of distillation as Markdown and as one HTML page that loads nothing from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeclf.reporting import text
from edgeclf.reporting.html import page_environment
from edgeclf.reporting.tables import Cell, Table, make_table, markdown_document

Record = Mapping[str, Any]

_ALIKE = 1e-9  # two shares of the same photos differ by more, or by rounding alone


def describe(study: Record) -> Iterator[str]:
    """The finding in words: what was shown, and what was not.

    Args:
        study: Of the schema ``edgeclf.distillation/1``.
    """
    yield from _finding(study, study["difference"], "the student")
    alone, distilled = (_mean_top1(study, kind) for kind in ("alone", "distilled"))
    yield (
        f"On average the student is right on {text.percent(distilled)} distilled and on "
        f"{text.percent(alone)} alone; the teacher on {text.percent(study['teacher']['top1'])}."
    )
    if study["int8_difference"]:
        yield from _finding(study, study["int8_difference"], "the int8 student")
        alone, distilled = (_mean_top1(study, kind, int8=True) for kind in ("alone", "distilled"))
        yield (
            f"As int8 it is right on {text.percent(distilled)} distilled and on "
            f"{text.percent(alone)} alone."
        )


def _finding(study: Record, difference: Record, student: str) -> Iterator[str]:
    seeds, mean = len(study["seeds"]), difference["mean"]
    over_seeds = difference["interval_95_over_seeds"]
    over_photos = difference["interval_95_over_photos"]
    written = _points_interval(over_seeds)
    what = f"{text.points(100 * mean)} points of top-1, 95 % interval over {seeds} seeds {written}"
    alike = max(difference["per_seed"]) - min(difference["per_seed"]) < _ALIKE
    if alike and mean:
        yield (
            f"No difference shown over seeds between {student} distilled and alone: all {seeds} "
            f"gave the same difference of {text.points(100 * mean)} points, so that an interval "
            "over them has no width and tells nothing."
        )
    elif not _excludes_zero(over_seeds):
        yield f"No difference shown between {student} distilled and alone: {what}."
    else:
        verb = "helped" if mean > 0 else "harmed"
        by = f"{abs(100 * mean):.1f} points of top-1"
        ends = over_seeds if mean > 0 else [-end for end in reversed(over_seeds)]
        yield (
            f"Distillation {verb} {student} by {by}, 95 % interval over {seeds} seeds "
            f"{_points_interval(ends)}."
        )
    photos = f"over the {study['images']:,} evaluation photos {_points_interval(over_photos)}"
    if _excludes_zero(over_photos):
        yield f"The interval {photos} excludes zero."
    else:
        yield f"The interval {photos} has zero in it: other photos could show the opposite."


def to_markdown(study: Record) -> str:
    """The whole report.

    Args:
        study: Of the schema ``edgeclf.distillation/1``.
    """
    return markdown_document(
        f"Distillation: {study['name']}",
        [" ".join(study["sentences"])],
        _tables(study),
        _facts(study),
    )


def to_html(study: Record) -> str:
    """The whole report as one page.

    Args:
        study: Of the schema ``edgeclf.distillation/1``.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    return (
        page_environment()
        .get_template("distillation.html.j2")
        .render(
            name=study["name"],
            lead=text.unbroken(" ".join(study["sentences"])),
            tables=_tables(study),
            facts=_facts(study),
        )
    )


def _tables(study: Record) -> list[Table]:
    return [*_model_table(study), *_seed_table(study)]


def _model_table(study: Record) -> list[Table]:
    seeds, teacher = len(study["seeds"]), study["teacher"]
    rows: list[Sequence[str | Cell]] = [
        (
            "Teacher",
            Cell(text.percent(teacher["top1"]), text.interval(teacher["top1_interval_95"])),
            text.DASH,
        ),
        *_pair_of_rows(study, study["difference"], ""),
    ]
    if study["int8_difference"]:
        rows += _pair_of_rows(study, study["int8_difference"], ", int8")
    return make_table(
        "Teacher and student",
        f"Top-1 on {study['images']:,} evaluation photos: the teacher's with its 95 % interval "
        f"(Wilson), the student's as the mean over {seeds} seeds. The difference from the "
        "student alone in points, with its 95 % interval over seeds.",
        ("Model", "Top-1", "Difference"),
        rows,
        1,
    )


def _pair_of_rows(study: Record, difference: Record, form: str) -> list[Sequence[str | Cell]]:
    alone, distilled = (_mean_top1(study, kind, bool(form)) for kind in ("alone", "distilled"))
    ends = _points_interval(difference["interval_95_over_seeds"])[1:-1]
    gained = Cell(text.points(100 * difference["mean"]), ends)
    return [
        (f"Student alone{form}", Cell(text.percent(alone), "mean"), text.DASH),
        (f"Student distilled{form}", Cell(text.percent(distilled), "mean"), gained),
    ]


def _seed_table(study: Record) -> list[Table]:
    forms = [("", study["difference"])]
    if study["int8_difference"]:
        forms.append((", int8", study["int8_difference"]))
    columns = ["Seed"]
    for form, _ in forms:
        columns += [f"Alone{form}", f"Distilled{form}", f"Difference{form}"]
    rows: list[Sequence[str | Cell]] = []
    for index, seed in enumerate(study["seeds"]):
        cells: list[str | Cell] = [str(seed)]
        for form, difference in forms:
            for kind in ("alone", "distilled"):
                found = _run(study, seed, kind, bool(form))
                interval = text.interval(found["top1_interval_95"])
                cells.append(Cell(text.percent(found["top1"]), interval))
            cells.append(text.points(100 * difference["per_seed"][index]))
        rows.append(cells)
    return make_table(
        "Seed by seed",
        "Top-1 with its 95 % interval (Wilson), and the difference in points. A seed decides the "
        "student's weights and the order of the views; the views are the same for all.",
        columns,
        rows,
        1,
        (f"{study['file']} is the distilled student of seed {study['seeds'][0]}, whichever is "
         "best: a choice by the evaluation photos would flatter it. The other students lie in "
         f"{study['name']}.students.",),
    )  # fmt: skip


def _facts(study: Record) -> dict[str, str]:
    conditions = study["conditions"]
    settings, image = conditions["settings"], conditions["image"]
    machine = study["environment"]
    return {
        "Student": f"{settings['student']}, {text.count(study['parameters'])} parameters, "
        f"{image['width']}x{image['height']} pixels; {study['inherited_layers']} of its layers "
        "start from the teacher's, distilled and alone",
        "Teacher": f"SHA-256 {study['teacher']['sha256']}",
        "Budget": f"{settings['views']} views of {study['training_images']:,} photos, "
        f"{settings['epochs']} epochs, distilled and alone",
        "Loss": f"temperature {settings['temperature']:g}, weight of the labels "
        f"{settings['label_weight']:g}, of the features {settings['feature_weight']:g}",
        "Photos": f"to learn from: SHA-256 {conditions['data_sha256']}; to judge by: SHA-256 "
        f"{conditions['evaluation_sha256']}",
        "Method": study["method"],
        "CPU": f"{machine['cpu']}, {machine['cpus_available']} CPUs",
        "Libraries": ", ".join(f"{n} {v}" for n, v in conditions["libraries"].items()),
        "Commit": machine["commit"] or "not recorded",
        "Date": machine["date"],
    }


def _run(study: Record, seed: int, kind: str, int8: bool) -> Record:
    run: Record = study["runs"][str(seed)][kind]
    return run["int8"] if int8 else run


def _mean_top1(study: Record, kind: str, int8: bool = False) -> float:
    tops = [_run(study, seed, kind, int8)["top1"] for seed in study["seeds"]]
    return float(sum(tops) / len(tops))


def _points_interval(ends: Sequence[float]) -> str:
    low, high = (text.points(100 * end) for end in ends)
    return f"[{low}, {high}]"


def _excludes_zero(ends: Sequence[float]) -> bool:
    low, high = ends
    return low > 0 or high < 0
