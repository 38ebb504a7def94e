"""Accuracy against what it costs, with the front of the rows that no other beats in both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeclf.measurement.matrix.schema import METRICS, Row, is_unstable, row_name
from edgeclf.reporting import text
from edgeclf.reporting.svg_plots import COLOURS, Plot, by_first_seen, figure, legend, log_axis, svg

_MARKERS = "os^Dv*"
# A float model's mark is a ring around that of its quantised twin where the two coincide.
_FLOAT_MARK: dict[str, Any] = {"markersize": 10, "markerfacecolor": "none", "markeredgewidth": 1.4}
_QUANTISED_MARK: dict[str, Any] = {"markersize": 7, "markeredgewidth": 0}
_CHOSEN_MARK: dict[str, Any] = {
    "color": COLOURS["ink"], "marker": "o", "markersize": 17, "markerfacecolor": "none",
    "markeredgewidth": 1.2,
}  # fmt: skip
_FRONT_LINE: dict[str, Any] = {"color": COLOURS["muted"], "linestyle": ":", "linewidth": 1.4}
_SHAKY = 0.35  # opacity of what is not to be relied on
_HEIGHT = 340
_NO_FRONT = "There is no front: all rows were unstable."


@dataclass(frozen=True)
class _Cost:
    """What accuracy is held against."""

    metric: str
    what: str
    axis: str
    write: Callable[[float], str]


_COSTS = (
    _Cost("p50_ms", "latency", "latency p50, ms (log)", text.duration),
    _Cost("memory_mb", "memory", "memory, MB (log)", lambda mb: text.size(mb * 1e6)),
    _Cost("size_mb", "size", "size of the file, MB (log)", lambda mb: text.size(mb * 1e6)),
)


def draw_fronts(
    rows: Sequence[Row], colours: Mapping[str, str], name: str, chosen: str | None
) -> list[Plot]:
    """Accuracy against latency, memory and size, for rows whose accuracy was measured.

    Args:
        rows: Rows that worked, one photo at a time.
        colours: By model.
        name: Prefix of the identifiers in the plots.
        chosen: The id of the row that is recommended.
    """
    found = [
        (cost, [row for row in rows if row["accuracy"] and METRICS[cost.metric](row)])
        for cost in _COSTS
    ]
    return [_draw(cost, points, colours, name, chosen) for cost, points in found if points]


def pareto_front(rows: Sequence[Row], metric: str) -> list[Row]:
    """The rows that no other row beats in accuracy and in `metric`, the cheapest first.

    Of rows alike in both, the first; none whose latency was unstable, where it is about latency.

    Args:
        rows: With accuracy and the metric.
        metric: A name in `METRICS` of which less is better.
    """

    def cost(row: Row) -> tuple[float, float]:
        figure = METRICS[metric](row)
        assert figure is not None
        return figure, -row["accuracy"]["top1"]

    front: list[Row] = []
    for row in sorted(rows, key=cost):
        if metric == "p50_ms" and is_unstable(row):
            continue
        if not front or row["accuracy"]["top1"] > front[-1]["accuracy"]["top1"]:
            front.append(row)
    return front


def _draw(
    cost: _Cost, rows: Sequence[Row], colours: Mapping[str, str], name: str, chosen: str | None
) -> Plot:
    whole = figure(_HEIGHT)
    axes = whole.subplots()
    markers = by_first_seen((row["runtime"]["name"] for row in rows), _MARKERS)
    front = pareto_front(rows, cost.metric)
    places = {row["id"]: (_cost_of(row, cost), row["accuracy"]["top1"] * 100) for row in rows}
    tips: dict[str, str] = {}
    shaky: list[bool] = []
    for index, row in enumerate(rows):
        place, colour, point = places[row["id"]], colours[row["model"]], f"point-{index}"
        low, high = (share * 100 for share in row["accuracy"]["top1_interval_95"])
        shaky.append(cost.metric == "p50_ms" and is_unstable(row))
        axes.vlines(place[0], low, high, color=colour, alpha=0.2, linewidth=1.2)
        axes.plot(
            *place, markers[row["runtime"]["name"]], gid=point, color=colour, clip_on=False,
            alpha=_SHAKY if shaky[-1] else 1.0,
            **(_FLOAT_MARK if _is_float(row) else _QUANTISED_MARK),
        )  # fmt: skip
        tips[point] = f"{row_name(row)}: {_figures(row, cost)}{', unstable' * shaky[-1]}"
    if chosen in places:
        axes.plot(*places[chosen], linestyle="none", clip_on=False, **_CHOSEN_MARK)
    across, up = [places[row["id"]][0] for row in front], [places[row["id"]][1] for row in front]
    axes.step(across, up, where="post", **_FRONT_LINE)
    for number, row in enumerate(front, 1):
        axes.annotate(
            str(number), places[row["id"]], (-7, 7), textcoords="offset points", ha="right",
            fontweight="bold",
        )  # fmt: skip
    log_axis(axes, [x for x, _ in places.values()])
    axes.set_xlabel(cost.axis)
    axes.set_ylabel("top-1, %")
    axes.tick_params(axis="y", labelcolor=COLOURS["muted"])
    legend(whole, _entries(rows, colours, markers, any(shaky), chosen in places))
    named = "; ".join(
        f"{n} {row_name(row)} ({_figures(row, cost)})" for n, row in enumerate(front, 1)
    )
    return Plot(
        title := f"Accuracy against {cost.what}",
        "Up and to the left is better; the lines are the 95 % intervals of top-1. "
        + (f"No other row beats those of the front in both: {named}." if front else _NO_FRONT),
        svg(whole, f"{name}-front-{cost.what}", title, tips),
    )


def _entries(
    rows: Sequence[Row],
    colours: Mapping[str, str],
    markers: Mapping[str, str],
    shaky: bool,
    chosen: bool,
) -> list[tuple[str, dict[str, Any]]]:
    grey = {"color": COLOURS["muted"], "marker": "o"}
    models = dict.fromkeys(row["model"] for row in rows)
    entries: list[tuple[str, dict[str, Any]]] = [
        *((model, {"color": colours[model], "marker": "s"}) for model in models),
        *((runtime, {**grey, "marker": marker}) for runtime, marker in markers.items()),
    ]
    if len({_is_float(row) for row in rows}) > 1:
        entries += [("float", {**grey, **_FLOAT_MARK}), ("quantised", {**grey, **_QUANTISED_MARK})]
    if shaky:
        entries.append(("unstable", {**grey, "alpha": _SHAKY}))
    entries.append(("front", _FRONT_LINE))
    return [*entries, *([("recommended", {**_CHOSEN_MARK, "markersize": 12})] if chosen else [])]


def _cost_of(row: Row, cost: _Cost) -> float:
    figure = METRICS[cost.metric](row)
    assert figure is not None  # rows without one are not drawn
    return figure


def _figures(row: Row, cost: _Cost) -> str:
    return f"{cost.write(_cost_of(row, cost))}, {text.percent(row['accuracy']['top1'])}"


def _is_float(row: Row) -> bool:
    return str(row["precision"]) in ("fp32", "fp16")
