"""What a calibrated file can be trusted with, as plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeclf.metrics.statistics import wilson_interval
from edgeclf.reporting import text
from edgeclf.reporting.svg_plots import COLOURS, Plot, figure, legend, style, svg, value
from edgeclf.reporting.trust_findings import photos
from edgeclf.system.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = Mapping[str, Any]

_HEIGHT = 300
_BAR_HEIGHT = 30
_BARS_ROOM = 90  # a legend and an axis
_BEFORE, _AFTER = COLOURS["model-4"], COLOURS["model-0"]
_KNOWN, _UNKNOWN = COLOURS["model-0"], COLOURS["model-1"]
_SIZES = {"1 label": "model-2", "2": "model-5", "3": "model-4", "more": "model-1"}
_IDEAL: dict[str, Any] = {"color": COLOURS["muted"], "linestyle": ":", "linewidth": 1.4}
_LINE: dict[str, Any] = {"color": COLOURS["ink"], "linewidth": 1.6}
_GREATEST_NOVELTY = 2.0


def draw_plots(result: Record, name: str) -> dict[str, Plot]:
    """One file's plots by the topic of the finding that they show.

    Args:
        result: An entry of ``results`` in a record of the schema ``edgeclf.trust/1``.
        name: Prefix of the identifiers in the plots, which must be unique in the page.

    Raises:
        MissingDependencyError: Matplotlib is not installed.
    """
    with style():
        plots = {
            "confidence": _reliability(result["reliability"], name),
            "risk": _risk(result["risk_at_coverage"], photos(result), name),
            "unknown": _novelty(result["novelty"], name),
        }
        if result["sets"]:
            plots["sets"] = _sets(result["sets"], name)
    return plots


def _reliability(reliability: Record, name: str) -> Plot:
    whole = figure(_HEIGHT)
    axes = whole.subplots()
    axes.plot([0, 100], [0, 100], **_IDEAL)
    tips: dict[str, str] = {}
    for kind, colour in (("before", _BEFORE), ("after", _AFTER)):
        bins = reliability[kind]["bins"]
        most = max(each["photos"] for each in bins)
        for index, each in enumerate(bins):
            low, high = (100 * end for end in each["interval_95"])
            at, point = 100 * each["confidence"], f"{kind}-{index}"
            axes.vlines(at, low, high, color=colour, alpha=0.3, linewidth=1.4)
            axes.plot(
                at, 100 * each["accuracy"], "o", gid=point, color=colour, clip_on=False,
                markersize=4 + 8 * (each["photos"] / most) ** 0.5, markeredgewidth=0,
            )  # fmt: skip
            tips[point] = (
                f"{kind} calibration: {counted(each['photos'], 'photo')}, said "
                f"{text.percent(each['confidence'])}, right {text.percent(each['accuracy'])}"
            )
    _percent_axes(axes, "said, %", "right, %")
    legend(whole, [
        ("probability, before", {"color": _BEFORE, "marker": "o"}),
        ("confidence, after", {"color": _AFTER, "marker": "o"}),
        ("as it should be", _IDEAL),
    ])  # fmt: skip
    return Plot(
        title := "Reliability",
        "How often answers are right against how sure they were. Below the dotted line they were "
        "too sure, above it not sure enough; the larger a dot, the more photos, and the lines are "
        "95 % intervals.",
        svg(whole, f"{name}-reliability", title, tips),
    )


def _risk(points: Sequence[Sequence[float]], total: int, name: str) -> Plot:
    whole = figure(_HEIGHT)
    axes = whole.subplots()
    answered, risks = [100 * each[0] for each in points], [100 * each[1] for each in points]
    bands = [
        wilson_interval(round(risk * share * total), round(share * total))
        for share, risk, _ in points
    ]
    lows, highs = ([100 * band[end] for band in bands] for end in (0, 1))
    axes.fill_between(answered, lows, highs, color=_AFTER, alpha=0.18, linewidth=0)
    tips: dict[str, str] = {}
    axes.plot(answered, risks, color=_AFTER, linewidth=1.6)
    for index, (share, risk, least) in enumerate(points):
        point = f"share-{index}"
        axes.plot(
            100 * share, 100 * risk, "o", gid=point, color=_AFTER, markersize=5, markeredgewidth=0,
            clip_on=False,
        )  # fmt: skip
        tips[point] = (
            f"the surest {text.percent(share)}, confidence {least:.4f} or more: "
            f"{text.percent(risk)} wrong"
        )
    axes.set_xlim(0, 100)
    axes.set_ylim(0, max(5.0, min(100.0, 2.5 * max(risks), max(highs)) * 1.05))
    axes.set_xlabel("answered, the surest first, %")
    axes.set_ylabel("wrong among them, %")
    _quiet(axes)
    return Plot(
        title := "Risk against coverage",
        "What share of the answers is wrong when only the surest photos are answered; the band is "
        "the 95 % interval. A line that falls to the left means that a threshold on confidence "
        "gains something.",
        svg(whole, f"{name}-risk", title, tips),
    )


def _sets(levels: Sequence[Record], name: str) -> Plot:
    whole = figure(_BAR_HEIGHT * len(levels) + _BARS_ROOM)
    axes = whole.subplots()
    for position, level in enumerate(levels):
        sizes = level["sizes"]
        counts = [*(sizes[size] if size < len(sizes) else 0 for size in (1, 2, 3)), sum(sizes[4:])]
        end = 0.0
        for count, colour in zip(counts, _SIZES.values(), strict=True):
            width = 100 * count / sum(sizes)
            axes.barh(position, width, 0.62, left=end, color=COLOURS[colour])
            end += width
        value(axes, 100, position, f"{level['mean_size']:.2f} labels")
    axes.set_yticks(range(len(levels)), [f"{100 * each['coverage']:.0f} %" for each in levels])
    axes.set_ylim(len(levels) - 0.4, -0.6)
    axes.set_xlim(0, 122)
    axes.set_xticks(range(0, 101, 20))
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("photos, %")
    legend(whole, [
        (size, {"color": COLOURS[colour], "marker": "s"}) for size, colour in _SIZES.items()
    ])  # fmt: skip
    return Plot(
        title := "Sizes of prediction sets",
        "How many labels are in the set that holds the right one with the probability on the "
        "left. The number is their mean.",
        svg(whole, f"{name}-sets", title),
    )


def _novelty(novelty: Record, name: str) -> Plot:
    whole = figure(_HEIGHT)
    axes = whole.subplots()
    drawn = [("known", _KNOWN)] + [("unknown", _UNKNOWN)] * ("unknown" in novelty)
    entries: list[tuple[str, Mapping[str, Any]]] = []
    for kind, colour in drawn:
        counts = novelty[kind]
        total = sum(counts)
        edges = [_GREATEST_NOVELTY * index / len(counts) for index in range(len(counts) + 1)]
        shares = [100 * count / total for count in counts]
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.45)
        axes.stairs(shares, edges, color=colour, linewidth=1.2)
        entries.append((f"{kind}, {total:,} photos", {"color": colour, "marker": "s"}))
    axes.axvline(1, **_LINE)
    axes.set_xlim(0, _GREATEST_NOVELTY)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("novelty")
    axes.set_ylabel("photos, %")
    _quiet(axes)
    legend(whole, [*entries, ("threshold", {**_LINE, "linestyle": "-"})])
    return Plot(
        title := "Novelty",
        "How far photos are from what the model knows. To the right of the line a photo is called "
        "unknown; the last bar holds all that lie beyond.",
        svg(whole, f"{name}-novelty", title),
    )


def _percent_axes(axes: Axes, across: str, up: str) -> None:
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    _quiet(axes)


def _quiet(axes: Axes) -> None:
    axes.tick_params(axis="y", labelcolor=COLOURS["muted"])
