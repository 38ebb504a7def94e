"""What is done of a table: parts beside it, which outlive any end, and their way into the table.

``TABLE.parts/`` holds ``manifest.json``, which says of what model, source and options they are, and
a file for each part. A part is written, synced and renamed, and its name says which rows of which
piece it has. So there is no state beside the files themselves, and no end of the process, of
whatever kind, can make them wrong.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from edgeclf.errors import DataError, OptionError, listed, mapped
from edgeclf.system import files
from edgeclf.tables.items import Piece
from edgeclf.tables.parquet import parquet_module
from edgeclf.tables.rows import Part, schema

SCHEMA = "edgeclf.bulk/1"
_METADATA = b"edgeclf"
_NAME = re.compile(r"(\d{8})-(\d{9})-(\d{9})-(\d+)(-end)?\.parquet")
_GROUP_ROWS = 65_536
_ASKED = ("model", "source", "options")


class _Stored(NamedTuple):
    start: int
    stop: int
    failed: int
    end: bool
    path: Path


@dataclass(frozen=True)
class Counts:
    """Rows in all, and those of them that are errors."""

    rows: int
    failed: int


class Work:
    """The parts of one table; nobody else may write them meanwhile.

    Args:
        table: Where the table will be.
        asked: What is to be made: ``model``, ``source`` and ``options``, as plain JSON types.
        overwrite: Whether a table that is there, or parts of another one, may go.

    Raises:
        OptionError: There are parts of another model, source or options; or another process is at
            it.
        DataError: The parts cannot be read.
    """

    def __init__(self, table: Path, asked: Mapping[str, Any], *, overwrite: bool) -> None:
        self._table = table
        self.folder = table.with_name(f"{table.name}.parts")
        self._parts: dict[int, list[_Stored]] = {}
        self.counts = Counts(0, 0)  # of all parts so far
        self.finished_pieces = 0
        self._lock = self._locked()
        try:
            self._manifest = self._begun(asked, overwrite)
            for path in sorted(self.folder.iterdir()):
                if (match := _NAME.fullmatch(path.name)) is not None:
                    piece, start, stop, failed = map(int, match.groups()[:4])
                    self._add(piece, _Stored(start, stop, failed, bool(match[5]), path))
                elif path.name.startswith("."):  # half of one
                    path.unlink()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets others go on with it."""
        self._lock.close()

    def _locked(self) -> IO[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = open(self.folder / "lock", "ab")  # noqa: SIM115 - held
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            lock.close()
            raise OptionError(
                f"Another process is writing {self._table}. Wait for it, or choose another --to."
            ) from exc
        return lock

    def _begun(self, asked: Mapping[str, Any], overwrite: bool) -> dict[str, Any]:
        """The manifest: of what was begun before, or a new one."""
        path = self.folder / "manifest.json"
        others = {each.name for each in self.folder.iterdir()} - {"lock"}
        if path.exists():
            found = files.read_record(path, SCHEMA, "source", f"Remove {self.folder}.")
            if not _differing(found, asked):
                return found
            if not overwrite:
                raise OptionError(
                    f"{self.folder} holds a part of a table of {_differences(found, asked)}. Give "
                    "the same as then to go on with it, --overwrite to throw it away, or another "
                    "--to."
                )
            for each in self.folder.iterdir():
                if each.name != "lock":
                    each.unlink()
        elif any(not name.startswith(".") for name in others):
            raise OptionError(
                f"{self.folder} holds files that are no parts of a table. Choose another --to."
            )
        manifest = {"schema": SCHEMA, **asked, "made_by": []}
        self._write(path, _json(manifest))
        return manifest

    def _add(self, piece: int, part: _Stored) -> None:
        self._check_follows(piece, part)
        self._parts.setdefault(piece, []).append(part)
        before = self.counts
        self.counts = Counts(before.rows + part.stop - part.start, before.failed + part.failed)
        self.finished_pieces += part.end

    def _check_follows(self, piece: int, part: _Stored) -> None:
        stored = self._parts.get(piece)
        if part.start != (stored[-1].stop if stored else 0) or (stored and stored[-1].end):
            raise DataError(
                f"{part.path} does not follow the part before it, which is lost. Remove the files "
                f"of {self.folder} whose names begin with {piece:08d}, and run the command again."
            )

    def left(self, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, int]]:
        """The pieces that are not finished, with the rows that they have."""
        for piece in pieces:
            stored = self._parts.get(piece.number)
            if not stored or not stored[-1].end:
                yield piece, stored[-1].stop if stored else 0

    def note(self, maker: Mapping[str, Any]) -> None:
        """Remembers what answers, before its first part is there."""
        if maker not in self._manifest["made_by"]:
            self._manifest["made_by"].append(dict(maker))
            self._write(self.folder / "manifest.json", _json(self._manifest))

    def save(self, part: Part) -> None:
        """Stores a part; once this returns, no end of process or machine takes it back."""
        end = "-end" if part.end else ""
        name = f"{part.piece:08d}-{part.start:09d}-{part.stop:09d}-{part.failed}{end}.parquet"
        stored = _Stored(part.start, part.stop, part.failed, part.end, self.folder / name)
        self._check_follows(part.piece, stored)  # the one before may not have found room
        self._write(stored.path, part.content)
        self._add(part.piece, stored)

    def finish(self) -> Counts:
        """Puts the parts together in the order of the source, and removes them.

        Raises:
            DataError: A part is damaged.
        """
        counts = self.counts
        about = {**self._manifest, "rows": counts.rows, "failed": counts.failed}
        kept = schema().with_metadata({_METADATA: _json(about)})
        parquet = parquet_module()
        whole = self.folder / ".table.parquet"  # where the next run looks for halves
        with parquet.ParquetWriter(whole, kept, compression="zstd") as writer:
            for table in self._tables(parquet):
                writer.write_table(table.cast(kept))
        _sync(whole)
        whole.replace(self._table)
        _sync(self._table.parent)
        shutil.rmtree(self.folder)
        return counts

    def _tables(self, parquet: Any) -> Iterator[Any]:
        """The rows, a row group of the table at a time."""
        import pyarrow as pa

        held: list[Any] = []
        paths = (part.path for _, parts in sorted(self._parts.items()) for part in parts)
        for path in itertools.chain(paths, [None]):
            if held and (path is None or sum(map(len, held)) >= _GROUP_ROWS):
                yield pa.concat_tables(held)
                held = []
            if path is not None:
                with mapped(DataError, f"The part {path} is damaged",
                            f"Remove the files of {self.folder} whose names begin with "
                            f"{path.name[:8]}, and run the command again."):  # fmt: skip
                    held.append(parquet.read_table(path, partitioning=None))

    def _write(self, path: Path, content: bytes) -> None:
        with files.replacing(path) as temporary:
            temporary.write_bytes(content)
            _sync(temporary)
        _sync(path.parent)


