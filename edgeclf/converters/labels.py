"""Class names of a model from elsewhere, which its file does not hold."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from edgeclf.errors import OptionError


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Reads class names from ``labels.txt`` or a CSV file with the columns id and name.

    Raises:
        OptionError: It cannot be read, lacks a column, or its ids are not 0, 1, 2, ...
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise OptionError(f"Cannot read the labels {file}: {exc}.") from exc
    if file.suffix.lower() != ".csv":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    rows = list(csv.DictReader(text.splitlines(), skipinitialspace=True))
    columns = {(name or "").strip().lower(): name for name in (rows[0] if rows else {})}
    if not {"id", "name"} <= columns.keys():
        raise OptionError(
            f"{file} has the columns {', '.join(columns) or 'none'}; expected id and name."
        )
    try:
        names = {int(row[columns["id"]]): row[columns["name"]].strip() for row in rows}
    except (ValueError, AttributeError, TypeError) as exc:
        raise OptionError(f"{file} has an id that is no whole number, or a short row.") from exc
    if sorted(names) != list(range(len(rows))):
        raise OptionError(
            f"The ids in {file} are not 0 to {len(rows) - 1}, each once; they are the positions "
            "in the model's output."
        )
    return tuple(names[index] for index in range(len(names)))
