"""A CSV that names photos and their labels, where they do not lie in one folder a class."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeGuard

from edgeclf.errors import DataError

Split = Literal["train", "eval"]

_EXPECTED = "a header with the columns path and label, and, if need be, split with train or eval"
_SHOWN = 5


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        path: The photo; relative paths were relative to the CSV.
        label: Its class.
        split: What it is for; None where the table has no such column.
    """

    path: Path
    label: str
    split: Split | None


def is_table(path: Path) -> bool:
    """Whether the path is that of a CSV rather than of a folder."""
    return path.suffix.lower() == ".csv" and not path.is_dir()


def read_table(path: Path) -> list[Row]:
    """Reads the rows of a CSV and checks that their files exist.

    Other columns than ``path``, ``label`` and ``split`` are passed over.

    Args:
        path: A CSV in UTF-8 with a header, its columns in any order.

    Raises:
        DataError: It cannot be read, lacks a column, or names a photo that is not there.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = _rows(path, csv.reader(file))
    except FileNotFoundError:
        raise DataError(f"There is no {path}; expected {_EXPECTED}.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise DataError(f"Cannot read {path}: {exc}. Expected {_EXPECTED}, in UTF-8.") from exc
    if not rows:
        raise DataError(f"{path} names no photo; expected one a line below the header.")
    missing = [str(row.path) for row in rows if not row.path.is_file()]
    if missing:
        more = f"\n  and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise DataError(
            f"{len(missing)} of {len(rows)} photos named in {path} are not there; paths are "
            "relative to the CSV:\n  " + "\n  ".join(missing[:_SHOWN]) + more
        )
    return rows


def of_split(path: Path, rows: list[Row], split: Split) -> list[Row]:
    """The rows for one purpose; all of them where the table has no column ``split``.

    Raises:
        DataError: The table has the column, and no row for this purpose.
    """
    if rows[0].split is None:
        return rows
    chosen = [row for row in rows if row.split == split]
    if not chosen:
        raise DataError(f"{path} names no photo whose split is {split}.")
    return chosen


def _rows(path: Path, lines: Iterable[list[str]]) -> list[Row]:
    numbered = enumerate(lines, start=1)
    header = [name.strip().lower() for name in next(numbered, (1, []))[1]]
    if any(header.count(name) != 1 for name in ("path", "label")) or header.count("split") > 1:
        raise DataError(f"{path} begins with {','.join(header)!r}; expected {_EXPECTED}.")
    rows = []
    for number, fields in numbered:
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != len(header):
            raise DataError(
                f"{path}, row {number}: {len(fields)} fields; expected {len(header)}, "
                "one for each column of the header."
            )
        row = {name: field.strip() for name, field in zip(header, fields, strict=True)}
        if not row["path"] or not row["label"]:
            raise DataError(f"{path}, row {number}: a path or a label is missing.")
        split = row.get("split")
        if split is not None and not _is_split(split):
            raise DataError(
                f"{path}, row {number}: the split is {split!r}; expected train or eval."
            )
        rows.append(Row(path.parent / row["path"], row["label"], split))
    return rows


def _is_split(word: str) -> TypeGuard[Split]:
    return word in ("train", "eval")
