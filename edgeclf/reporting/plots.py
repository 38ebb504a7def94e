"""Benchmark rows as plots: SVG that takes its colours from the page around it."""

from __future__ import annotations

import io
import math
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeclf.errors import MissingDependencyError
from edgeclf.reporting import text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

# Matplotlib draws with stand-ins; the page's style sheet says what they look like, by day and
# by night.
_VARIABLES = (
    "ink", "muted", "rule",
    "model-0", "model-1", "model-2", "model-3", "model-4", "model-5",
    "stage-0", "stage-1", "stage-2",
)  # fmt: skip
_COLOURS = {name: f"#fe01{index:02x}" for index, name in enumerate(_VARIABLES)}
_MODEL_COLOURS = [_COLOURS[f"model-{index}"] for index in range(6)]
_STAGES = ("decode", "preprocess", "inference")
_MARKERS = "os^Dv*"

# A float model's mark is a ring around that of its quantised twin where the two coincide.
_FLOAT_MARK: dict[str, Any] = {"markersize": 10, "markerfacecolor": "none", "markeredgewidth": 1.4}
_QUANTISED_MARK: dict[str, Any] = {"markersize": 7, "markeredgewidth": 0}

_WIDTH = 500  # SVG units; the page scales them
_UNITS_PER_INCH = 72
_ROW_HEIGHT = 20
_PANEL_HEIGHT = 44  # a panel's title and axis
_LABEL_CHARACTERS = 28
_MIN_LOG_SPAN = 6.5  # more than two steps of 1, 2, 5, 10
_ROOM_FOR_VALUES = 1.2  # how much longer an axis is than its longest bar
_ROOM_FOR_TWO_VALUES = 1.55


@dataclass(frozen=True)
class Plot:
    """One figure.

    Attributes:
        title: What it shows.
        note: What a reader must know to read it.
        svg: An ``<svg>`` element for a page that defines the colours.
    """

    title: str
    note: str
    svg: str


def draw_plots(rows: Sequence[Row]) -> list[Plot]:
    """All plots that the rows can carry; those of latency and memory need a row that worked.

    Raises:
        MissingDependencyError: Matplotlib is not installed.
    """
    measured = [row for row in rows if not row["error"]]
    colours = _by_first_seen((row["model"] for row in rows), _MODEL_COLOURS)
    with _style():
        if not measured:
            return [_sizes(rows, colours)]
        return [
            _accuracy(measured, colours),
            _latency(measured),
            _memory(measured, colours),
            _sizes(rows, colours),
        ]


@contextmanager
def _style() -> Iterator[None]:
    try:
        import matplotlib
    except ImportError as exc:
        raise MissingDependencyError("matplotlib", "report", "Writing the report") from exc
    ink, muted, rule = _COLOURS["ink"], _COLOURS["muted"], _COLOURS["rule"]
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "edgeclf",
        "text.parse_math": False,
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "text.color": ink,
        "axes.edgecolor": rule,
        "axes.labelcolor": muted,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.color": rule,
        "grid.linewidth": 0.8,
        "xtick.color": rule,
        "xtick.labelcolor": muted,
        "ytick.color": rule,
        "ytick.labelcolor": ink,
        "legend.frameon": False,
        "legend.handlelength": 1.2,
        "legend.handletextpad": 0.5,
        "legend.columnspacing": 1.4,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # The page's fonts draw the text, whatever Matplotlib's own can draw.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _accuracy(rows: Sequence[Row], colours: Mapping[str, str]) -> Plot:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure = _figure(320)
    axes = figure.subplots()
    markers = _by_first_seen((row["runtime"]["name"] for row in rows), _MARKERS)
    tips = {}
    for index, row in enumerate(rows):
        total_ms = row["latency"]["stages_ms"]["total"]["p50"]
        top1 = row["accuracy"]["top1"] * 100
        low, high = (share * 100 for share in row["accuracy"]["top1_interval_95"])
        colour, name = colours[row["model"]], f"point-{index}"
        axes.vlines(total_ms, low, high, color=colour, alpha=0.45, linewidth=1.2)
        axes.plot(
            total_ms, top1, markers[row["runtime"]["name"]], gid=name, color=colour,
            clip_on=False, **(_FLOAT_MARK if _is_float(row) else _QUANTISED_MARK),
        )  # fmt: skip
        tips[name] = (
            f"{row['model']} {row['precision']} on {row['runtime']['name']}: "
            f"{text.duration(total_ms)}, {text.percent(row['accuracy']['top1'])}"
        )
    axes.set_xscale("log")
    axes.set_xlim(_log_limits([row["latency"]["stages_ms"]["total"]["p50"] for row in rows]))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("latency p50, ms (log)")
    axes.set_ylabel("top-1, %")
    axes.tick_params(axis="y", labelcolor=_COLOURS["muted"])
    entries = [(model, {"color": colour, "marker": "s"}) for model, colour in colours.items()]
    entries += [
        (runtime, {"color": _COLOURS["muted"], "marker": marker})
        for runtime, marker in markers.items()
    ]
    if len({_is_float(row) for row in rows}) > 1:
        grey = {"color": _COLOURS["muted"], "marker": "o"}
        entries += [("float", {**grey, **_FLOAT_MARK}), ("quantised", {**grey, **_QUANTISED_MARK})]
    _legend(figure, entries)
    return Plot(
        title := "Accuracy against latency",
        "Up and to the left is better. The lines are the 95 % intervals of top-1; hollow marks "
        "are float models, filled ones quantised.",
        _svg(figure, "accuracy", title, tips),
    )


