"""Which kind of source was given, and its pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from edgeclf.datasets.folders import is_photo
from edgeclf.errors import DataError, OptionError, listed
from edgeclf.tables.items import Piece, Source
from edgeclf.tables.parquet import parquet_pieces
from edgeclf.tables.photos import lines_of, photo_pieces
from edgeclf.tables.storage import File, find, folder_of, local
from edgeclf.tables.tars import TarPiece

_SUFFIXES = {
    "parquet": (".parquet", ".pq"),
    "tar": (".tar", ".tar.gz", ".tgz"),
    "list": (".txt", ".lst", ".list"),
}
_EXPECTED = (
    "a folder of photos, a list of them (.txt, one a line), Parquet files (.parquet) or tar shards "
    "(.tar, .tar.gz)"
)


def open_source(
    names: Sequence[str], column: str | None = None, id_column: str | None = None
) -> Source:
    """Finds the files of a source and divides them into pieces; reads no picture.

    Args:
        names: Folders, files, patterns or URLs, all of one kind.
        column: Of Parquet files, what holds pictures or paths; by default the one that can.
        id_column: Likewise, what holds the ids; by default one that is called like it.

    Raises:
        DataError: There is nothing, it cannot be read, or it is of several kinds.
        OptionError: A column is named that is not there, or for something that has no columns.
    """
    names = tuple(names)
    if not names:
        raise OptionError(f"No source was given; expected {_EXPECTED}.")
    digest = hashlib.sha256()
    photos: list[str] = []  # names alone, as there may be millions
    kinds: dict[str, list[File]] = {}
    root, below = "", len(names) == 1
    for name in names:
        is_folder, files = find(name)
        if is_folder and below:
            root = local(name)
        for kind, file in _kinds(files, is_folder):
            title = file.place
            if below and (is_folder or kind != "photos"):
                title = file.name if is_folder else file.name.rpartition("/")[2]
            words = f"{title}\0{file.place}\0{file.stamp}\0"
            digest.update(words.encode(errors="surrogateescape"))
            if kind == "photos":
                photos.append(title)
            else:
                kinds.setdefault(kind, []).append(file._replace(name=title))
    kind = _only_kind(photos, kinds, names)
    if kind != "parquet" and (column or id_column):
        raise OptionError(f"--column and --id-column are for Parquet, and {names[0]} is none.")
    digest.update(f"{kind} {column} {id_column}".encode())
    pieces: Sequence[Piece]
    rows: int | None
    if kind == "photos":
        pieces, rows = list(photo_pieces(root, photos)), len(photos)
    else:
        pieces, rows = _pieces(kind, kinds[kind], column, id_column)
    if not pieces:
        raise DataError(f"{names[0]} holds no picture; expected {_EXPECTED}.")
    return Source("photos" if kind == "list" else kind, names, digest.hexdigest(), pieces, rows)


def _pieces(
    kind: str, files: list[File], column: str | None, id_column: str | None
) -> tuple[Sequence[Piece], int | None]:
    if kind == "tar":
        return [TarPiece(at, file.name, file.place) for at, file in enumerate(files)], None
    if kind == "parquet":
        tables = parquet_pieces(files, column, id_column)
        return tables, sum(rows for piece in tables for _, rows in piece.groups)
    if len(files) > 1:
        raise OptionError(f"Received {len(files)} lists; expected one. Join them.")
    photos = list(photo_pieces(folder_of(files[0].place), lines_of(files[0])))
    return photos, sum(piece.names.count("\0") + 1 for piece in photos)


def _kinds(files: Iterator[File], is_folder: bool) -> Iterator[tuple[str, File]]:
    """Those files that can be a source, or part of one."""
    for file in files:
        base = file.name.rpartition("/")[2]
        kind = next((k for k, ends in _SUFFIXES.items() if base.lower().endswith(ends)), None)
        if is_photo(base):
            kind = "photos"
        if kind is None and not is_folder:
            raise DataError(f"{file.name} is no source of pictures; expected {_EXPECTED}.")
        if kind is not None and not (is_folder and kind == "list"):  # as labels.txt
            yield kind, file


def _only_kind(photos: list[str], kinds: dict[str, list[File]], names: Sequence[str]) -> str:
    counts = {"photos": len(photos), **{kind: len(files) for kind, files in kinds.items()}}
    counts = {kind: count for kind, count in counts.items() if count}
    if not counts:
        raise DataError(f"There are no pictures in {names[0]}; expected {_EXPECTED}.")
    if len(counts) > 1:
        found = listed(f"{count:,} of {kind}" for kind, count in sorted(counts.items()))
        raise DataError(
            f"{listed(names)} holds files of several kinds: {found}. Name those of one kind, "
            f"for example with a pattern: '{names[0].rstrip('/')}/*.parquet'."
        )
    return next(iter(counts))
