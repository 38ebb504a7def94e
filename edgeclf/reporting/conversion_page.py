"""A conversion as Markdown and as one HTML page that loads nothing from outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgeclf.converters.gate import GENERATED_CHANGE
from edgeclf.reporting import text
from edgeclf.reporting.html import page_environment
from edgeclf.reporting.tables import Cell, Table, make_table, markdown_document

Record = Mapping[str, Any]

_EVALUATIONS = {
    "labelled": "labelled photos",
    "unlabelled": "photos without labels",
    "generated": "generated images",
}
_MOST_CLASSES = 30
_MOST_ANSWERS = 12  # for each artifact
_MOST_LAYERS = 8  # likewise
_LONGEST_NAME = 60  # letters; TensorFlow joins the names of all that it merged
_VISIBLE = 0.001  # of a probability, 0..1; answers are written in per cent with one decimal


def to_markdown(conversion: Record) -> str:
    """The whole report but for the photos.

    Args:
        conversion: What `edgeclf.convert` wrote, of the schema ``edgeclf.conversion/1``.
    """
    return markdown_document(
        f"Conversion: {conversion['source']['name']}",
        [_summary(conversion)],
        _tables(conversion),
        _facts(conversion),
        _layer_table(conversion),
    )


def to_html(conversion: Record) -> str:
    """The whole report as one page.

    Args:
        conversion: What `edgeclf.convert` wrote, of the schema ``edgeclf.conversion/1``.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    environment = page_environment()
    environment.filters.update(percent=text.percent, change=_change)
    return environment.get_template("conversion.html.j2").render(
        name=conversion["source"]["name"],
        lead=text.unbroken(_summary(conversion)),
        tables=_tables(conversion),
        photos={
            name: [photo for photo in worst if photo["change"] >= _VISIBLE]
            for name, result in conversion["results"].items()
            if (worst := _list(result, "worst_images"))
        },
        layers=_layer_table(conversion),
        facts=_facts(conversion),
    )


def _summary(conversion: Record) -> str:
    tolerance = conversion["settings"]["tolerance"]
    return " ".join(_sentences(conversion, conversion["results"], tolerance))


def _sentences(
    conversion: Record, results: Mapping[str, Record], tolerance: float
) -> Iterable[str]:
    passed = {name: _comparison(result) for name, result in results.items() if result["passed"]}
    yield (
        f"{text.part(len(passed), len(results), 'artifact')} passed the gate: compared with "
        f"{conversion['source']['file']} on {_images(conversion)}, "
        f"{_rule(conversion['evaluation']['kind'], tolerance)}."
    )
    drops = {name: drop for name, c in passed.items() if (drop := _drop(c)) is not None}
    worst = max(drops, key=drops.__getitem__, default="")
    several = len(passed) > 1
    if drops and drops[worst] > 0:
        loses = f"Of those that passed, {worst} loses most:" if several else f"{worst} loses"
        yield (
            f"{loses} {100 * drops[worst]:.1f} points "
            f"({text.percent(passed[worst]['artifact_top1'])} against "
            f"{text.percent(passed[worst]['source_top1'])})."
        )
    elif drops:
        yield "None of those that passed loses top-1." if several else f"{worst} loses no top-1."
    if agreements := {name: c["top1_agreement"] for name, c in passed.items() if c}:
        least = min(agreements, key=agreements.__getitem__)
        share = f"{text.percent(agreements[least])} of the images"
        if several:
            yield f"They give the source's answer to at least {share} ({least})."
        else:
            yield f"{least} gives the source's answer to {share}."
    for name in passed:
        place, recipe = _taken(results[name])
        if place:
            others = "another recipe" if place == 1 else f"{place} other recipes"
            yield f"{name} needed a fallback: “{recipe}” passed after {others} had not."
    for name, result in results.items():
        if not result["passed"]:
            reason = "the error is below" if result.get("error") else _reason(result, tolerance)
            yield f"{name} failed: {reason}."
    yield from conversion.get("advice", ())


def _rule(kind: str, tolerance: float) -> str:
    """What the gate allowed; see `edgeclf.converters.gate.AnswerComparison.passes`."""
    if kind == "generated":
        return f"where a probability may move by {GENERATED_CHANGE}"
    if kind == "unlabelled":
        return f"where {100 * tolerance:.1f} % of the answers may change"
    return f"with a tolerance of {100 * tolerance:.1f} points of top-1"


def _tables(conversion: Record) -> list[Table]:
    makers = (_main_table, _attempt_table, _class_table, _answer_table)
    return [table for make in makers for table in make(conversion)]


