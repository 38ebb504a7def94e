"""What a source is made of: pieces that can be read anywhere and again, and their pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from edgeclf.errors import DataError
from edgeclf.tables import storage

PIECE_ROWS = 512  # pictures of a piece, where the source does not say
_FETCHES = 16  # at once


class Item(NamedTuple):
    """One picture of a source.

    Attributes:
        piece: The number of the piece that it is in.
        id: What the source calls it.
        path: Where it was read.
        image: Its path, URL or bytes; None if there is no such thing.
        error: Why, then.
    """

    piece: int
    id: str
    path: str
    image: str | bytes | None
    error: str | None = None


class End(NamedTuple):
    """Follows the last picture of a piece."""

    piece: int


Entry: TypeAlias = "Item | End"


class Piece(Protocol):
    """A part of a source that always has the same pictures in the same order; can be pickled."""

    @property
    def number(self) -> int:
        """Its place in the source, from 0."""

    def items(self, skip: int) -> Iterator[Item]:
        """Its pictures but for the first few."""


@dataclass(frozen=True)
class Source:
    """Where pictures come from.

    Attributes:
        kind: ``photos``, ``parquet`` or ``tar``.
        names: As they were given.
        sha256: Of the names, sizes and times of its files: it is another one once they change.
        pieces: In order.
        rows: Pictures in all; None where only reading it through would tell.
    """

    kind: str
    names: tuple[str, ...]
    sha256: str
    pieces: Sequence[Piece]
    rows: int | None


def entries(pieces: Iterable[tuple[Piece, int]]) -> Iterator[Entry]:
    """The pictures of pieces, each but for its first few, and where each piece ends."""
    for piece, skip in pieces:
        yield from piece.items(skip)
        yield End(piece.number)


def fetched(found: Iterator[Entry]) -> Iterator[Entry]:
    """The same with bytes in place of URLs, several of which are fetched at once, in order."""
    waiting: deque[Entry | Future[Entry]] = deque()
    pool: ThreadPoolExecutor | None = None
    try:
        for entry in found:
            if isinstance(entry, Item) and isinstance(entry.image, str) and (
                storage.is_remote(entry.image)
            ):  # fmt: skip
                pool = pool or ThreadPoolExecutor(_FETCHES, thread_name_prefix="edgeclf-fetch")
                waiting.append(pool.submit(_fetched, entry))
            else:
                waiting.append(entry)
            # Of what need not be fetched nothing waits, unless behind what must be.
            while waiting and (len(waiting) > 2 * _FETCHES or not isinstance(waiting[0], Future)):
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)


def _fetched(item: Item) -> Item:
    assert isinstance(item.image, str)
    try:
        return item._replace(image=storage.fetch(item.image))
    except DataError as exc:
        return item._replace(image=None, error=str(exc))


def _result(entry: Entry | Future[Entry]) -> Entry:
    return entry.result() if isinstance(entry, Future) else entry
