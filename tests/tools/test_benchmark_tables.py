"""The tables of a benchmark's report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeclf.report import report
from edgeclf.reporting.benchmark_page import main_table
from edgeclf.reporting.summary import summarize
from support.reports import EVIL, check_tables_line_up, markdown_of, table_lines, write


def test_markdown_tables_line_up(results: dict[str, Any]) -> None:
    for entry in results["rows"]:
        entry["model"] += EVIL
    markdown = markdown_of(results)
    assert "<script" not in markdown
    check_tables_line_up(markdown)
    assert len(table_lines(main_table(results, summarize(results)))) == 2 + 4
    header = [
        cell.strip() for cell in table_lines(main_table(results, summarize(results)))[0][1:-1]
    ]
    assert header == [
        "File", "Runtime", "Threads", "Mark", "Top-1", "Agreement", "Size", "p50, ms", "p90, ms",
        "Images/s", "Memory", "Cold start",
    ]  # fmt: skip


def test_percentile_that_the_sample_cannot_carry_is_a_dash(results: dict[str, Any]) -> None:
    note = "too small to carry"
    assert note not in main_table(results, summarize(results))
    assert markdown_of(results).count(note) == 1  # p99 is in the table of the stages only
    results["rows"][2]["latency"]["stages_ms"]["total"]["p90"] = None
    markdown = main_table(results, summarize(results))
    assert note in markdown
    header, *lines = table_lines(markdown)
    column = [cell.strip() for cell in header].index("p90, ms")
    assert next(line for line in lines if "small" in line[1])[column].strip() == "–"


def test_a_row_with_nothing_but_a_latency_has_dashes(
    results: dict[str, Any], tmp_path: Path
) -> None:
    for key in ("accuracy", "agreement", "throughput", "memory", "cold_start", "energy", "state"):
        results["rows"][2][key] = None
    page = report(write(results, tmp_path))
    (line,) = [
        line
        for line in table_lines(main_table(results, summarize(results)))
        if line[1].strip() == "small.int8.tflite"
    ]
    assert [cell.strip() for cell in line[4:-1]] == [
        "–", "–", "–", "500 kB", "2.00", "3.00", "–", "–", "–",
    ]  # fmt: skip
    assert "small.int8.tflite" in page.read_text()


def test_an_open_loop_load(results: dict[str, Any]) -> None:
    heading = "## Open-loop load"
    assert heading not in markdown_of(results)
    stream = {"rate_per_s": 30.0, "sent": 600, "served": 600, "busy": 0.125, "cpu_ms": 3.5}
    waited = {"n": 600, "p50": 2.5, "p90": 4.0, "p99": None}
    results["rows"][1]["open_loop"] = stream | {"latency_ms": None, "served": 580}
    results["rows"][2]["open_loop"] = stream | {"latency_ms": waited}
    lines = table_lines(markdown_of(results).partition(heading)[2])
    late, served = ([cell.strip() for cell in line[4:-1]] for line in lines[2:4])
    assert late == ["30.0", "580 of 600", "–", "–", "12.5 %", "3.50"]
    assert served == ["30.0", "600 of 600", "2.50", "4.00", "12.5 %", "3.50"]
