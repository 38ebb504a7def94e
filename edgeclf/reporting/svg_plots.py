"""What the plots of a report are drawn with: SVG that takes its colours from the page around it."""

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
from edgeclf.measurement.matrix.schema import Row, is_unstable, row_threads

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Matplotlib draws with stand-ins; the page's style sheet says what they look like, by day and
# by night.
_VARIABLES = (
    "ink", "muted", "rule",
    "model-0", "model-1", "model-2", "model-3", "model-4", "model-5",
    "stage-0", "stage-1", "stage-2",
)  # fmt: skip
COLOURS = {name: f"#fe01{index:02x}" for index, name in enumerate(_VARIABLES)}
MODEL_COLOURS = [COLOURS[f"model-{index}"] for index in range(6)]

_WIDTH = 500  # SVG units; the page scales them
_UNITS_PER_INCH = 72
_PANEL_HEIGHT = 44  # a panel's title and axis
_LABEL_CHARACTERS = 28
_MIN_LOG_SPAN = 6.5  # more than two steps of 1, 2, 5, 10
_MANY_DECADES = 100  # from this span on, a tick at each power of ten is enough


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


@contextmanager
def style() -> Iterator[None]:
    """Draws with the page's settings.

    Raises:
        MissingDependencyError: Matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as exc:
        raise MissingDependencyError("matplotlib", "report", "Writing the report") from exc
    ink, muted, rule = COLOURS["ink"], COLOURS["muted"], COLOURS["rule"]
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


def figure(height: float) -> Figure:
    """An empty figure of the page's width; `height` is in SVG units."""
    from matplotlib.figure import Figure

    return Figure(
        figsize=(_WIDTH / _UNITS_PER_INCH, height / _UNITS_PER_INCH), layout="constrained"
    )


def panels(rows: Sequence[Row], row_height: float) -> tuple[Figure, list[tuple[Axes, list[Row]]]]:
    """One panel per runtime, with a place for each row: their scales are far apart."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["runtime"]["name"], []).append(row)
    several = len({row_threads(row) for row in rows}) > 1
    heights = [len(group) * row_height for group in groups.values()]
    whole = figure(sum(heights) + _PANEL_HEIGHT * (len(groups) + 1))
    places = whole.subplots(len(groups), squeeze=False, height_ratios=heights)[:, 0]
    for axes, (runtime, group) in zip(places, groups.items(), strict=True):
        axes.set_title(shorten(runtime), fontweight="bold")
        axes.set_yticks(range(len(group)), [_label(row, several) for row in group])
        axes.set_ylim(len(group) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
    return whole, list(zip(places, groups.values(), strict=True))


def is_unreliable(row: Row) -> bool:
    """Whether a row's latency is not to be relied on."""
    return is_unstable(row) or bool(row["throttled"])


def _label(row: Row, with_threads: bool) -> str:
    label = f"{row['model']} {row['precision']}"
    if with_threads:
        label += f" {row_threads(row)}T"
    return shorten(label) + " †" * is_unreliable(row)


def value(axes: Axes, x: float, position: float, written: str) -> None:
    """Writes a figure beside the end of a bar."""
    axes.annotate(
        written, (x, position), (5, 0), textcoords="offset points", va="center_baseline", size=9
    )


def log_axis(axes: Axes, values: Sequence[float]) -> None:
    """Makes the horizontal axis logarithmic, with room beside the marks and for two ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = min(values), max(values)
    margin = max(1.25, math.sqrt(_MIN_LOG_SPAN * low / high))
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    steps = (1, 2, 5) if high / low < _MANY_DECADES else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def legend(whole: Figure, entries: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Names the marks above the figure."""
    from matplotlib.lines import Line2D

    labels = [shorten(label) for label, _ in entries]
    handles = [
        Line2D([], [], **{"linestyle": "none", "markersize": 8, **marks}) for _, marks in entries
    ]
    column = 30 + 7 * max(len(label) for label in labels)
    whole.legend(
        handles, labels, loc="outside upper left", ncols=max(1, min(len(labels), _WIDTH // column))
    )


def by_first_seen(names: Iterable[str], styles: Sequence[str]) -> dict[str, str]:
    """A style for each name, in the order in which the names come."""
    return {n: styles[i % len(styles)] for i, n in enumerate(dict.fromkeys(names))}


def shorten(label: str) -> str:
    """A label that fits, and that Matplotlib does not take for a hidden one (`_name`).

    Names of one family differ at the end, so it is the middle that goes.
    """
    half = _LABEL_CHARACTERS // 2
    short = label if len(label) <= _LABEL_CHARACTERS else f"{label[: half - 1]}…{label[-half:]}"
    return "\u200b" + short if short.startswith("_") else short


def svg(whole: Figure, name: str, title: str, tips: Mapping[str, str] | None = None) -> str:
    """The figure as an element of an HTML page.

    Args:
        whole: What to write.
        name: Prefix of the identifiers in it, which must be unique in the page.
        title: Its accessible name.
        tips: Texts for elements by their gid, shown when the pointer rests on them.
    """
    buffer = io.BytesIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    whole.savefig(buffer, format="svg", transparent=True, metadata=nothing)
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
    written = ET.tostring(root, encoding="unicode")
    written = re.sub(r"'DejaVu Sans'(, [^;\"]+)?", "var(--sans)", written)
    for variable, colour in COLOURS.items():
        written = written.replace(colour, f"var(--{variable})")
    return written
