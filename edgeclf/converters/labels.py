"""Class names of a model from elsewhere, in all the forms of file that people have."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

from edgeclf.converters.source_spec import (
    ID_COLUMNS,
    LABEL_COLUMNS,
    LABEL_KEYS,
    NAME_COLUMNS,
)
from edgeclf.datasets.labels import (
    EXPECTED,
    WHOLE,
    Entry,
    are_consecutive,
    in_order,
    of_lines,
    read_rows,
    read_text,
    with_ids,
)
from edgeclf.datasets.manifest import is_table
from edgeclf.errors import DataError, OptionError, listed

_EXPECTED = (
    f"{EXPECTED}; a table with {LABEL_COLUMNS}; or JSON: a list of names, a map between names and "
    f"ids, or a document that holds one as {', '.join(LABEL_KEYS)}"
)


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Reads class names in the order of a model's output.

    Args:
        path: A text with one name a line, which may begin with its id; a table with ids and names
            in any order, ids from 0 or from 1, or without a header; or JSON: a list, a map from
            name to id or from id to name, or a document that holds one, such as a ``config.json``
            with ``id2label``.

    Returns:
        Different names in Unicode's form NFC.

    Raises:
        OptionError: It cannot be read, its ids are not consecutive, or two names are equal.
    """
    file = Path(path)
    try:
        entries = _entries(file, read_text(file, _EXPECTED))
        _check_ids(file, entries)
        return in_order(file, entries)
    except DataError as exc:
        raise OptionError(str(exc)) from exc


def _entries(file: Path, text: str) -> list[Entry]:
    if is_table(file):
        try:
            return _of_table(file, read_rows(text))
        except csv.Error as exc:
            raise OptionError(f"Cannot read {file}: {exc}. Expected {_EXPECTED}.") from exc
    named_json = file.suffix.lower() == ".json"
    if not named_json and text.lstrip()[:1] not in ("[", "{"):
        return of_lines(text)
    try:
        document = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as exc:
        if named_json:
            raise OptionError(f"{file} is no JSON: {exc}. Expected {_EXPECTED}.") from exc
        return of_lines(text)
    return _of_json(file, document)


def _of_table(file: Path, rows: list[tuple[int, list[str]]], word: str = "line") -> list[Entry]:
    """The classes of a table, whose first row may be a header."""
    if not rows:
        raise OptionError(f"{file} is empty; expected {_EXPECTED}.")
    header = [field.lower().replace(" ", "_") for field in rows[0][1]]
    headless = any(map(WHOLE.fullmatch, header)) or (
        len(header) == 1 and header[0] not in (*NAME_COLUMNS, "")
    )
    body = rows if headless else rows[1:]
    id_, name = _columns(file, header, headless, [fields for _, fields in body])
    for number, fields in body:
        if len(fields) <= max(name, id_ or 0) or any(fields[len(header) :]):
            raise OptionError(
                f"{file}, {word} {number} has {len(fields)} fields; expected {len(header)}. A name "
                "with a comma in it needs quotes."
            )
    entries = [
        Entry(f"{word} {number}", fields[name], None if id_ is None else fields[id_])
        for number, fields in body
    ]
    return with_ids(entries) if id_ is None else entries


def _columns(
    file: Path, header: list[str], headless: bool, body: list[list[str]]
) -> tuple[int | None, int]:
    """Which column holds the ids, if one does, and which the names."""
    whole = {
        column
        for column in range(len(header))
        if all(WHOLE.fullmatch("".join(fields[column : column + 1])) for fields in body)
    }
    if headless:
        ids, names = [], [1, 0][-len(header) :] if len(header) < 3 else []
    else:
        ids = [header.index(word) for word in ID_COLUMNS if word in header]
        names = [header.index(word) for word in (*NAME_COLUMNS, "") if word in header]
        names = [column for column in names if header[column] or column in whole]
    names.sort(key=whole.__contains__)
    if not ids and len(names) > 1 and names[-1] in whole:  # "label,name": one has the numbers
        ids = [names.pop()]
    if not names or (not ids and len(header) > 1):
        raise OptionError(f"{file} has the columns {listed(header)}; expected {LABEL_COLUMNS}.")
    return (ids[0] if ids else None), names[0]


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses what would lose a class without a word."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} is there twice")
        found[key] = value
    return found


def _of_json(file: Path, value: Any) -> list[Entry]:
    if isinstance(value, dict):
        for key in LABEL_KEYS:
            if isinstance(value.get(key), list | dict):
                return _of_json(file, value[key])
        return _of_map(file, value)
    if not isinstance(value, list):
        raise OptionError(f"{file} holds {str(value)[:80]!r}; expected {_EXPECTED}.")
    if value and all(isinstance(each, dict) for each in value):
        header = [*value[0]]
        rows = [[_name(file, each.get(key)) for key in header] for each in value]
        return _of_table(file, [*enumerate([header, *rows])], "entry")
    if value and all(_is_pair(each) for each in value):
        rows = [[str(field) for field in each] for each in value]
        return _of_table(file, [*enumerate(rows, 1)], "entry")
    entries = [Entry(f"entry {number}", _name(file, each)) for number, each in enumerate(value, 1)]
    return with_ids(entries)


def _of_map(file: Path, value: dict[str, Any]) -> list[Entry]:
    """The classes of a map from name to id, or from id to name; of both, ids are the values."""
    ids = [str(each) if _is_whole(each) else each for each in value.values()]
    are_ids = [isinstance(each, str) and WHOLE.fullmatch(each) for each in ids]
    if value and not all(are_ids) and not any(map(WHOLE.fullmatch, value)):
        raise OptionError(
            f"{file} is a document with the keys {listed(value, shown=5)}, of which none is "
            f"known and none an id; expected {_EXPECTED}."
        )
    if all(_is_whole(each) for each in value.values()) or (
        all(are_ids) and not all(map(WHOLE.fullmatch, value))
    ):
        return [Entry(f"id {id_}", name, id_) for name, id_ in zip(value, ids, strict=True)]
    return [Entry(f"id {id_}", _name(file, each), id_) for id_, each in value.items()]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    """Whether it is a name and an id, in any order; two texts are Keras' code and name."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and (sorted(map(type, value), key=str) == [int, str])
    )


def _name(file: Path, value: Any) -> str:
    """A name in JSON, for which Keras has ``["n01440764", "tench"]``."""
    if isinstance(value, list) and value:
        value = value[-1]
    if isinstance(value, bool | float):
        raise OptionError(
            f"{file} has {json.dumps(value)}, which is no name and no id; expected {_EXPECTED}."
        )
    return str(value) if isinstance(value, str | int) else ""


def _check_ids(file: Path, entries: list[Entry]) -> None:
    if not entries or entries[0].id is None:
        return
    for entry in entries:
        if not WHOLE.fullmatch(entry.id or ""):
            raise OptionError(f"{file}, {entry.place}: the id {entry.id!r} is no whole number.")
    if are_consecutive(entries):
        return
    entries = sorted(entries, key=lambda entry: int(entry.id or 0))
    first = min(int(entries[0].id or 0), 1)
    odd = next(entry for n, entry in enumerate(entries, first) if int(entry.id or 0) != n)
    raise OptionError(
        f"The ids in {file} are not 0 to {len(entries) - 1}, each once, nor 1 to {len(entries)}; "
        f"they are the positions in the model's output. The first that breaks the row is "
        f"{odd.id} in {odd.place}."
    )
