"""Markdown that stays what it says, whatever the names in it are."""

from __future__ import annotations

import html
from collections.abc import Sequence


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