def _latency(rows: Sequence[Row]) -> Plot:
    ink = _COLOURS["ink"]
    figure, panels = _panels(rows, _ROW_HEIGHT)
    for axes, group in panels:
        ends = []
        for position, row in enumerate(group):
            stages = row["latency"]["stages_ms"]
            end = 0.0
            for index, stage in enumerate(_STAGES):
                width = stages[stage]["p50"]
                axes.barh(position, width, 0.62, left=end, color=_COLOURS[f"stage-{index}"])
                end += width
            total = stages["total"]["p50"]
            axes.vlines(total, position - 0.42, position + 0.42, color=ink, linewidth=1.6)
            ends.append(max(end, total))
            _value(axes, ends[-1], position, text.milliseconds(total))
        axes.set_xlim(0, max(ends) * _ROOM_FOR_VALUES)
    panels[-1][0].set_xlabel("ms")
    entries = [
        (name, {"color": _COLOURS[f"stage-{i}"], "marker": "s"}) for i, name in enumerate(_STAGES)
    ]
    _legend(figure, [*entries, ("total", {"color": ink, "marker": "|", "markeredgewidth": 1.6})])
    return Plot(
        title := "Latency by stage",
        "Medians (p50). The number and the line are the median of the whole, which need not be "
        "the sum of the stages' medians. Each runtime has a scale of its own.",
        _svg(figure, "latency", title),
    )


def _memory(rows: Sequence[Row], colours: Mapping[str, str]) -> Plot:
    ink = _COLOURS["ink"]
    figure, panels = _panels(rows, 1.6 * _ROW_HEIGHT)
    phases = list(rows[0]["memory"]["phases"])
    strengths = [0.25 + 0.75 * (index + 1) / len(phases) for index in range(len(phases))]
    thickness = 0.8 / len(phases)
    for axes, group in panels:
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
            axes.vlines(peak, position - 0.4, position + 0.4, color=ink, linewidth=1.6)
            ends.append(max(peak, steady / 1e6))
            peak_size = text.size(memory["peak_rss_bytes"])
            _value(axes, ends[-1], position, f"{text.size(steady)}, peak {peak_size}")
        axes.set_xlim(0, max(ends) * _ROOM_FOR_TWO_VALUES)
    panels[-1][0].set_xlabel("MB")
    entries: list[tuple[str, dict[str, Any]]] = [
        (phase, {"color": _COLOURS["muted"], "alpha": strength, "marker": "s"})
        for phase, strength in zip(phases, strengths, strict=True)
    ]
    entries.append(("peak RSS", {"color": ink, "marker": "|", "markeredgewidth": 1.6}))
    _legend(figure, entries)
    return Plot(
        title := "Memory by phase",
        "PSS of a fresh process, from its start (faint) to steady state (full), and the "
        "peak of its RSS. Each runtime has a scale of its own.",
        _svg(figure, "memory", title),
    )


