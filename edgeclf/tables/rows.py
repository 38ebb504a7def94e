"""Answers as rows of an Arrow table."""

from __future__ import annotations

import heapq
import io
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from edgeclf.inference.prediction import Failure, Prediction
from edgeclf.tables.items import End, Entry, Item
from edgeclf.tables.parquet import parquet_module

COLUMNS = (
    "id", "path", "label", "probability", "confidence", "unknown", "novelty", "top_labels",
    "top_probabilities", "error", "message", "model_sha256",
)  # fmt: skip
_PART_ROWS = 8192
_PART_S = 10.0  # of work that a power cut may cost


def schema() -> Any:
    """The columns of every table; docs/bulk.md explains them."""
    import pyarrow as pa

    kinds = {
        "id": pa.string(), "path": pa.string(), "label": pa.string(),
        "probability": pa.float32(), "confidence": pa.float32(), "unknown": pa.bool_(),
        "novelty": pa.float32(), "top_labels": pa.list_(pa.string()),
        "top_probabilities": pa.list_(pa.float32()), "error": pa.string(),
        "message": pa.string(), "model_sha256": pa.string(),
    }  # fmt: skip
    always = ("id", "path", "model_sha256")
    return pa.schema([pa.field(name, kinds[name], name not in always) for name in COLUMNS])


class Part(NamedTuple):
    """Some rows of a piece, one after another.

    Attributes:
        piece: Its number.
        start: The first row's place in it.
        stop: The last one's, and one.
        failed: How many of them are errors.
        end: Whether the piece has no more.
        content: A Parquet file.
    """

    piece: int
    start: int
    stop: int
    failed: int
    end: bool
    content: bytes


class Rows:
    """Collects answers, and gives them away a part at a time.

    Args:
        sha256: The artifact's.
        top: Classes in a row's lists.
        starts: Rows of pieces that are there already, by the number of the piece.
    """

    def __init__(self, sha256: str, top: int, starts: Mapping[int, int]) -> None:
        self._sha256, self._top, self._starts = sha256, top, dict(starts)
        self._schema = schema()
        self._columns: list[list[Any]] = [[] for _ in COLUMNS]
        self._piece: int | None = None
        self._since = time.monotonic()

    def add(self, entry: Entry, answer: Prediction | Failure | None) -> Part | None:
        """Takes the next answer, or a piece's end; gives a part where it is time for one."""
        if isinstance(entry, End):
            self._piece = entry.piece
            return self._part(end=True)
        self._piece = entry.piece
        for column, value in zip(self._columns, self._row(entry, answer), strict=True):
            column.append(value)
        full = len(self._columns[0]) >= _PART_ROWS or time.monotonic() - self._since > _PART_S
        return self._part(end=False) if full else None

    def rest(self) -> Part | None:
        """What is left of a run that ends early."""
        return self._part(end=False) if self._columns[0] else None

    def _row(self, item: Item, answer: Prediction | Failure | None) -> tuple[Any, ...]:
        front = (_text(item.id), _text(item.path))
        if not isinstance(answer, Prediction):
            kind = "DataError" if answer is None else type(answer.error).__name__
            message = item.error if answer is None else str(answer.error)
            nothing = (None,) * 7
            return (*front, *nothing, kind, _text(message or ""), self._sha256)
        shares = answer.probabilities
        best = heapq.nlargest(self._top, range(len(shares)), key=shares.__getitem__)
        return (
            *front, answer.label, shares[best[0]], answer.confidence, answer.unknown,
            answer.novelty, [answer.labels[at] for at in best], [shares[at] for at in best],
            None, None, self._sha256,
        )  # fmt: skip

    def _part(self, *, end: bool) -> Part:
        import pyarrow as pa

        assert self._piece is not None
        whole = min(map(len, self._columns))  # an interrupt may have come within a row
        columns = [column[:whole] for column in self._columns]
        table = pa.table(columns, schema=self._schema)
        failed = whole - table["error"].null_count
        start = self._starts.get(self._piece, 0)
        self._starts[self._piece] = stop = start + table.num_rows
        part = Part(self._piece, start, stop, failed, end, _as_parquet(table))
        self._columns = [[] for _ in COLUMNS]
        self._since = time.monotonic()
        return part


def _as_parquet(table: Any) -> bytes:
    buffer = io.BytesIO()
    parquet_module().write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _text(name: str) -> str:
    """A name that Arrow takes; a byte that is no text is shown as one."""
    return name.encode(errors="backslashreplace").decode()
