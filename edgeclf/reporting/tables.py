"""Tables in words, which Markdown and page write alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from edgeclf.reporting import text
from edgeclf.reporting.markdown import markdown_table, safe_text


@dataclass(frozen=True)
class Cell:
    """One place of a table.

    Attributes:
        text: The figure or word.
        small: What is said below it; of a failure, the reason.
        failed: Whether it tells of a failure.
        bar: Length of the bar beside it, 0..1.
    """

    text: str
    small: str = ""
    failed: bool = False
    bar: float | None = None


@dataclass(frozen=True)
class Table:
    """A table in words, for both files.

    Attributes:
        title: The heading.
        caption: What must be known to read it.
        columns: Their names; one that would hold no figure is left out.
        rows: Cells; the first names the artifact or the class.
        first_number: Columns from here on hold numbers.
        notes: What follows the table.
    """

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    first_number: int
    notes: Sequence[str]

    @property
    def groups(self) -> list[list[Sequence[Cell]]]:
        """Rows one below another that begin with the same name."""
        return [list(rows) for _, rows in groupby(self.rows, lambda row: row[0].text)]


def make_table(
    title: str,
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Cell]],
    first_number: int,
    notes: Sequence[str] = (),
) -> list[Table]:
    """One table, or none when there is nothing to say."""
    cells = [[Cell(c) if isinstance(c, str) else c for c in row] for row in rows]
    if not cells and not notes:
        return []
    kept = [i for i in range(len(columns)) if any(row[i].text != text.DASH for row in cells)]
    names = [columns[i] for i in kept]
    figures = [[row[i] for i in kept] for row in cells]
    first = sum(i < first_number for i in kept)
    return [Table(title, caption, names, figures, first, notes)]


def markdown_document(
    title: str,
    paragraphs: Iterable[str],
    tables: Iterable[Table],
    facts: Mapping[str, str],
    details: Iterable[Table] = (),
) -> str:
    """A report of tables: title, what was found, the tables, the conditions as a list, details."""
    conditions = [f"- {safe_text(f'{name}: {fact}')}" for name, fact in facts.items()]
    parts = [f"# {safe_text(title)}", *map(safe_text, paragraphs), *_sections(tables)]
    parts += ["## Conditions", "\n".join(conditions), *_sections(details)]
    return "\n\n".join(parts) + "\n"


def _sections(tables: Iterable[Table]) -> Iterable[str]:
    for table in tables:
        yield f"## {safe_text(table.title)}"
        yield from table_parts(table)


def table_parts(table: Table) -> Iterable[str]:
    """A table as paragraphs of Markdown, the reasons of failures below it."""
    if table.rows:
        lines = [
            [f"{c.text} ({c.small})" if c.small and not c.failed else c.text for c in row]
            for row in table.rows
        ]
        yield markdown_table(table.columns, lines, table.first_number)
        yield safe_text(table.caption)
    reasons = [
        # What stands before the verdict names the row.
        f"{', '.join(cell.text for cell in row[:index])} failed: {row[index].small}"
        for row in table.rows
        for index, cell in enumerate(row)
        if cell.failed and cell.small
    ]
    if reasons or table.notes:
        yield "\n".join(f"- {safe_text(note)}" for note in [*reasons, *table.notes])
