"""A load test as plots: latency and outcomes against the rate, and where a request's time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeclf.measurement.workloads.load_record import STAGES, closed_steps, open_steps
from edgeclf.reporting import text
from edgeclf.reporting.load_findings import held_step, name_of, pressed_step
from edgeclf.reporting.svg_plots import (
    COLOURS,
    Plot,
    figure,
    legend,
    log_axis,
    style,
    svg,
    value,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = Mapping[str, Any]
Step = Mapping[str, Any]

_HEIGHT = 300
_BAR_HEIGHT = 26
_BARS_ROOM = 96  # a legend and an axis
_STAGE_ROOM = 18  # a second and a third line of the legend
_PERCENTILES = {"p50": "model-0", "p90": "model-4", "p99": "model-1"}
_OUTCOMES = {
    "in time": "model-2", "late": "model-4", "refused": "model-5", "failed": "model-1",
}  # fmt: skip
_STAGE_COLOURS = dict(zip(
    STAGES,
    ("muted", "model-5", "model-0", "model-1", "stage-0", "stage-1", "stage-2"),
    strict=True,
))  # fmt: skip
_KNEE: dict[str, Any] = {"color": COLOURS["ink"], "linewidth": 1.4, "linestyle": "--"}
_CURVES = ("model-2", "model-1", "model-0")


def draw_plots(record: Record) -> list[Plot]:
    """All plots that the record has figures for.

    Args:
        record: Of the schema ``edgeclf.load/1``.

    Raises:
        MissingDependencyError: Matplotlib is not installed.
    """
    steps = open_steps(record["steps"])
    answered = [step for step in steps if step["latency_ms"]]
    every = [*steps, *closed_steps(record["steps"])]
    timed = [step for step in every if step["stages_ms"]]
    curves = _with_curves(record)
    with style():
        return [
            *([_latency(answered, record["knee"])] if len(answered) > 1 else []),
            _outcomes(every),
            *([_stages(timed)] if timed else []),
            *([_curves(curves)] if curves else []),
            _series(pressed_step(record)),
        ]


def _latency(steps: Sequence[Step], knee: Record | None) -> Plot:
    whole = figure(_HEIGHT)
    axes = whole.subplots()
    tips: dict[str, str] = {}
    drawn: list[tuple[str, Mapping[str, Any]]] = []
    for name, colour in _PERCENTILES.items():
        points = [(s["rate_per_s"], s["latency_ms"][name]) for s in steps]
        points = [(rate, ms) for rate, ms in points if ms is not None]
        if not points:
            continue
        rates, times = zip(*points, strict=True)
        axes.plot(rates, times, color=COLOURS[colour], linewidth=1.6)
        drawn.append((name, {"color": COLOURS[colour], "marker": "o"}))
        for index, (rate, ms) in enumerate(points):
            point = f"{name}-{index}"
            axes.plot(rate, ms, "o", gid=point, color=COLOURS[colour], markersize=6,
                      markeredgewidth=0)  # fmt: skip
            tips[point] = f"{text.digits(rate)} a second: {name} {text.duration(ms)}"
    if knee and knee["rate_per_s"] is not None and knee["beyond_per_s"] is not None:
        axes.axvline(knee["rate_per_s"], **_KNEE)
        drawn.append((f"knee, {text.digits(knee['rate_per_s'])}/s", _KNEE))
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.set_xlabel("offered a second")
    axes.set_ylabel("latency, ms")
    _plain_log(axes)
    _quiet(axes)
    legend(whole, drawn)
    return Plot(
        title := "Latency against offered rate",
        "From when a request should have been sent to its answer, of what was answered or given "
        "up. A percentile that a step's sample cannot carry is left out.",
        svg(whole, "latency", title, tips),
    )


def _outcomes(steps: Sequence[Step]) -> Plot:
    whole = figure(_BAR_HEIGHT * len(steps) + _BARS_ROOM)
    axes = whole.subplots()
    longest = max(step["offered_per_s"] for step in steps)
    tips: dict[str, str] = {}
    for position, step in enumerate(steps):
        counts = (step["on_time"], step["late"], step["refused"], step["failed"])
        end = 0.0
        for (name, colour), count in zip(_OUTCOMES.items(), counts, strict=True):
            width = count / step["offered"] * step["offered_per_s"]
            (bar,) = axes.barh(position, width, 0.62, left=end, color=COLOURS[colour])
            bar.set_gid(f"{position}-{name.replace(' ', '-')}")
            tips[f"{position}-{name.replace(' ', '-')}"] = f"{count:,} {name}"
            end += width
        share = step["on_time"] / step["offered"]
        value(axes, end, position, f"{100 * share:.0f} %")
    _bars(axes, steps, 1.12 * longest)
    axes.set_xlabel("offered a second, and what came of it")
    legend(whole, [
        (name, {"color": COLOURS[colour], "marker": "s"}) for name, colour in _OUTCOMES.items()
    ])  # fmt: skip
    return Plot(
        title := "What came of the requests",
        "The number is the share that was answered in time.",
        svg(whole, "outcomes", title, tips),
    )


def _stages(steps: Sequence[Step]) -> Plot:
    whole = figure(_BAR_HEIGHT * len(steps) + _BARS_ROOM + _STAGE_ROOM)
    axes = whole.subplots()
    tips: dict[str, str] = {}
    for position, step in enumerate(steps):
        stages = step["stages_ms"]
        total = sum(max(0.0, ms) for ms in stages.values())
        end = 0.0
        for name, colour in _STAGE_COLOURS.items():
            width = 100 * max(0.0, stages[name]) / total
            (bar,) = axes.barh(position, width, 0.62, left=end, color=COLOURS[colour])
            bar.set_gid(f"{position}-{name}")
            tips[f"{position}-{name}"] = f"{name}: {text.duration(stages[name])}"
            end += width
        value(axes, 100, position, text.duration(total))
    _bars(axes, steps, 120)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("share of the mean latency, %")
    legend(whole, [
        (name, {"color": COLOURS[colour], "marker": "s"}) for name, colour in _STAGE_COLOURS.items()
    ])  # fmt: skip
    return Plot(
        title := "Where a request's time goes",
        "The number is the mean latency of what was answered. Client: before it was sent. Network: "
        "outside of the server. Service: inside, around the model.",
        svg(whole, "stages", title, tips),
    )


def _with_curves(record: Record) -> list[Step]:
    """The step at the knee, that beyond it, and that of waiting clients, with samples enough."""
    wanted = (held_step(record), pressed_step(record), *closed_steps(record["steps"])[-1:])
    found = {id(step): step for step in wanted if step is not None and step["cdf_ms"]}
    return list(found.values())


def _curves(steps: Sequence[Step]) -> Plot:
    whole = figure(_HEIGHT)
    axes = whole.subplots()
    times: list[float] = []
    drawn: list[tuple[str, Mapping[str, Any]]] = []
    for step, colour in zip(steps, _CURVES, strict=False):
        shares, ms = zip(*step["cdf_ms"], strict=True)
        line: dict[str, Any] = {"color": COLOURS[colour], "linewidth": 1.8,
                "linestyle": "-" if step["loop"] == "open" else ":"}  # fmt: skip
        axes.plot(ms, [100 * share for share in shares], **line)
        drawn.append((name_of(step), line))
        times += ms
    log_axis(axes, [max(each, 1e-3) for each in times])
    axes.set_ylim(0, 100)
    axes.set_xlabel("latency, ms")
    axes.set_ylabel("answered within it, %")
    _quiet(axes)
    legend(whole, drawn)
    return Plot(
        title := "Open and closed loop",
        "Requests that do not wait for each other (lines) and clients that do (dots), which do "
        "not see what they hold back.",
        svg(whole, "curves", title),
    )


def _series(step: Step) -> Plot:
    from matplotlib.ticker import MaxNLocator

    whole = figure(_HEIGHT)
    axes = whole.subplots()
    series = step["series"]
    names = {"offered": "muted", "accepted": "model-2", "refused": "model-5", "failed": "model-1"}
    # The last second is cut where the last answer came.
    length = max(1, min(len(series["offered"]), int(step["wall_s"])))
    drawn: list[tuple[str, Mapping[str, Any]]] = []
    for name, colour in names.items():
        counts = series[name][:length]
        if name != "offered" and not any(counts):
            continue
        line: dict[str, Any] = {"color": COLOURS[colour], "linewidth": 1.6,
                "linestyle": ":" if name == "offered" else "-"}  # fmt: skip
        axes.plot([index + 0.5 for index in range(length)], counts, marker="o", markersize=3.5,
                  markeredgewidth=0, **line)  # fmt: skip
        drawn.append((name, line))
    axes.set_xlim(0, max(length, 1))
    axes.set_ylim(0, 1.08 * max(max(series[name]) for name in names))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("second")
    axes.set_ylabel("requests in it")
    _quiet(axes)
    legend(whole, drawn)
    return Plot(
        title := f"Second by second, at {name_of(step)}",
        "Offered by when they should have been sent, the others by when they ended.",
        svg(whole, "series", title),
    )


def _bars(axes: Axes, steps: Sequence[Step], width: float) -> None:
    names = [name_of(step).replace(" a second", "/s") for step in steps]
    axes.set_yticks(range(len(steps)), names)
    axes.set_ylim(len(steps) - 0.4, -0.6)
    axes.set_xlim(0, width)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)


def _plain_log(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _quiet(axes: Axes) -> None:
    axes.tick_params(axis="y", labelcolor=COLOURS["muted"])
