"""A load test as text: a table of its steps, and what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeclf.measurement.workloads.load_record import STAGES, closed_steps, open_steps

Step = Mapping[str, Any]

_DASH = "-"
_COLUMNS = (
    "load", "offered/s", "answered/s", "goodput/s", "refused", "late", "failed",
    "p50 ms", "p90 ms", "p99 ms", "n", "CPU ms/req",
)  # fmt: skip


def to_text(record: Mapping[str, Any]) -> str:
    """The whole of it, for a terminal.

    Args:
        record: Of the schema ``edgeclf.load/1``.
    """
    steps = [*open_steps(record["steps"]), *closed_steps(record["steps"])]
    lines = [*_table([_COLUMNS, *map(_row, steps)]), ""]
    lines += _sentences(record, steps)
    return "\n".join(lines)


def _row(step: Step) -> tuple[str, ...]:
    latency = step["latency_ms"] or {}
    server = step["server"]
    name = f"{step['rate_per_s']:.4g}/s" if step["loop"] == "open" else (
        f"{step['clients']} clients")  # fmt: skip
    return (
        name,
        f"{step['offered_per_s']:.4g}",
        f"{step['accepted_per_s']:.4g}",
        f"{step['goodput_per_s']:.4g}",
        f"{step['refused']:,}",
        f"{step['late']:,}",
        f"{step['failed']:,}",
        *(_number(latency.get(name)) for name in ("p50", "p90", "p99")),
        f"{latency.get('n', 0):,}",
        _number(server and server["cpu_ms_per_request"]),
    )


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *rest = (
            f"{cell:<{width}}" if index == 0 else f"{cell:>{width}}"
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *rest])


def _sentences(record: Mapping[str, Any], steps: Sequence[Step]) -> Iterator[str]:
    yield (
        "Latency counts from when a request should have been sent. Late: after "
        f"{record['deadline_ms']:g} ms. A percentile that n cannot carry is not shown."
    )
    knee = record["knee"]
    if knee is not None:
        yield knee_in_words(knee)
    for step in steps:
        yield from _of_step(step)
    if record["interrupted"]:
        yield "Interrupted: the last step is shorter, and what had no answer yet is left out."


def knee_in_words(knee: Mapping[str, Any]) -> str:
    """What the ramp found."""
    if knee["rate_per_s"] is None:
        return f"The knee lies below {knee['beyond_per_s']:.4g} a second, where {knee['why']}."
    if knee["beyond_per_s"] is None:
        return f"The knee was not reached: {knee['rate_per_s']:.4g} a second were answered in time."
    return (
        f"The knee: {knee['rate_per_s']:.4g} a second are answered in time; of "
        f"{knee['beyond_per_s']:.4g}, {knee['why']}."
    )


def _of_step(step: Step) -> Iterator[str]:
    name = _row(step)[0]
    generator, stages, server = step["generator"], step["stages_ms"], step["server"]
    if stages:
        parts = ", ".join(f"{stage} {stages[stage]:.2f}" for stage in STAGES)
        yield f"{name}: mean ms in {parts}."
    if step["refusal_ms"]:
        yield f"{name}: refusals took {step['refusal_ms']['p50']:.2f} ms at the median."
    if step["failures"]:
        causes = ", ".join(f"{count:,} {cause}" for cause, count in step["failures"].items())
        yield f"{name}: without an answer: {causes}."
    others = {k: n for k, n in step["statuses"].items() if k not in ("200", "429", "503")}
    if others:
        told = ", ".join(f"{count:,} with {status}" for status, count in others.items())
        yield f"{name}: other answers: {told}."
    cost = generator["cpu_us_per_request"]
    yield (
        f"{name}: the generator took {cost:.0f} us of CPU a request, "
        f"{generator['cpu_share']:.0%} of one, and was {generator['mean_late_ms']:.2f} ms late "
        f"on average ({generator['most_late_ms']:.1f} at most)."
        + (f" The server held {server['rss_bytes'] / 1e6:.0f} MB." if server else "")
    )
    if generator["saturated"]:
        yield (
            f"{name}: WARNING: the generator did not keep up, so these latencies are partly its "
            "own. Load from another machine, or less."
        )


def _number(value: float | None) -> str:
    return _DASH if value is None else f"{value:.3g}" if value < 99.95 else f"{value:.0f}"
