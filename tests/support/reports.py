"""Files of made-up results for `edgeclf.report`, and what its Markdown says of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edgeclf.reporting.benchmark_page import to_markdown
from edgeclf.reporting.devices import group_by_device
from edgeclf.reporting.summary import summarize

EVIL = "<script>alert(1)</script>|evil"


def write(results: Any, folder: Path) -> Path:
    path = folder / "benchmark.json"
    path.write_text(json.dumps(results))
    return path


def markdown_of(*files: dict[str, Any]) -> str:
    devices = group_by_device(files)
    return to_markdown(devices, tuple(summarize(device.results) for device in devices))


def table_lines(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [re.split(r"(?<!\\)\|", line) for line in lines]  # an escaped one is text


def check_tables_line_up(markdown: str) -> None:
    """Fails where a table's lines have different numbers of cells, or there is no table."""
    tables = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    assert tables
    for table in tables:
        assert len({len(cells) for cells in table_lines(table)}) == 1, table
