"""Benchmarks of one or several devices as Markdown, and as one HTML page that loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeclf.measurement.matrix.schema import METRICS, Row, row_threads, steady_pss_bytes, total
from edgeclf.reporting import text
from edgeclf.reporting.benchmark_tables import (
    artifact_table,
    candidate_table,
    device_tables,
    latency_table,
    marks,
    memory_table,
    open_loop_table,
    ratio_table,
    result_table,
    state_table,
)
from edgeclf.reporting.devices import Device
from edgeclf.reporting.html import page_environment
from edgeclf.reporting.markdown import code_block, safe_text
from edgeclf.reporting.summary import Summary
from edgeclf.reporting.tables import Table, table_parts


def to_markdown(devices: Sequence[Device], summaries: Sequence[Summary]) -> str:
    """The whole report, without plots.

    Args:
        devices: What was measured.
        summaries: What was derived from each.
    """
    parts = [f"# Benchmark: {safe_text(report_title(devices, summaries))}"]
    several = len(devices) > 1
    if several:
        parts += _sections(device_tables(devices, summaries), 2)
    for device, summary in zip(devices, summaries, strict=True):
        if several:
            parts.append(f"## {safe_text(device.name)}")
        level = 3 if several else 2
        parts += [
            *_recommendation_words(summary),
            *([safe_text(" ".join(summary.sentences))] if summary.sentences else []),
            *_sections(_tables(device.results, summary), level),
            f"{'#' * level} Conditions",
            "\n".join(f"- {name}: {safe_text(fact)}" for name, fact in _facts(device).items()),
            "To repeat it:",
            code_block("\n".join(_commands(device)), "sh"),
        ]
    return "\n\n".join(parts) + "\n"


def _sections(tables: Sequence[Table], level: int) -> Iterator[str]:
    for table in tables:
        yield f"{'#' * level} {safe_text(table.title)}"
        yield from table_parts(table)


def main_table(results: Mapping[str, Any], summary: Summary) -> str:
    """The results' table for a README, with what must be known to read it."""
    return "\n\n".join(
        part for table in result_table(results, summary) for part in table_parts(table)
    )


def environment_line(results: Mapping[str, Any]) -> str:
    """Where it was measured, in one paragraph."""
    facts = text.environment_facts(results)
    method = results["method"]
    quick = " (quick run)" if method["quick"] else ""
    what = f"{method['images']:,} photos" if method["images"] else "random input"
    written = safe_text("; ".join(f"{name}: {fact}" for name, fact in facts.items()))
    return f"Measured{quick} on {what}. {written}."


def to_html(devices: Sequence[Device], summaries: Sequence[Summary]) -> str:
    """The whole report as one page.

    Args:
        devices: What was measured.
        summaries: What was derived from each.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    environment = page_environment()
    from markupsafe import Markup

    from edgeclf.reporting.plots import draw_plots

    parts = []
    for index, (device, summary) in enumerate(zip(devices, summaries, strict=True)):
        rows, chosen = device.results["rows"], summary.recommendation.chosen
        # Safe: figures.py builds the SVG as a tree, which escapes every text in it.
        drawn = draw_plots(rows, f"d{index}", chosen)
        plots = [(p.title, text.unbroken(p.note), Markup(p.svg)) for p in drawn]
        tables = _tables(device.results, summary)
        after_plots = [table for table in tables if table.title not in _BEFORE_PLOTS]
        parts.append({
            "name": device.name,
            "summary": summary,
            "reason": text.unbroken(summary.recommendation.reason),
            "lead": text.unbroken(" ".join(summary.sentences)),
            "chosen": next((_chosen(row) for row in rows if row["id"] == chosen), None),
            "before_plots": [table for table in tables if table.title in _BEFORE_PLOTS],
            "plots": plots,
            "after_plots": after_plots,
            "facts": _facts(device),
            "commands": _commands(device),
        })  # fmt: skip
    return environment.get_template("template.html.j2").render(
        title=report_title(devices, summaries),
        overview=device_tables(devices, summaries) if len(devices) > 1 else [],
        devices=parts,
    )


_BEFORE_PLOTS = ("Teacher and student", "Source and conversion", "Results")


def report_title(devices: Sequence[Device], summaries: Sequence[Summary]) -> str:
    """What was measured, and on how many devices."""
    titles = ", ".join(dict.fromkeys(summary.title for summary in summaries))
    return f"{titles} on {len(devices)} devices" if len(devices) > 1 else titles


def _tables(results: Mapping[str, Any], summary: Summary) -> list[Table]:
    return [
        *ratio_table(summary),
        *result_table(results, summary),
        *candidate_table(results, summary),
        *latency_table(results),
        *open_loop_table(results),
        *memory_table(results),
        *state_table(results),
        *artifact_table(results),
    ]


def _recommendation_words(summary: Summary) -> Iterator[str]:
    mark = "**Recommended:** " if summary.recommendation.chosen else ""
    yield mark + safe_text(summary.recommendation.reason)
    if summary.limits:
        yield safe_text(f"Limits: {summary.limits}.")


def _chosen(row: Row) -> dict[str, Any]:
    """The recommended row as a heading and its figures with their names."""
    percentiles = total(row) or {}
    start, steady, top1 = row["cold_start"], steady_pss_bytes(row), METRICS["top1"](row)
    figures = {
        "latency p50": percentiles.get("p50") and text.duration(percentiles["p50"]),
        "latency p90": percentiles.get("p90") and text.duration(percentiles["p90"]),
        "top-1": None if top1 is None else text.percent(top1),
        "memory": steady and text.size(steady),
        "file": text.size(row["size_bytes"]),
        "cold start": start and text.duration(start["warm_ms"]),
    }
    mark = marks(row)
    return {
        "file": row["file"],
        "way": f"{row['runtime']['name']}, {text.threads(row_threads(row))}",
        "figures": {name: figure for name, figure in figures.items() if figure},
        "mark": "" if mark == text.DASH else mark,
    }


def _commands(device: Device) -> list[str]:
    return list(dict.fromkeys(run["environment"]["command"] for run in device.runs))


def _facts(device: Device) -> dict[str, str]:
    """Machine, software and method; where the runs on a device differ, the fact of each."""
    facts: dict[str, dict[str, None]] = {}
    for run in device.runs:
        for name, fact in (text.environment_facts(run) | _method(run)).items():
            facts.setdefault(name, {})[fact] = None
    return {name: "; ".join(values) for name, values in facts.items()}


def _method(run: Mapping[str, Any]) -> dict[str, str]:
    method = run["method"]
    words = ("latency", "throughput", "memory", "cold_start")
    facts = {f"Method, {name.replace('_', ' ')}": method[name] for name in words if name in method}
    facts |= {
        "Method, ratios": "of figures from processes that ran one after another, not "
        "interleaved; they carry no interval",
        "Date": run["environment"]["date"],
    }
    if method["images"]:
        facts["Photos"] = (
            f"{method['images']:,} for accuracy and agreement; SHA-256 {method['data_sha256']}"
        )
    return facts