def _main_table(conversion: Record) -> list[Table]:
    original, tolerance = conversion["source"]["size_bytes"], conversion["settings"]["tolerance"]
    rows = []
    for name, result in conversion["results"].items():
        place, recipe = _taken(result)
        verdict = Cell("passed", f"fallback recipe {place}" if place else "")
        if not result["passed"]:
            verdict = Cell("failed", _reason(result, tolerance), failed=True)
        comparison, size = _comparison(result), result.get("size_bytes")
        top1, drop = Cell(text.DASH), _drop(comparison)
        if drop is not None:
            shares = (comparison[key] for key in ("source_top1", "artifact_top1"))
            top1 = Cell(" → ".join(map(text.percent, shares)), f"{_lost(drop)} points")
        rows.append((
            name,
            verdict,
            recipe,
            top1,
            *_differences(comparison),
            _known(text.size, size),
            _known(text.ratio, original / size if original and size else None),
            _known(text.size, result.get("arena_bytes")),
            _known(_seconds, result.get("seconds")),
        ))  # fmt: skip
    return make_table(
        "Results",
        "Agreement is the share of images to which source and artifact give the same answer; "
        f"a change is that of a probability, 0 to 1; all on {_images(conversion)}. The ratio is "
        "the size of the source's file over the artifact's. The arena is the working memory that "
        "a microcontroller needs.",
        ("Artifact", "Verdict", "Recipe taken", "Top-1", "Agreement", "Largest change", "Size",
         "Ratio", "Arena", "Time"),
        rows,
        3,
    )  # fmt: skip


def _attempt_table(conversion: Record) -> list[Table]:
    rows = [
        (
            name,
            attempt["recipe"],
            Cell("passed") if attempt["passed"] else Cell("failed", attempt["error"] or "", True),
            _known(_lost, attempt["top1_drop"]),
            *_differences(attempt),
            _known(text.size, attempt["size_bytes"]),
            text.milliseconds(attempt["p50_ms"]),
            _known(_seconds, attempt["seconds"]),
        )
        for name, result in conversion["results"].items()
        for attempt in _list(result, "attempts")
        if len(result["attempts"]) > 1 or not result["passed"]
    ]
    return make_table(
        "Recipes tried",
        "In this order; the first that passed was taken. Top-1 as its change in points; p50 is "
        "the median latency.",
        ("Artifact", "Recipe", "Verdict", "Top-1", "Agreement", "Largest change", "Size",
         "p50, ms", "Time"),
        rows,
        3,
    )  # fmt: skip


def _class_table(conversion: Record) -> list[Table]:
    compared = {name: _comparison(result) for name, result in conversion["results"].items()}
    classes = {name: c["per_class"] for name, c in compared.items() if c.get("per_class")}
    moved = {name: of for name, of in classes.items() if any(map(_gain, of.values()))}
    # Every artifact is compared on the same images: one tells the classes and the source's share.
    first: Record = next(iter(moved.values()), {})
    largest = {label: max(abs(_gain(of[label])) for of in moved.values()) for label in first}
    changed = sorted(filter(largest.__getitem__, largest), key=lambda label: -largest[label])
    rows = [
        (
            label,
            text.percent(first[label]["source"]),
            *(_class_words(of[label]) for of in moved.values()),
        )
        for label in changed[:_MOST_CLASSES]
    ]
    notes = []
    if alike := [name for name in classes if name not in moved]:
        notes.append(f"No class changed in {', '.join(alike)}.")
    if (left_out := len(changed) - len(rows)) > 0:
        notes.append(f"{left_out:,} more classes changed, none of them by more than these.")
    prefix = f"{conversion['source']['name']}."
    return make_table(
        "Classes that changed",
        "Accuracy on the photos of a class, with its change in points.",
        ("Class", "Source", *(name.removeprefix(prefix) for name in moved)),
        rows,
        1,
        notes,
    )


def _gain(accuracies: Mapping[str, float]) -> float:
    return accuracies["artifact"] - accuracies["source"]


def _class_words(accuracies: Mapping[str, float]) -> str:
    gain = _gain(accuracies)
    change = f" ({text.points(100 * gain)})" if gain else ""
    return text.percent(accuracies["artifact"]) + change


def _answer_table(conversion: Record) -> list[Table]:
    rows, notes = [], []
    for name, result in conversion["results"].items():
        changes = _list(result, "changes")
        for change in changes[:_MOST_ANSWERS]:
            truth, source, artifact = (change[key] for key in ("truth", "source", "artifact"))
            effects = {source: "now wrong", artifact: "now right", None: text.DASH}
            effect = effects.get(truth, "still wrong")
            images = f"{change['images']:,}"
            rows.append((name, truth or text.DASH, source, artifact, effect, images))
        if left_out := sum(change["images"] for change in changes[_MOST_ANSWERS:]):
            notes.append(f"{left_out:,} more answers changed in {name}.")
    return make_table(
        "Answers that changed",
        "Images to which source and artifact give different answers, the most frequent first.",
        ("Artifact", "Truth", "Source's answer", "Artifact's answer", "Effect", "Images"),
        rows,
        5,
        notes,
    )