def check_table(table: Path, asked: Mapping[str, Any], *, overwrite: bool) -> Counts | None:
    """Looks at what is at a table's place.

    Returns:
        What the very table that was asked for has, if it is there already.

    Raises:
        OptionError: Something else is there, and may not be overwritten.
    """
    if overwrite or not table.exists():
        return None
    what = "no table that 'edgeclf bulk' wrote"
    found = read_about(table)
    if found is not None:
        if not _differing(found, asked):
            return Counts(found["rows"], found["failed"])
        what = f"a table of {_differences(found, asked)}"
    raise OptionError(
        f"{table} exists already: it is {what}. Choose another --to, or replace it with "
        "--overwrite once the new one is complete."
    )


def read_about(table: Path) -> dict[str, Any] | None:
    """What a table says of itself; None if it is none of ours."""
    parquet = parquet_module()
    try:
        with mapped(DataError, f"Cannot read {table}"):
            metadata = parquet.read_schema(table).metadata or {}
        found = json.loads(metadata.get(_METADATA, b"null"))
    except (DataError, ValueError):
        return None
    ours = isinstance(found, dict) and found.get("schema") == SCHEMA
    return found if ours else None


def _differing(found: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Which of the model, the source and the options is another one, however it is spelt."""

    def meant(key: str, value: Any) -> Any:
        return value["sha256"] if key in ("model", "source") else value

    return [key for key in _ASKED if meant(key, found[key]) != meant(key, asked[key])]


def _differences(found: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    words = []
    for key in _differing(found, asked):
        before, now = found[key], asked[key]
        if key == "source" and before["names"] == now["names"]:
            words.append(f"other files than {listed(now['names'])} holds now")
        elif key == "source":
            words.append(f"another source ({listed(before['names'])})")
        elif key == "model":
            words.append(f"another model ({before['name']}, SHA-256 {before['sha256'][:12]}…)")
        else:
            words.append("other options (" + listed(
                f"{name} {before.get(name)!r}, now {value!r}"
                for name, value in now.items() if before.get(name) != value
            ) + ")")  # fmt: skip
    return " and ".join(words)


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode(errors="backslashreplace")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