def _sizes(rows: Sequence[Row], colours: Mapping[str, str]) -> Plot:
    figure = _figure(len(rows) * _ROW_HEIGHT + 2 * _PANEL_HEIGHT)
    axes = figure.subplots()
    sizes = [row["size_bytes"] for row in rows]
    for position, row in enumerate(rows):
        axes.barh(position, row["size_bytes"] / 1e6, 0.62, color=colours[row["model"]])
        _value(axes, row["size_bytes"] / 1e6, position, text.size(row["size_bytes"]))
    axes.set_xlim(0, max(sizes) / 1e6 * _ROOM_FOR_VALUES)
    _bars(axes, [_shorten(row["file"]) for row in rows])
    axes.set_xlabel("MB")
    _legend(figure, [(model, {"color": c, "marker": "s"}) for model, c in colours.items()])
    return Plot(title := "Size of the files", "", _svg(figure, "sizes", title))


def _figure(height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise MissingDependencyError("matplotlib", "report", "Writing the report") from exc
    return Figure(
        figsize=(_WIDTH / _UNITS_PER_INCH, height / _UNITS_PER_INCH), layout="constrained"
    )


def _panels(rows: Sequence[Row], row_height: float) -> tuple[Figure, list[tuple[Axes, list[Row]]]]:
    """One panel of horizontal bars per runtime: their scales are far apart."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["runtime"]["name"], []).append(row)
    heights = [len(group) * row_height for group in groups.values()]
    figure = _figure(sum(heights) + _PANEL_HEIGHT * (len(groups) + 1))
    panels = figure.subplots(len(groups), squeeze=False, height_ratios=heights)[:, 0]
    for axes, (runtime, group) in zip(panels, groups.items(), strict=True):
        axes.set_title(_shorten(runtime), fontweight="bold")
        _bars(axes, [f"{_shorten(row['model'])} {row['precision']}" for row in group])
    return figure, list(zip(panels, groups.values(), strict=True))


def _bars(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=6)


def _value(axes: Axes, x: float, position: float, written: str) -> None:
    axes.annotate(
        written, (x, position), (5, 0), textcoords="offset points", va="center_baseline", size=9
    )


def _legend(figure: Figure, entries: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    from matplotlib.lines import Line2D

    labels = [_shorten(label) for label, _ in entries]
    handles = [
        Line2D([], [], linestyle="none", **{"markersize": 8, **style}) for _, style in entries
    ]
    column = 30 + 7 * max(len(label) for label in labels)
    figure.legend(
        handles, labels, loc="outside upper left", ncols=max(1, min(len(labels), _WIDTH // column))
    )


def _by_first_seen(names: Iterable[str], styles: Sequence[str]) -> dict[str, str]:
    return {n: styles[i % len(styles)] for i, n in enumerate(dict.fromkeys(names))}


def _log_limits(values: Sequence[float]) -> tuple[float, float]:
    """The limits of a logarithmic axis that has room beside the marks and for two ticks."""
    low, high = min(values), max(values)
    margin = max(1.25, math.sqrt(_MIN_LOG_SPAN * low / high))
    return low / margin, high * margin


def _is_float(row: Row) -> bool:
    return str(row["precision"]) in ("fp32", "fp16")


def _shorten(label: str) -> str:
    """A label that fits, and that Matplotlib does not take for a hidden one (`_name`).

    Names of one family differ at the end, so it is the middle that goes.
    """
    half = _LABEL_CHARACTERS // 2
    short = label if len(label) <= _LABEL_CHARACTERS else f"{label[: half - 1]}…{label[-half:]}"
    return "\u200b" + short if short.startswith("_") else short


def _svg(figure: Figure, name: str, title: str, tips: Mapping[str, str] | None = None) -> str:
    """The figure as an element of an HTML page.

    Args:
        figure: What to write.
        name: Prefix of the identifiers in it, which must be unique in the page.
        title: Its accessible name.
        tips: Texts for elements by their gid, shown when the pointer rests on them.
    """
    buffer = io.BytesIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    root = ET.fromstring(buffer.getvalue())
    root.remove(root[0])  # a style sheet, which would apply to the whole page
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            key = key.rpartition("}")[2]
            if key == "id":
                if value in (tips or {}):
                    tip = ET.Element("title")
                    tip.text = (tips or {})[value]
                    element.insert(0, tip)
                value = f"{name}-{value}"
            elif key == "href":
                value = f"#{name}-{value[1:]}"
            element.set(key, value.replace("url(#", f"url(#{name}-"))
    root.attrib.pop("width"), root.attrib.pop("height")
    root.set("role", "img")
    root.set("aria-label", title)
    svg = ET.tostring(root, encoding="unicode")
    svg = re.sub(r"'DejaVu Sans'(, [^;\"]+)?", "var(--sans)", svg)
    for variable, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg
