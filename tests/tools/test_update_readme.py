"""The tables that tools/update_readme.py writes into the pages."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgeclf.reporting.summary import summarize
from support import REPOSITORY
from support.reports import table_lines

COLUMNS = ["File", "Top-1", "Agreement", "Size", "p50, ms", "Memory", "Cold start"]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(REPOSITORY / "tools"))
    return importlib.import_module("update_readme")


def test_the_readme_shows_what_was_trained_and_what_goes_to_a_device(
    tool: ModuleType, results: dict[str, Any]
) -> None:
    summary = summarize(results)
    words = tool.demo_rows(results, summary)
    header, _, *rows = table_lines(words)
    assert [cell.strip() for cell in header[1:-1]] == COLUMNS
    files = [row[1].strip() for row in rows]
    kept = (".keras", ".int8.tflite")
    assert files and files == [row["file"] for row in results["rows"] if row["file"].endswith(kept)]
    assert summary.sentences[0] in words and results["environment"]["cpu"] in words


def test_only_what_lies_between_the_marks_is_replaced(tool: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = "<!-- rows: written by tools/update_readme.py -->", "<!-- /rows -->"
    page.write_text(f"before\n{begin}\nold \\1\n{end}\nafter\n")
    tool.fill(page, "rows", r"new \1")
    assert page.read_text() == f"before\n{begin}\nnew \\1\n{end}\nafter\n"
    with pytest.raises(SystemExit, match="no place for"):
        tool.fill(page, "others", "new")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.32494, "0.325"), (14.26, "14.3"), (998.6, "999"), (5480.07, "5,480"), (1e6, "1,000,000")],
)
def test_figures_are_written_to_be_read(tool: ModuleType, value: float, shown: str) -> None:
    figure = {"what": "peak", "value": value, "unit": "MB", "note": "", "met": True,
              "at_most": value, "at_least": None}  # fmt: skip
    assert tool.row(figure, 40) == f"| peak | {shown} MB | ≤ {shown} MB | yes |"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of the precisions, of the waiting threads and of trust on other data."""
    environment = {
        "cpu": "a CPU", "cpu_flags": ["avx2"], "cpus_available": 2, "governor": None,
        "kernel": "6", "python": "3", "libraries": {}, "commit": "c", "command": "python x",
    }  # fmt: skip
    row = {"size_bytes": 250_000, "p50_ms": 0.5, "ratio": 0.75, "top1_agreement": 0.9,
           "max_change": 0.125}  # fmt: skip
    rows = [
        {**row, "file": "int8.tflite", "parts": 1},
        {**row, "file": "int8.onnx", "parts": None},
    ]
    figures = [
        {"what": f"{way}: {what}", "value": value, "unit": "ms"}
        for what, value in (("a call", 0.25), ("CPU time", 20.0))
        for way in ("spinning", "sleeping")
    ]
    spread, same = (0.1, 0.05, 0.15), (0.95, 0.95, 0.95)
    beyond = {
        "data": "digits", "model": "student", "unknown": "far FAILS", "top-1": 0.98,
        "held": same, "size": (1.5, 1.0, 2.0),
        **dict.fromkeys(("error before", "error after", "false unknowns", "recall far",
                         "recall near", "AUROC far", "AUROC near"), spread),
    }  # fmt: skip
    trust = [{**beyond, "file": name} for name in ("int8.tflite", "fp32.onnx")]
    for name, found in (
        ("precisions", {"rows": rows}),
        ("idle_threads", {"figures": figures}),
        ("trust_beyond", {"rows": trust}),
    ):
        document = {"method": "in turns", "environment": environment, **found}
        (tmp_path / f"{name}.cpu.json").write_text(json.dumps(document))
    return tmp_path


def test_the_tables_of_precisions_and_of_waiting_threads(tool: ModuleType, folder: Path) -> None:
    words = tool.benchmark_tables.precisions(folder)
    assert "Measured on a CPU (avx2)" in words and "in turns" in words
    lines = [[cell.strip() for cell in line[1:-1]] for line in table_lines(words)[2:]]
    assert lines == [
        ["int8.tflite", "250 kB", "0.500", "0.750x", "90.0 %", "0.125", "1"],
        ["int8.onnx", "250 kB", "0.500", "0.750x", "90.0 %", "0.125", "–"],
    ]
    lines = [[cell.strip() for cell in line[1:-1]]
             for line in table_lines(tool.benchmark_tables.idle_threads(folder))]  # fmt: skip
    assert lines[0] == ["Threads and memory", "a call (ms)", "CPU time (ms)"]
    assert lines[2:] == [["spinning", "0.250", "20.0"], ["sleeping", "0.250", "20.0"]]


def test_the_table_of_other_data_shows_the_files_apart(tool: ModuleType, folder: Path) -> None:
    lines = [[cell.strip() for cell in line[1:-1]]
             for line in table_lines(tool.benchmark_tables.beyond(folder))]  # fmt: skip
    int8, others = lines[2], lines[-1]
    assert int8[:3] == [
        "handwritten digits, near 8 and 9, never taught; student",
        "far FAILS",
        "98.0 %",
    ]
    assert int8[3:6] == ["0.100 (0.050 to 0.150)", "0.100 (0.050 to 0.150)", "10 % (5 to 15)"]
    assert int8[-1] == "95 %, 1.50"
    assert others[:3] == ["digits, student", "fp32.onnx", "98.0 %"] and others[-1] == "95 %"
    assert len(lines) == 2 * 3  # two tables, each with its header


def test_the_pages_have_the_places() -> None:
    readme, benchmarks = REPOSITORY / "README.md", REPOSITORY / "benchmarks" / "README.md"
    for page, markers in (
        (readme, ["demo-rows"]),
        (benchmarks, ["demo-table", "device-table", "measuring", "peers", "scaling"]),
        (REPOSITORY / "docs" / "conversion.md", ["precisions"]),
        (REPOSITORY / "docs" / "runtimes.md", ["idle-threads"]),
        (REPOSITORY / "docs" / "trust.md", ["beyond"]),
    ):
        text = page.read_text(encoding="utf-8")
        assert all(f"<!-- {m}: written by" in text and f"<!-- /{m} -->" in text for m in markers)
    rows = readme.read_text(encoding="utf-8").partition("<!-- demo-rows")[2].partition("<!-- /")[0]
    assert len(table_lines(rows)) == 2 + 4
