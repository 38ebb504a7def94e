"""A CSV that names photos and their labels, where they do not lie in one folder a class."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeGuard
from unicodedata import normalize

from edgeclf.datasets.folders import is_clutter, normal, reading
from edgeclf.datasets.labels import read_rows, read_text
from edgeclf.errors import DataError, listed
from edgeclf.system.progress import log

Split = Literal["train", "eval"]

_EXPECTED = "a header with the columns path and label, and, if need be, split with train or eval"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        path: The photo; relative paths were relative to the CSV.
        label: Its class.
        split: What it is for; None where the table has no such column.
        group: What it has in common with other photos of one thing; its own path where the column
            is empty, None where the table has no such column.
    """

    path: Path
    label: str
    split: Split | None
    group: str | None = None


def is_table(path: Path) -> bool:
    """Whether the path is that of a CSV rather than of a folder."""
    with reading(path):
        return path.suffix.lower() in (".csv", ".tsv") and not path.is_dir()


def read_table(path: Path) -> list[Row]:
    """Reads the rows of a CSV and checks that their files exist.

    Other columns than ``path``, ``label``, ``split`` and ``group`` are passed over, and so are rows
    that name what a system left among the photos, such as ``Thumbs.db``.

    Args:
        path: A CSV with a header, its columns in any order, parted by comma, semicolon or tab.

    Raises:
        DataError: It cannot be read, lacks a column, or names a photo that is not there.
    """
    text = read_text(path, _EXPECTED)
    with reading(path):
        try:
            rows = _rows(path, read_rows(text))
        except csv.Error as exc:
            raise DataError(f"Cannot read {path}: {exc}. Expected {_EXPECTED}.") from exc
        missing = [str(row.path) for row in rows if not row.path.is_file()]
    if not rows:
        raise DataError(f"{path} names no photo; expected one a line below the header.")
    if missing:
        raise DataError(
            f"{len(missing)} of {len(rows)} photos named in {path} are not there; paths are "
            "relative to the CSV, which should be in UTF-8:\n  " + listed(missing, "\n  ", 5)
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


def _rows(path: Path, lines: list[tuple[int, list[str]]]) -> list[Row]:
    header = [name.lower() for name in lines[0][1]] if lines else []
    if any(header.count(name) != 1 for name in ("path", "label")) or any(
        header.count(name) > 1 for name in ("split", "group")
    ):
        raise DataError(f"{path} begins with {','.join(header)!r}; expected {_EXPECTED}.")
    rows, clutter = [], 0
    for number, fields in lines[1:]:
        if len(fields) != len(header):
            raise DataError(
                f"{path}, row {number}: {len(fields)} fields; expected {len(header)}, "
                "one for each column of the header."
            )
        row = dict(zip(header, fields, strict=True))
        if not row["path"] or not row["label"]:
            raise DataError(f"{path}, row {number}: a path or a label is missing.")
        split = row.get("split")
        split = split and split.lower()
        if split is not None and not _is_split(split):
            raise DataError(
                f"{path}, row {number}: the split is {split!r}; expected train or eval."
            )
        if any(map(is_clutter, Path(row["path"]).parts)):
            clutter += 1
            continue
        group = (row["group"] or row["path"]) if "group" in row else None
        rows.append(Row(_file(path.parent, row["path"]), normal(row["label"]), split, group))
    if clutter:
        log(f"remark: {clutter} rows of {path} name no photos but a system's files")
    return rows


def _file(folder: Path, name: str) -> Path:
    """The file of that name, whose letters may be spelt otherwise on disk, as on a Mac."""
    spellings = [folder / name, *(folder / normalize(form, name) for form in ("NFC", "NFD"))]
    return next((path for path in spellings if path.exists()), spellings[0])


def _is_split(word: str) -> TypeGuard[Split]:
    return word in ("train", "eval")
