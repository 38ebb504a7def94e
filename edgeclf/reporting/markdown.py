"""A benchmark as Markdown: the summary and tables that fit into a README."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from edgeclf.reporting import text
from edgeclf.reporting.summary import Ratio, Summary

_MAIN_COLUMNS = (
    "Model", "Precision", "Runtime", "Top-1", "Agreement", "Size", "p50 (ms)", "p90 (ms)", "Memory",
)  # fmt: skip
_RATIO_COLUMNS = ("Parameters", "Size", "Latency p50", "Memory", "Top-1")
_FIRST_NUMBER = 3  # columns of the main table from here on hold numbers


def to_markdown(results: Mapping[str, Any], summary: Summary) -> str:
    """The whole report.

    Args:
        results: What `edgeclf.benchmark` returned.
        summary: What was derived from it.
    """
    parts = [f"# Benchmark: {safe_text(summary.title)}", safe_text(" ".join(summary.sentences))]
    if summary.headline or summary.like_with_like:
        parts.append(ratio_table(summary))
    parts += [main_table(results, summary), environment_line(results)]
    return "\n\n".join(parts) + "\n"


def main_table(results: Mapping[str, Any], summary: Summary) -> str:
    """One line per artifact and runtime, and what a reader must know to read it.

    Args:
        results: What `edgeclf.benchmark` returned.
        summary: What was derived from it.
    """
    rows = results["rows"]
    notes = [
        "Top-1 with its 95 % interval in per cent; agreement with the Keras source's top-1; "
        "latency from the bytes of an image file to the answer; memory is the PSS of the "
        "process in steady state."
    ]
    if any(not row["error"] and _total(row)["p90"] is None for row in rows):
        notes.append(f"{text.DASH}: the sample is too small to carry this percentile.")
    table = markdown_table(_MAIN_COLUMNS, [_main_cells(row) for row in rows], _FIRST_NUMBER)
    failures = [
        f"- {safe_text(f'{failure.file} on {failure.runtime} failed: {failure.reason}')}"
        for failure in summary.failures
    ]
    return "\n\n".join([table, " ".join(notes), *(["\n".join(failures)] if failures else [])])


def ratio_table(summary: Summary) -> str:
    """The teacher's figures over the student's, both in brackets."""
    comparisons = [*([summary.headline] if summary.headline else []), *summary.like_with_like]
    lines = [
        (
            comparison.title,
            _ratio(comparison.parameters, text.count),
            _ratio(comparison.size_bytes, text.size),
            _ratio(comparison.total_p50_ms, text.duration),
            _ratio(comparison.steady_pss_bytes, text.size),
            f"{text.points(comparison.top1.change_points)} points "
            f"({text.percent(comparison.top1.teacher)} → {text.percent(comparison.top1.student)})",
        )
        for comparison in comparisons
    ]
    sides = "Teacher / student" if summary.teacher != summary.student else "Source / converted"
    return markdown_table((sides, *_RATIO_COLUMNS), lines, 1)


def environment_line(results: Mapping[str, Any]) -> str:
    """Where it was measured, and how to repeat it."""
    facts = text.environment_facts(results)
    method = results["method"]
    quick = " (quick run)" if method["quick"] else ""
    return (
        f"Measured{quick} on {method['images']:,} photos. "
        + safe_text("; ".join(f"{name}: {fact}" for name, fact in facts.items()))
        + f".\n\n```sh\n{results['environment']['command']}\n```"
    )


def _main_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    start = (row["model"], row["precision"], row["runtime"]["name"])
    size = text.size(row["size_bytes"])
    if row["error"]:
        return (*start, "failed", "", size, "", "", "")
    total = _total(row)
    accuracy = row["accuracy"]
    return (
        *start,
        f"{text.percent(accuracy['top1'])} [{text.interval(accuracy['top1_interval_95'])}]",
        text.agreement(row),
        size,
        text.milliseconds(total["p50"]),
        text.milliseconds(total["p90"]),
        text.size(row["memory"]["phases"]["steady"]["pss_bytes"]),
    )


def _total(row: Mapping[str, Any]) -> Mapping[str, Any]:
    total: Mapping[str, Any] = row["latency"]["stages_ms"]["total"]
    return total


def _ratio(ratio: Ratio | None, write: Any) -> str:
    if ratio is None:
        return "unknown"
    return f"{text.ratio(ratio.ratio)} ({write(ratio.teacher)} / {write(ratio.student)})"


def markdown_table(
    columns: Sequence[str], lines: Sequence[Sequence[str]], first_number: int
) -> str:
    """A table whose columns line up in the source too."""
    cells = [columns, *([safe_text(cell) for cell in line] for line in lines)]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(columns))]
    rule = [
        "-" * width if i < first_number else "-" * (width - 1) + ":"
        for i, width in enumerate(widths)
    ]
    written = [
        [
            cell.ljust(width) if i < first_number else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in cells
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [written[0], rule, *written[1:]])


def safe_text(value: str) -> str:
    """Text that stays one line, and text, in any Markdown table."""
    return html.escape(" ".join(value.split()), quote=False).replace("|", "&#124;")
