"""Parquet files whose rows are pictures, or where pictures are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgeclf.errors import DataError, MissingDependencyError, OptionError, listed, mapped
from edgeclf.tables.items import PIECE_ROWS, Item
from edgeclf.tables.storage import File, folder_of, joined, opened

_ROWS_AT_ONCE = 64
_PATHS = ("path", "file", "file_name", "filename", "image_path", "url", "uri", "image")
_IDS = ("id", "key", "__key__", "image_id")
_ADVICE = "Copy or write the file again."


def parquet_module() -> Any:
    """`pyarrow.parquet`.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as exc:
        raise MissingDependencyError("pyarrow", "bulk", "Reading and writing Parquet") from exc
    return pyarrow.parquet


@dataclass(frozen=True)
class ParquetPiece:
    """Some row groups of a file, of at least `PIECE_ROWS` rows if it has them.

    Attributes:
        number: Its place in the source.
        name: The file, as the source calls it.
        place: Where it can be read.
        first_row: Of the file, from 0.
        groups: Position and rows of each row group.
        column: What holds pictures, or where they are.
        id_column: What holds their ids; None for file and row.
    """

    number: int
    name: str
    place: str
    first_row: int
    groups: tuple[tuple[int, int], ...]
    column: str
    id_column: str | None

    def items(self, skip: int) -> Iterator[Item]:
        """See `edgeclf.tables.items.Piece`; a row group that cannot be read is rows that say so."""
        row = self.first_row
        with opened(self.place) as stream:
            file = _file(stream, self.place)
            for group, count in self.groups:
                passed = min(skip, count)
                skip -= passed
                if passed < count:
                    yield from self._group(file, group, row, count, passed)
                row += count

    def _group(self, file: Any, group: int, first: int, count: int, skip: int) -> Iterator[Item]:
        columns = [self.column] + [self.id_column] * (self.id_column is not None)
        done, words = 0, f"Cannot read row group {group} of {self.place}"
        try:
            with mapped(DataError, words, _ADVICE):
                batches = file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=columns)
            while done < count:
                with mapped(DataError, words, _ADVICE):
                    batch = next(batches)
                    start = max(0, skip - done)
                    images, ids = self._values(batch.slice(start))
                for at, (image, name) in enumerate(zip(images, ids, strict=True), start):
                    yield self._item(first + done + at, image, name)
                done += batch.num_rows
        except DataError as exc:
            for row in range(first + max(done, skip), first + count):
                place = f"{self.place}#{row}"
                yield Item(self.number, f"{self.name}#{row}", place, None, str(exc))

    def _values(self, batch: Any) -> tuple[list[Any], list[Any]]:
        images = batch.column(batch.schema.get_field_index(self.column)).to_pylist()
        if self.id_column is None:
            return images, [None] * len(images)
        return images, batch.column(batch.schema.get_field_index(self.id_column)).to_pylist()

    def _item(self, row: int, image: Any, name: Any) -> Item:
        place = f"{self.place}#{row}"
        title = f"{self.name}#{row}" if name is None else str(name)
        if isinstance(image, dict):  # as the Hugging Face hub stores pictures
            image = image.get("bytes") or image.get("path")
        if not image:
            return Item(self.number, title, place, None, f"{place} holds no picture.")
        if isinstance(image, str):
            place = joined(folder_of(self.place), image)
            return Item(self.number, title, place, place)
        return Item(self.number, title, place, bytes(image))


def parquet_pieces(
    files: Sequence[File], column: str | None, id_column: str | None
) -> list[ParquetPiece]:
    """The pieces of Parquet files.

    Raises:
        DataError: One cannot be read, or lacks the columns of the first.
        OptionError: A column is not there, or none was named and none is likely.
    """
    pieces: list[ParquetPiece] = []
    for file in files:
        with opened(file.place) as stream:
            opened_file = _file(stream, file.place)
            schema = opened_file.schema_arrow
            if not pieces:
                column, id_column = _columns(schema, file.name, column, id_column)
            missing = {column, id_column} - {None, *schema.names}
            if missing:
                raise DataError(
                    f"{file.name} has no column {listed(map(repr, sorted(map(str, missing))))}, "
                    f"as the first file has; it has {listed(map(repr, schema.names))}."
                )
            about = opened_file.metadata
            counts = [about.row_group(at).num_rows for at in range(about.num_row_groups)]
        assert column is not None
        for first, groups in _together(counts):
            number = len(pieces)
            pieces.append(
                ParquetPiece(number, file.name, file.place, first, groups, column, id_column)
            )
    return pieces


def _together(counts: Sequence[int]) -> Iterator[tuple[int, tuple[tuple[int, int], ...]]]:
    """Row groups until there are enough rows, with the first row of each such."""
    starts = [0, *itertools.accumulate(counts)]
    held: list[tuple[int, int]] = []
    for group, count in enumerate(counts):
        held.append((group, count))
        if sum(rows for _, rows in held) >= PIECE_ROWS or group == len(counts) - 1:
            yield starts[held[0][0]], tuple(held)
            held = []


def _file(stream: Any, place: str) -> Any:
    parquet = parquet_module()
    with mapped(DataError, f"Cannot read {place} as Parquet", _ADVICE):
        # Read as it is needed: a row group of pictures may have gigabytes.
        return parquet.ParquetFile(stream, buffer_size=2**20, pre_buffer=False)


def _columns(
    schema: Any, name: str, column: str | None, id_column: str | None
) -> tuple[str, str | None]:
    for wanted in (column, id_column):
        if wanted is not None and wanted not in schema.names:
            raise OptionError(
                f"{name} has no column {wanted!r}; it has {listed(map(repr, schema.names))}."
            )
    if column is None:
        pictures = [field.name for field in schema if _holds_pictures(field.type)]
        paths = [each for each in _PATHS if each in schema.names and _is_text(schema, each)]
        if len(pictures) > 1 or not (pictures or paths):
            raise OptionError(
                f"{name} has the columns {listed(map(repr, schema.names))}, of which "
                f"{listed(map(repr, pictures)) or 'none'} could be pictures. Name one with "
                "--column: of bytes, of paths, or of a struct of both."
            )
        column = (pictures or paths)[0]
    elif not _holds_pictures(schema.field(column).type) and not _is_text(schema, column):
        raise OptionError(
            f"The column {column!r} of {name} is {schema.field(column).type}; expected bytes, "
            "paths, or a struct of both."
        )
    if id_column is None:
        id_column = next((each for each in _IDS if each in schema.names), None)
    return column, id_column


def _holds_pictures(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_pictures(field.type) for field in kind.fields)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_text(schema: Any, name: str) -> bool:
    from pyarrow import types

    kind = schema.field(name).type
    return bool(types.is_string(kind) or types.is_large_string(kind))
