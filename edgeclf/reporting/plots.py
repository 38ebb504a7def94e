"""Benchmark rows as plots: the fronts, and what latency and memory are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeclf.measurement.matrix.schema import METRICS, Row, row_threads
from edgeclf.reporting import text
from edgeclf.reporting.pareto import draw_fronts
from edgeclf.reporting.svg_plots import (
    COLOURS,
    MODEL_COLOURS,
    Plot,
    by_first_seen,
    is_unreliable,
    legend,
    log_axis,
    panels,
    style,
    svg,
    value,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STAGES = ("decode", "preprocess", "inference")
_ROW_HEIGHT = 20
_MOST_ROWS = 14  # of more, the bars show the fastest of each file and runtime
_ROOM_FOR_VALUES = 1.2  # how much longer an axis is than its longest bar
_ROOM_FOR_TWO_VALUES = 1.55
_LINE_WIDTH = 1.6  # of the line across a bar
_LINE: Mapping[str, Any] = {  # its mark in a legend
    "color": COLOURS["ink"], "marker": "|", "markeredgewidth": _LINE_WIDTH,
}  # fmt: skip


def draw_plots(rows: Sequence[Row], name: str, chosen: str | None) -> list[Plot]:
    """All plots that the rows can carry.

    Args:
        rows: Of one device.
        name: Prefix of the identifiers in the plots, which must be unique in the page.
        chosen: The id of the row that is recommended.

    Raises:
        MissingDependencyError: Matplotlib is not installed.
    """
    colours = by_first_seen((row["model"] for row in rows), MODEL_COLOURS)
    single = [row for row in rows if not row["error"] and row["batch"] == 1]
    timed = [row for row in single if row["latency"]]
    weighed = [row for row in single if row["memory"]]
    staged = [row for row in timed if "decode" in row["latency"]["stages_ms"]]
    with style():
        plots = draw_fronts(single, colours, name, chosen)
        for rows, draw in ((timed, _distributions), (staged, _stages), (weighed, _memory)):
            if rows:
                shown = _shown(rows)
                plot = draw(shown, colours, name)
                plots.append(replace(plot, note=plot.note + _reading_help(shown, len(rows))))
    return plots


def _shown(rows: list[Row]) -> list[Row]:
    """The rows that bars are drawn for: all, or the fastest of each file and runtime."""
    if len(rows) <= _MOST_ROWS:
        return rows
    fastest: dict[tuple[str, str], Row] = {}
    for row in sorted(rows, key=lambda row: METRICS["p50_ms"](row) or 0):
        fastest.setdefault((row["file"], row["runtime"]["name"]), row)
    return [row for row in rows if row in fastest.values()]


def _reading_help(shown: Sequence[Row], of: int) -> str:
    """What the labels of the bars do not say by themselves."""
    words = " Of each file and runtime, the fastest row." if len(shown) < of else ""
    several = len({row_threads(row) for row in shown}) > 1
    words += " 2T: two threads." * several
    return words + " †: unstable or throttled." * any(map(is_unreliable, shown))


def _distributions(rows: Sequence[Row], colours: Mapping[str, str], name: str) -> Plot:
    whole, places = panels(rows, 1.5 * _ROW_HEIGHT)
    for axes, group in places:
        edges = [edge for row in group for edge in row["latency"]["histogram"]["edges_ms"]]
        log_axis(axes, [edge for edge in edges if edge > 0])
        for position, row in enumerate(group):
            histogram, floor = row["latency"]["histogram"], position + 0.4
            highest = max(histogram["counts"])
            tops = [floor - 0.85 * count / highest for count in histogram["counts"]]
            axes.stairs(
                tops, histogram["edges_ms"], baseline=floor, fill=True, color=colours[row["model"]]
            )
            median = row["latency"]["stages_ms"]["total"]["p50"]
            _draw_line(axes, median, position - 0.45, floor)
            value(axes, max(histogram["edges_ms"]), position, text.milliseconds(median))
    places[-1][0].set_xlabel("latency, ms (log)")
    drawn = {row["model"] for row in rows}
    entries = [(m, {"color": colour, "marker": "s"}) for m, colour in colours.items() if m in drawn]
    legend(whole, [*entries, ("median", _LINE)])
    return Plot(
        title := "Latency distributions",
        "How often each latency was measured; each row has a height of its own, each "
        "runtime an axis of its own. The number is the median.",
        svg(whole, f"{name}-distributions", title),
    )


def _stages(rows: Sequence[Row], _: Mapping[str, str], name: str) -> Plot:
    whole, places = panels(rows, _ROW_HEIGHT)
    for axes, group in places:
        ends = []
        for position, row in enumerate(group):
            stages = row["latency"]["stages_ms"]
            end = 0.0
            for index, stage in enumerate(_STAGES):
                width = stages[stage]["p50"]
                axes.barh(position, width, 0.62, left=end, color=COLOURS[f"stage-{index}"])
                end += width
            median = stages["total"]["p50"]
            _draw_line(axes, median, position - 0.42, position + 0.42)
            ends.append(max(end, median))
            value(axes, ends[-1], position, text.milliseconds(median))
        _scale(axes, ends, _ROOM_FOR_VALUES)
    places[-1][0].set_xlabel("ms")
    entries = [
        (stage, {"color": COLOURS[f"stage-{i}"], "marker": "s"}) for i, stage in enumerate(_STAGES)
    ]
    legend(whole, [*entries, ("total", _LINE)])
    return Plot(
        title := "Latency by stage",
        "Medians (p50). The number and the line are the median of the whole, which "
        "need not be the sum of the stages' medians. Each runtime has a scale of its own.",
        svg(whole, f"{name}-stages", title),
    )


def _memory(rows: Sequence[Row], colours: Mapping[str, str], name: str) -> Plot:
    whole, places = panels(rows, 1.6 * _ROW_HEIGHT)
    phases = list(rows[0]["memory"]["phases"])
    strengths = [0.25 + 0.75 * (index + 1) / len(phases) for index in range(len(phases))]
    thickness = 0.8 / len(phases)
    for axes, group in places:
        ends = []
        for position, row in enumerate(group):
            memory = row["memory"]
            for index, (phase, strength) in enumerate(zip(phases, strengths, strict=True)):
                offset = (index - (len(phases) - 1) / 2) * thickness
                axes.barh(
                    position + offset, memory["phases"][phase]["pss_bytes"] / 1e6, thickness,
                    color=colours[row["model"]], alpha=strength,
                )  # fmt: skip
            peak = memory["peak_rss_bytes"] / 1e6
            steady = memory["phases"]["steady"]["pss_bytes"]
            _draw_line(axes, peak, position - 0.4, position + 0.4)
            ends.append(max(peak, steady / 1e6))
            peak_size = text.size(memory["peak_rss_bytes"])
            value(axes, ends[-1], position, f"{text.size(steady)}, peak {peak_size}")
        _scale(axes, ends, _ROOM_FOR_TWO_VALUES)
    places[-1][0].set_xlabel("MB")
    entries = [
        (phase, {"color": COLOURS["muted"], "alpha": strength, "marker": "s"})
        for phase, strength in zip(phases, strengths, strict=True)
    ]
    legend(whole, [*entries, ("peak RSS", _LINE)])
    return Plot(
        title := "Memory by phase",
        "PSS of a fresh process, from its start (faint) to steady state (full), and "
        "the peak of its RSS. Each runtime has a scale of its own.",
        svg(whole, f"{name}-memory", title),
    )


def _draw_line(axes: Axes, x: float, top: float, bottom: float) -> None:
    axes.vlines(x, top, bottom, color=COLOURS["ink"], linewidth=_LINE_WIDTH)


def _scale(axes: Axes, ends: Sequence[float], room: float) -> None:
    """An axis from zero to beyond the ends of its bars, by that factor."""
    axes.set_xlim(0, max(ends) * room)
    axes.locator_params(axis="x", nbins=6)
