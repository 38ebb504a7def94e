"""Class names from a text, and when two of them mean the same class."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from edgeclf.artifact.metadata import CONTROL
from edgeclf.datasets.folders import normal, reading
from edgeclf.errors import DataError, listed
from edgeclf.system.progress import log

EXPECTED = "one name a line, in the order of the model's output"
WHOLE = re.compile("[0-9]{1,9}")
_NUMBERED = re.compile(r"([0-9]{1,9})(?:\s+[-=–—]\s+|[:.,;)=]?\s+|[:,;=](?![0-9]))(\S.*)")
_ITEM = re.compile(r"[-*•]\s+(\S.*)")  # of a list in YAML or Markdown


class Entry(NamedTuple):
    """One class as a file has it: where it stands, its name, and its number if it has one."""

    place: str
    name: str
    id: str | None = None


def read_labels(file: Path) -> tuple[str, ...]:
    """Reads a text with one name a line, each of which may begin with its id: ``0 tench``.

    Returns:
        Different names in Unicode's form NFC, by their ids where they have them.

    Raises:
        DataError: It cannot be read, or two names are equal.
    """
    return in_order(file, of_lines(read_text(file, EXPECTED)))


def read_text(file: Path, expected: str) -> str:
    """A text in UTF-8 or UTF-16; or else in Windows' western encoding, and that is told.

    Args:
        file: What to read.
        expected: What it should hold, for the message where it cannot be read.

    Raises:
        DataError: It is not there, cannot be read, or is no text.
    """
    if not os.path.lexists(file):
        raise DataError(f"There is no {file}; expected {expected}.")
    with reading(file, f"Expected {expected}."):
        content = file.read_bytes()
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = content.decode("utf-16")
        elif b"\0" in content[:2]:
            text = content.decode("utf-16-le" if content[0] else "utf-16-be")
        else:
            text = _decode(file, content)
        if not re.search("[\0-\x08\x0e-\x1f]", text):
            return text
    except UnicodeDecodeError:
        pass
    raise DataError(f"{file} is no text in UTF-8; expected {expected}.")


def _decode(file: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252")
        line = next(line for line in text.splitlines() if not line.isascii())
        log(f"remark: {file} is not in UTF-8; read as Windows-1252, it has {line.strip()[:80]!r}")
        return text


def read_rows(text: str) -> list[tuple[int, list[str]]]:
    """The lines of a table that are not empty: each one's number and fields.

    Fields are parted by comma, semicolon or tab: by the one that gives the shortest line the most
    fields, or else is met first; Excel's first line ``sep=;`` says by which.

    Raises:
        csv.Error: A field is too long.
    """
    tables = []
    said = re.match(r"\s*\"?sep=([,;\t])\"?[ ,;]*(?=\r|\n)", text, re.IGNORECASE)
    if said:
        text = " " * said.end() + text[said.end() :]  # which keeps the numbers of lines
    for delimiter in (
        said[1] if said else sorted(",;\t", key=lambda each: text.find(each) % (len(text) + 1))
    ):
        reader = csv.reader(io.StringIO(text, ""), delimiter=delimiter, skipinitialspace=True)
        rows = [(reader.line_num, [field.strip() for field in fields]) for fields in reader]
        rows = [row for row in rows if any(row[1])]
        widths = [len(fields) for _, fields in rows] or [0]
        tables.append((min(widths), widths[0], rows))
    return max(tables, key=lambda table: table[:2])[2]


def of_lines(text: str) -> list[Entry]:
    """The classes of a text, one a line; a dash before each of them makes a list."""
    lines = enumerate((line.strip() for line in text.splitlines()), 1)
    entries = [Entry(f"line {number}", line) for number, line in lines if line]
    items = [match for entry in entries if (match := _ITEM.fullmatch(entry.name))]
    if len(items) == len(entries):
        entries = [
            Entry(entry.place, match[1]) for entry, match in zip(entries, items, strict=True)
        ]
    return with_ids(entries)


def with_ids(entries: list[Entry]) -> list[Entry]:
    """The numbers before names are ids if all names have consecutive ones; else as they were."""
    matches = [_NUMBERED.fullmatch(entry.name) for entry in entries]
    numbered = [
        Entry(entry.place, match[2], match[1])
        for entry, match in zip(entries, matches, strict=True)
        if match
    ]
    # Before one or two names, such as finger and fingers, numbers count things.
    count = len({entry.name for entry in numbered}) < min(len(numbered), 3)
    ids = len(numbered) == len(entries) and are_consecutive(numbered) and not count
    return numbered if ids else entries


def are_consecutive(entries: Sequence[Entry]) -> bool:
    """Whether the ids are 0, 1, 2, ... or 1, 2, 3, ..., in any order."""
    ids = sorted(int(entry.id or 0) for entry in entries)
    return any(ids == list(range(first, first + len(ids))) for first in (0, 1))


def in_order(file: Path, entries: Sequence[Entry]) -> tuple[str, ...]:
    """The names by their ids, if they have consecutive ones; checks that no two are equal.

    Raises:
        DataError: There is none, one is empty or no line of text, or two are equal.
    """
    if not entries:
        raise DataError(f"{file} names no class; expected {EXPECTED}.")
    if entries[0].id is not None:
        entries = sorted(entries, key=lambda entry: int(entry.id or 0))
    places: dict[str, list[str]] = {}
    for entry in entries:
        places.setdefault(normal(entry.name.strip()), []).append(entry.place)
    if "" in places:
        raise DataError(f"{file} has no name in {listed(places[''])}; expected {EXPECTED}.")
    for name, places_of in places.items():
        if len(name.splitlines()) != 1 or CONTROL.search(name):
            raise DataError(
                f"{file} has {name!r} in {places_of[0]}, which is not one line of text. Rename it."
            )
    equal = [f"{n!r} in {listed(p, ' and ', 5)}" for n, p in places.items() if len(p) > 1]
    if equal:
        raise DataError(
            f"{file} names a class twice: {listed(equal, '; ', 5)}. Give each a name of its own."
        )
    return tuple(places)


def class_finder(labels: Sequence[str]) -> Callable[[str], str]:
    """What gives the label that a name means, and the name in form NFC where it means none.

    Names are compared in that form, and ``0 cat`` is ``cat`` where that is the first label.
    """
    positions = {normal(label): position for position, label in enumerate(labels)}
    for position, label in enumerate(labels):
        if bare := _without_id(label, position):
            positions.setdefault(bare, position)

    def find(name: str) -> str:
        name = normal(name)
        match = _NUMBERED.fullmatch(name)
        position = positions.get(name)
        if position is None and match:
            position = positions.get(match[2])
            if position is not None and not _without_id(name, position):
                position = None
        return name if position is None else labels[position]

    return find


def _without_id(name: str, position: int) -> str | None:
    """The name behind its id, counted from 0 or from 1; None where it has none or another."""
    match = _NUMBERED.fullmatch(normal(name))
    return match[2] if match and int(match[1]) - position in (0, 1) else None
