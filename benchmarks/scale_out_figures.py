"""What `scale_out.py` makes of its rows: quantiles beside the formula, limits, and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from shared import Figure

from edgeclf.service.fixed_queue import fixed_latency_quantile_ms, ideal_latencies_ms
from edgeclf.system import files
from edgeclf.system.words import counted

WARM_UP_S = 5.0
BLOCKS = 24  # of time over all lanes, for the bootstrap
DRAWS = 2000
SHARES = {"p50": 0.5, "p99": 0.99}
CURVE = (*np.arange(0.02, 0.99, 0.04).round(2), 0.98, 0.99, 0.995, 0.998, 0.999)
WITHIN = 0.15
# Okabe and Ito's colours, which colour-blind people can tell apart; readable by day and by night.
COLOURS = {1: "#d55e00", 2: "#e69f00", 4: "#009e73", 8: "#0072b2"}

Float64Array = npt.NDArray[np.float64]


def summarize(found: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it is stored: quantiles with intervals, the formula's, and what was CPU."""
    case, rate, service_ms = found["case"], found["rate_per_s"], profile["service_ms"]
    # Queues that chance fills evenly are as many systems of one. HAProxy's random(1) does not: it
    # goes by a ring on which servers of weight 1 have very different shares (18 to 30 % here).
    servers = case["replicas"] if case["central"] else 1
    each_rate = rate * servers / case["replicas"]
    blocks: list[Float64Array] = []
    ideal_blocks: list[Float64Array] = []
    for lane in found["lanes"]:
        scheduled = np.asarray(lane["scheduled_s"])
        order = np.argsort(scheduled, kind="stable")
        scheduled = scheduled[order]
        latency = np.asarray(lane["latency_ms"])[order]
        ideal = ideal_latencies_ms(scheduled.tolist(), service_ms, case["replicas"])
        number = -(-BLOCKS // len(found["lanes"]))
        edges = np.linspace(WARM_UP_S, WARM_UP_S + case["seconds"], number + 1)
        place = np.searchsorted(edges, scheduled, side="right") - 1
        for block in range(number):
            if (place == block).any():
                blocks.append(latency[place == block])
                ideal_blocks.append(ideal[place == block])
    latencies, ideals = np.concatenate(blocks), np.concatenate(ideal_blocks)
    inside = np.concatenate([np.asarray(lane["inside_ms"]) for lane in found["lanes"]])
    late = np.concatenate([np.asarray(lane["late_ms"]) for lane in found["lanes"]])
    kept = ("case", "name", "rate_per_s", "cpu_ms", "own_cpus", "machine_cpus", "stolen_s")
    row = {key: found[key] for key in kept}
    row |= {
        "n": len(latencies),
        "failed": sum(lane["failed"] for lane in found["lanes"]),
        "generator_late_ms": float(late.mean()),
        "generator_most_late_ms": float(late.max()),
        "inside_ms": float(inside.mean()),
        "exact": case["central"],
        "curve_ms": [[float(q), float(np.quantile(latencies, q))] for q in CURVE
                     if len(latencies) * (1 - q) >= 10],
        "formula_ms": [[float(q), fixed_latency_quantile_ms(service_ms, each_rate, servers, q)]
                       for q in CURVE],
    }  # fmt: skip
    for name, share in SHARES.items():
        formula = fixed_latency_quantile_ms(service_ms, each_rate, servers, share)
        value, low, high = _bootstrap(blocks, share)
        row |= {
            f"{name}_ms": value, f"{name}_interval_ms": [low, high],
            f"formula_{name}_ms": formula, f"ratio_{name}": value / formula,
            f"ratio_{name}_interval": [low / formula, high / formula],
            f"ideal_{name}_ms": float(np.quantile(ideals, share)),
        }  # fmt: skip
    return row


def _bootstrap(blocks: Sequence[Float64Array], share: float) -> tuple[float, float, float]:
    """A quantile of all, and its 95 % interval over blocks: neighbours wait for one another."""
    rng = np.random.default_rng(0)
    value = float(np.quantile(np.concatenate(blocks), share))
    drawn = [
        np.quantile(np.concatenate([blocks[i] for i in rng.integers(0, len(blocks), len(blocks))]),
                    share)
        for _ in range(DRAWS)
    ]  # fmt: skip
    low, high = np.quantile(drawn, (0.025, 0.975))
    return value, float(low), float(high)


def figures_of(rows: Sequence[Mapping[str, Any]], profile: Mapping[str, Any]) -> list[Figure]:
    """What the script is judged by, and what of it was this machine's CPU."""
    figures = []
    for row in rows:
        for name in SHARES:
            low, high = row[f"ratio_{name}_interval"]
            note = (
                f"{row[f'{name}_ms']:.1f} ms measured, {row[f'formula_{name}_ms']:.1f} ms by the "
                f"formula: {row[f'ratio_{name}']:.3f} [{low:.3f}–{high:.3f}], n {row['n']:,}; the "
                f"same arrivals in an ideal queue {row[f'ideal_{name}_ms']:.1f} ms"
            )
            if row["case"]["central"]:
                off = abs(row[f"ratio_{name}"] - 1)
                figures.append(Figure(f"{row['name']}: {name}, off the formula", off,
                                      at_most=WITHIN, note=note))  # fmt: skip
            else:
                figures.append(Figure(f"{row['name']}: {name}", row[f"{name}_ms"], "ms", note=note))
        figures.append(Figure(f"{row['name']}: without an answer", row["failed"], at_most=0))
    figures += _gain(rows)
    around = profile["service_ms"] - profile["wait_ms"]
    figures.append(Figure("a request that meets nobody, beyond the wait, p50", around, "ms",
                          note=f"p50 {profile['service_ms']:.2f}, p99 {profile['p99_ms']:.2f} ms, "
                          f"n {profile['n']:,}"))  # fmt: skip
    for name in ("replica", "balancer", "generator"):
        found = [row["cpu_ms"][name] for row in rows]
        figures.append(Figure(f"CPU a request, {name}, median of the rows", float(np.median(found)),
                              "ms", note=f"{min(found):.2f} to {max(found):.2f}"))  # fmt: skip
    stalled = max(rows, key=lambda row: row["generator_most_late_ms"])
    figures.append(Figure(
        "the generator's latest request: how long all stood still",
        stalled["generator_most_late_ms"], "ms",
        note=f"{stalled['name']}; {stalled['stolen_s']:.2f} s of it taken by the host",
    ))  # fmt: skip
    for name, what in (
        ("own_cpus", "CPUs of replicas, balancer and generators, busiest row"),
        ("machine_cpus", "CPUs of all processes of the machine, busiest row"),
    ):
        figures.append(Figure(what, max(row[name] for row in rows)))
    return figures


def _gain(rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """How far more replicas bring the p99 of one's load down, beside the formula's factor."""
    central = [row for row in rows if row["case"]["central"]]
    (one,) = [r for r in central if r["case"]["replicas"] == 1 and r["case"]["busy"] == 0.8]
    figures = []
    for row in central:
        count = row["case"]["replicas"]
        if count == 1 or abs(row["case"]["busy"] * count - 0.8) > 1e-9:
            continue
        measured = one["p99_ms"] / row["p99_ms"]
        formula = one["formula_p99_ms"] / row["formula_p99_ms"]
        figures.append(Figure(
            f"the same load, 1 to {count} replicas: p99 falls by the factor", measured,
            at_least=round((1 - WITHIN) * formula, 3) if count == 4 else None,
            note=f"{one['p99_ms']:.1f} to {row['p99_ms']:.1f} ms; by the formula {formula:.2f}",
        ))  # fmt: skip
    return figures


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Distributions at 80 %, the same load on more replicas, and where the queue is."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    settings = {"svg.hashsalt": "edgeclf", "font.size": 9, "axes.grid": True,
                "grid.color": "#dddddd", "axes.spines.top": False, "axes.spines.right": False,
                "legend.frameon": False}  # fmt: skip
    with pyplot.rc_context(settings):
        figure, (tails, same, queues) = pyplot.subplots(1, 3, figsize=(11, 3.6),
                                                        layout="constrained")  # fmt: skip
        central = [row for row in rows if row["case"]["central"]]
        for row in (r for r in central if r["case"]["busy"] == 0.8):
            count = row["case"]["replicas"]
            _tail(
                tails, row["curve_ms"], row["formula_ms"], COLOURS[count], counted(count, "replica")
            )
        tails.set_title("each 80 % busy: measured (dots), M/D/c (lines)", fontsize=9)
        light = [r for r in central if abs(r["case"]["busy"] * r["case"]["replicas"] - 0.8) < 1e-9]
        light.sort(key=lambda row: row["case"]["replicas"])
        counts = [row["case"]["replicas"] for row in light]
        for name, colour in (("p99", "#d55e00"), ("p50", "#0072b2")):
            values = [row[f"{name}_ms"] for row in light]
            spread = np.abs(np.transpose([row[f"{name}_interval_ms"] for row in light]) - values)
            same.errorbar(counts, values, spread, fmt="o", color=colour, markersize=4, label=name)
            same.plot(counts, [row[f"formula_{name}_ms"] for row in light], color=colour)
        same.set_xscale("log")
        same.set_xticks(counts, [str(n) for n in counts])
        same.set_xticks([], minor=True)
        same.set_xlabel("replicas, the same load")
        same.set_yscale("log")
        same.set_yticks([50, 100, 200, 400, 800], ["50", "100", "200", "400", "800"])
        same.set_yticks([], minor=True)
        same.set_ylabel("latency, ms (log)")
        same.set_title("measured (dots, 95 %), M/D/c (lines)", fontsize=9)
        same.legend()
        styles = {"random(1)": "#d55e00", "roundrobin": "#e69f00", "leastconn": "#0072b2"}
        for row in (r for r in rows if not r["case"]["central"]):
            balance = row["case"]["balance"]
            _tail(queues, row["curve_ms"], None, styles[balance], f"a queue each, {balance}")
        for row in (r for r in central if (r["case"]["replicas"], r["case"]["busy"]) == (4, 0.8)):
            _tail(queues, row["curve_ms"], row["formula_ms"], "#009e73", "one queue")
        (one,) = [r for r in central if r["case"]["replicas"] == 1 and r["case"]["busy"] == 0.8]
        _tail(queues, one["curve_ms"], one["formula_ms"], "#666666", "a queue each, by even chance")
        queues.set_title("4 replicas, 80 % busy", fontsize=9)
        for axes in (tails, queues):
            axes.set_yscale("log")
            axes.set_xlabel("latency, ms")
            axes.set_ylabel("share that takes longer (log)")
            axes.legend(fontsize=7, loc="upper right", handletextpad=0)
        with files.replacing(path) as temporary:
            figure.savefig(temporary, metadata={"Date": None})
        pyplot.close(figure)


def _tail(axes: Any, curve: Any, formula: Any, colour: str, label: str) -> None:
    shares, values = np.transpose(curve)
    axes.plot(values, 1 - shares, "o", color=colour, markersize=3, label=label)
    if formula is not None:
        shares, values = np.transpose(formula)
        axes.plot(values, 1 - shares, color=colour, linewidth=1)
