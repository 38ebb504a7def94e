"""A search within a budget as Markdown and as one HTML page that loads nothing from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeclf.reporting import text
from edgeclf.reporting.html import page_environment
from edgeclf.reporting.svg_plots import COLOURS, Plot, figure, legend, log_axis, style, svg
from edgeclf.reporting.tables import Cell, Table, make_table, markdown_document

Record = Mapping[str, Any]

_OUTCOMES = {
    "complete": "to the end",
    "stopped": "stopped",
    "broken": "broken by int8",
    "failed": "failed",
}
_HEIGHT = 320
_TRIAL: dict[str, Any] = {"marker": "o", "color": COLOURS["muted"], "markersize": 7}
_STOPPED: dict[str, Any] = {**_TRIAL, "markerfacecolor": "none"}
_FINALIST: dict[str, Any] = {"marker": "o", "color": COLOURS["model-0"], "markersize": 9}
_FRONT: dict[str, Any] = {"color": COLOURS["muted"], "linestyle": ":", "linewidth": 1.4}
_CHOSEN: dict[str, Any] = {
    "marker": "o", "color": COLOURS["ink"], "markersize": 17, "markerfacecolor": "none",
    "markeredgewidth": 1.2,
}  # fmt: skip


def describe(record: Record) -> str:
    """The recommendation in words.

    Args:
        record: Of the schema ``edgeclf.fit/1``.
    """
    limits = record["budget"]["words"]
    best = _find(record, record["recommended"])
    if best is None:
        return f"No finalist is recommended: none keeps to the budget ({limits}) and to its gate."
    target, found = next(iter(best["targets"].items()))
    how = "as measured here" if record["device"]["measured_here"] else "as predicted"
    accuracy = found["accuracy"]
    right = "" if accuracy is None else (
        f"right on {text.percent(accuracy['top1'])} of {accuracy['images']:,} evaluation photos "
        f"[{text.interval(accuracy['top1_interval_95'])}], "
    )  # fmt: skip
    cost = found["cost"]
    return (
        f"Recommended: {best['name']} as {target}, {right}"
        f"{text.duration(cost['latency_ms'])}, {text.size(1e3 * cost['size_kb'])} and "
        f"{text.size(1e6 * cost['memory_mb'])} of memory {how}; the budget is {limits}."
    )


def front_lines(record: Record) -> Iterator[str]:
    """The finalists, a line each, for the terminal."""
    yield f"{'':2}{'design':34}{'target':14}{'top-1':>8}{'latency':>11}{'size':>10}{'memory':>10}"
    for finalist in record["finalists"]:
        for target, found in finalist["targets"].items():
            mark = "*" if finalist["name"] == record["recommended"] else ""
            cost, accuracy = found["cost"], found["accuracy"]
            if cost is None:
                yield f"{mark:2}{finalist['name']:34}{target:14}  {_why_not(found)}"
                continue
            top1 = text.DASH if accuracy is None else text.percent(accuracy["top1"])
            over = "  over the budget" if found["load"] > 1 else ""
            yield (
                f"{mark:2}{finalist['name']:34}{target:14}{top1:>8}"
                f"{text.duration(cost['latency_ms']):>11}{text.size(1e3 * cost['size_kb']):>10}"
                f"{text.size(1e6 * cost['memory_mb']):>10}{over}"
            )


def to_markdown(record: Record) -> str:
    """The whole report.

    Args:
        record: Of the schema ``edgeclf.fit/1``.
    """
    return markdown_document(
        f"Cut to a budget: {record['name']}",
        [describe(record), _search_sentence(record)],
        _tables(record),
        _facts(record),
    )


def to_html(record: Record) -> str:
    """The whole report as one page.

    Args:
        record: Of the schema ``edgeclf.fit/1``.

    Raises:
        MissingDependencyError: jinja2 or Matplotlib is not installed.
    """
    return (
        page_environment()
        .get_template("budget.html.j2")
        .render(
            name=record["name"],
            lead=text.unbroken(describe(record)),
            search=text.unbroken(_search_sentence(record)),
            tables=_tables(record),
            plots=_plots(record),
            facts=_facts(record),
        )
    )


def _search_sentence(record: Record) -> str:
    designs, trials = record["designs"], record["trials"]
    outcomes = [each["outcome"] for each in trials]
    counts = [
        f"{outcomes.count(outcome)} {words}"
        for outcome, words in _OUTCOMES.items()
        if outcome in outcomes
    ]
    return (
        f"{designs['within']:,} of {designs['looked_at']:,} designs are predicted to keep to the "
        f"budget. Of those, {len(trials)} were trained: {', '.join(counts)}."
    )


def _tables(record: Record) -> list[Table]:
    return [*_front_table(record), *_trial_table(record)]


def _front_table(record: Record) -> list[Table]:
    rows: list[Sequence[str | Cell]] = []
    for finalist in record["finalists"]:
        recommended = "recommended" if finalist["name"] == record["recommended"] else ""
        for target, found in finalist["targets"].items():
            rows.append((
                Cell(finalist["name"], recommended), target, *_figures(found),
                text.count(finalist["parameters"]), text.count(finalist["multiply_adds"]),
            ))  # fmt: skip
    how = (
        "measured on this machine, which the device's file is of, with what was predicted below"
        if record["device"]["measured_here"]
        else "predicted from the device's file, as this machine is another; the size is the file's"
    )
    notes = [
        "Trained again on all training photos, with all views. They stand in the order of their "
        "loss on the photos set aside, by which the first that keeps to the budget and to its "
        "gate is recommended; the evaluation photos choose none, so that what they say of it is "
        "not the luckiest of several figures.",
    ]
    return make_table(
        "Finalists",
        "Of the trials that came to their end, those that no other beats in accuracy and latency. "
        f"Top-1 on {record['photos']['evaluation']:,} evaluation photos with its 95 % interval "
        f"(Wilson). Latency, size and memory are {how}.",
        ("Design", "File", "Top-1", "Latency", "Size", "Memory", "Budget", "Parameters",
         "Multiply-adds"),
        rows,
        2,
        notes,
    )  # fmt: skip


def _figures(found: Record) -> tuple[str | Cell, ...]:
    cost, accuracy, predicted = found["cost"], found["accuracy"], found["predicted"]
    if cost is None:
        return (Cell("failed", _why_not(found), failed=True), *[text.DASH] * 4)
    top1: str | Cell = text.DASH
    if accuracy is not None:
        interval = text.interval(accuracy["top1_interval_95"])
        top1 = Cell(text.percent(accuracy["top1"]), interval)
    load = found["load"]
    return (
        top1,
        _beside(text.duration, cost["latency_ms"], predicted["latency_ms"], 1),
        _beside(text.size, cost["size_kb"], predicted["size_kb"], 1e3),
        _beside(text.size, cost["memory_mb"], predicted["memory_mb"], 1e6),
        Cell(text.percent(load), "over it" if load > 1 else ""),
    )


def _beside(write: Any, value: float, predicted: float, unit: float) -> Cell:
    """A figure, with the one that was predicted where they differ."""
    shown, before = write(unit * value), write(unit * predicted)
    return Cell(shown, "" if shown == before else f"{before} predicted")


def _why_not(found: Record) -> str:
    return str(found["error"] or "answers too differently from its network; see the conversion")


def _trial_table(record: Record) -> list[Table]:
    last = max((r["epoch"] for t in record["trials"] for r in t["rungs"]), default=0)
    rows: list[Sequence[str | Cell]] = []
    for number, trial in enumerate(record["trials"], 1):
        cost = next(iter(trial["predicted"].values()))
        judged = trial["rungs"][-1] if trial["rungs"] else None
        rows.append((
            str(number), trial["name"], Cell(_OUTCOMES[trial["outcome"]], trial["note"]),
            text.DASH if judged is None else f"{judged['epoch']} of {last}",
            text.DASH if judged is None else f"{judged['loss']:.3f}",
            text.DASH if judged is None else Cell(
                text.percent(judged["top1"]), f"{text.percent(judged['float_top1'])} in float"
            ),
            text.duration(cost["latency_ms"]), text.size(1e3 * cost["size_kb"]),
            text.percent(trial["load"]),
        ))  # fmt: skip
    target = record["budget"]["targets"][0]
    return make_table(
        "Trials",
        f"Each judged by the answers of its {target} file, after a short conversion, to "
        f"{record['photos']['judges']:,} training photos that are set aside: cross-entropy in "
        "nats, at the temperature that suits its answers best, and top-1. Costs are predicted.",
        ("Trial", "Design", "Outcome", "Epochs", "Loss", "Top-1", "Latency", "Size", "Budget"),
        rows,
        3,
    )


def _plots(record: Record) -> list[Plot]:
    with style():
        return [_front_plot(record)]


def _front_plot(record: Record) -> Plot:
    finalists = {each["name"] for each in record["finalists"]}
    points = [
        (trial, next(iter(trial["predicted"].values()))["latency_ms"], trial["rungs"][-1]["loss"])
        for trial in record["trials"]
        if trial["rungs"]
    ]
    whole = figure(_HEIGHT)
    axes = whole.subplots()
    tips = {}
    for number, (trial, latency, loss) in enumerate(points):
        marks = _FINALIST if trial["name"] in finalists else (
            _TRIAL if trial["outcome"] == "complete" else _STOPPED
        )  # fmt: skip
        name = f"point-{number}"
        axes.plot(latency, loss, gid=name, clip_on=False, linestyle="none", **marks)
        if trial["name"] == record["recommended"]:
            axes.plot(latency, loss, linestyle="none", clip_on=False, **_CHOSEN)
        tips[name] = (
            f"{trial['name']}: {text.duration(latency)}, loss {loss:.3f}, "
            f"{_OUTCOMES[trial['outcome']]}"
        )
    ends = sorted((ms, loss) for trial, ms, loss in points if trial["name"] in finalists)
    axes.step([ms for ms, _ in ends], [loss for _, loss in ends], where="post", **_FRONT)
    if points:
        log_axis(axes, [latency for _, latency, _ in points])
    axes.set_xlabel("latency predicted, ms (log)")
    axes.set_ylabel("loss on the photos set aside")
    entries = [("finalist", _FINALIST), ("to the end", _TRIAL), ("stopped on the way", _STOPPED)]
    entries.append(("front", _FRONT))
    if record["recommended"]:
        entries.append(("recommended", {**_CHOSEN, "markersize": 12}))
    legend(whole, entries)
    title = "Loss against latency"
    return Plot(
        title,
        "Down and to the left is better. A trial that was stopped is shown where it was then; with "
        "all epochs it would lie lower.",
        svg(whole, "fit-front", title, tips),
    )


def _facts(record: Record) -> dict[str, str]:
    settings, photos, machine = record["settings"], record["photos"], record["environment"]
    device = record["device"]
    engines = ", ".join(f"{name} {version}" for name, version in device["engines"].items())
    return {
        "Budget": f"{record['budget']['words']}, as {' and '.join(record['budget']['targets'])}",
        "Device": f"{device['cpu']}, {text.threads(device['threads'])}, {engines}; its table is of "
        f"{device['date']}",
        "Learning": f"{settings['views']} views of {photos['training']:,} photos, "
        f"{settings['epochs']} epochs at a peak rate of {settings['learning_rate']:g}, seed "
        f"{settings['seed']}; trials: half of the views, without {photos['judges']:,} photos",
        "Photos": f"to learn from: SHA-256 {photos['data_sha256']}; to judge by: SHA-256 "
        f"{photos['evaluation_sha256']}",
        "CPU": f"{machine['cpu']}, {machine['cpus_available']} CPUs",
        "Libraries": ", ".join(f"{n} {v}" for n, v in machine["libraries"].items()),
        "Commit": machine["commit"] or "not recorded",
        "Date": machine["date"],
    }


def _find(record: Record, name: str | None) -> Record | None:
    return next((each for each in record["finalists"] if each["name"] == name), None)
