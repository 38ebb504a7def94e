"""The tables that tools/update_readme.py writes into the pages."""

from __future__ import annotations

import importlib
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


def test_the_pages_have_the_places() -> None:
    readme, benchmarks = REPOSITORY / "README.md", REPOSITORY / "benchmarks" / "README.md"
    for page, markers in (
        (readme, ["demo-rows"]),
        (benchmarks, ["demo-table", "device-table", "measuring", "peers", "scaling"]),
    ):
        text = page.read_text(encoding="utf-8")
        assert all(f"<!-- {m}: written by" in text and f"<!-- /{m} -->" in text for m in markers)
    rows = readme.read_text(encoding="utf-8").partition("<!-- demo-rows")[2].partition("<!-- /")[0]
    assert len(table_lines(rows)) == 2 + 4
