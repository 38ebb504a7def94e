"""The plot of `students.py`: accuracy against latency, a panel for each data set and runtime."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeclf.system import files

# Okabe and Ito's colours, which colour-blind people can tell apart; readable by day and by night.
OURS, PEER = "#0072b2", "#d55e00"
RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime"}


def draw(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Mean int8 accuracy with its interval over seeds, against one thread's call."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(line["data"] for line in lines))
    settings = {"svg.hashsalt": "edgeclf", "font.size": 8, "axes.grid": True,
                "grid.color": "#dddddd", "axes.spines.top": False, "axes.spines.right": False,
                "legend.frameon": False}  # fmt: skip
    with pyplot.rc_context(settings):
        figure, axes = pyplot.subplots(
            len(names), 2, figsize=(11, 3.6 * len(names)), squeeze=False, layout="constrained"
        )
        for row, name in enumerate(names):
            shown = [line for line in lines if line["data"] == name]
            for column, (format_, runtime) in enumerate(RUNTIMES.items()):
                _panel(axes[row][column], shown, format_, f"{runtime}, 1 thread")
                axes[row][column].set_title(f"{name}, int8 on {runtime}", loc="left")
            axes[row][0].set_ylabel("top-1, %")
        handles, titles = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, titles, loc="outside right upper")
        with files.replacing(path) as temporary:
            figure.savefig(temporary, metadata={"Date": None})
        pyplot.close(figure)


def _panel(axes: Any, lines: Sequence[Mapping[str, Any]], format_: str, setting: str) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    for number, line in enumerate(lines, 1):
        if setting not in line["latency"]:
            continue
        x = statistics.median(line["latency"][setting]["call_ms"])
        found = line[format_]
        y = 100 * found["mean"]
        low, high = (100 * end for end in found["interval_95"] or (found["mean"],) * 2)
        colour = OURS if line["ours"] else PEER
        axes.errorbar(x, y, [[y - low], [min(high, 100) - y]], color=colour,
                      marker="o" if line["ours"] else "s", markersize=5, capsize=2,
                      label=f"{number}  {line['title']}")  # fmt: skip
        axes.annotate(str(number), (x, y), xytext=(4, 4), textcoords="offset points",
                      color=colour, fontsize=8)  # fmt: skip
    axes.axhline(100 * lines[0]["teacher_top1"], color="#888888", linewidth=1, linestyle="--")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("a call for one image on one thread, ms (log)")