def _layer_table(conversion: Record) -> list[Table]:
    rows, notes = [], []
    for name, result in conversion["results"].items():
        found = _list(result, "layer_errors")
        layers = found[:_MOST_LAYERS]
        errors = [layer["error"] for layer in layers]
        largest = max(filter(_is_number, errors), default=0) or 1
        for layer, error in zip(layers, errors, strict=True):
            bar = error / largest if _is_number(error) else None
            place = (name, _shortened(layer["tensor"]), layer["operator"] or text.DASH)
            rows.append((*place, Cell(text.digits(error), bar=bar)))
        if left_out := len(found) - len(layers):
            file = f"{conversion['source']['name']}.conversion.json"
            notes.append(f"{left_out} more of {name} are in {file}, with all names in full.")
    return make_table(
        "Layers that differ most",
        "Relative error: the root mean square of the difference between float and int8, over that "
        f"of float, and {text.DASH} where a layer's values are not finite. The longest bar is the "
        "largest error of an artifact.",
        ("Artifact", "Tensor", "Operator", "Relative error"),
        rows,
        4,
        notes,
    )


def _shortened(name: str) -> str:
    """A name with its middle left out, where it is too long for a column."""
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def _facts(conversion: Record) -> dict[str, str]:
    """The conditions, each with its name."""
    source, calibration = conversion["source"], conversion["calibration"]
    facts = {
        "Source": f"{source['file']} ({source['format']}), "
        f"{_known(text.size, source['size_bytes'])}, {text.count(source['parameters'])} "
        f"parameters, SHA-256 {source['sha256']}",
        "Classes": f"{len(conversion['labels']):,}",
        "Evaluation": f"{_images(conversion)}, SHA-256 {conversion['evaluation']['sha256']}",
        "Calibration": f"{calibration['images']:,} images, seed {calibration['seed']}, "
        f"SHA-256 {calibration['sha256']}"
        if calibration
        else "none",
    }
    for name, result in conversion["results"].items():
        if quantization := result.get("quantization"):
            facts[name] = "; ".join(_property(*item) for item in quantization.items())
    facts["Libraries"] = ", ".join(f"{name} {v}" for name, v in conversion["libraries"].items())
    return facts | {"Time": _known(_seconds, conversion["seconds"])}


def _property(name: str, value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(map(str, value)) or "nothing"
    if isinstance(value, bool):
        value = "yes" if value else "no"
    return f"{name.replace('_', ' ')}: {value}"


def _images(conversion: Record) -> str:
    evaluation = conversion["evaluation"]
    return f"{evaluation['images']:,} {_EVALUATIONS[evaluation['kind']]}"


def _reason(result: Record, tolerance: float) -> str:
    """Why an artifact failed."""
    comparison = _comparison(result)
    drop = _drop(comparison)
    if result.get("error"):
        return str(result["error"])
    if drop is not None and drop > tolerance:
        lost, allowed = (text.digits(100 * share) for share in (drop, tolerance))
        return f"it loses {lost} points of top-1, where {allowed} may be lost"
    if comparison:
        share = text.percent(comparison["top1_agreement"])
        return f"it gives the source's answer to {share} of the images"
    return "the reason was not recorded"


def _comparison(result: Record) -> Record:
    return result.get("comparison") or {}


def _list(result: Record, key: str) -> list[Any]:
    return result.get(key) or []


def _drop(comparison: Record) -> float | None:
    """Top-1 lost, 0..1; None where the images carry no labels."""
    source, artifact = comparison.get("source_top1"), comparison.get("artifact_top1")
    return None if source is None or artifact is None else source - artifact


def _taken(result: Record) -> tuple[int, str]:
    """How many recipes had failed before one passed, and that one."""
    attempts = enumerate(_list(result, "attempts"))
    return next(
        ((i, attempt["recipe"]) for i, attempt in attempts if attempt["passed"]), (0, text.DASH)
    )


def _differences(compared: Record) -> tuple[str, Cell]:
    """Agreement and changes of a comparison or of an attempt."""
    agreement, largest, mean = (
        compared.get(key) for key in ("top1_agreement", "max_change", "mean_change")
    )
    changes = Cell(_known(_change, largest), "" if mean is None else f"mean {_change(mean)}")
    return _known(text.percent, agreement), changes


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _known(write: Callable[[float], str], value: float | None) -> str:
    return text.or_dash(write)(value)


@text.or_dash
def _change(value: float) -> str:
    """A change of a probability, 0..1."""
    return "≤0.0001" if 0 < value < 0.0001 else f"{value:.4f}"


def _lost(drop: float) -> str:
    return text.points(-100 * drop)


def _seconds(value: float) -> str:
    return text.duration(1e3 * value)
