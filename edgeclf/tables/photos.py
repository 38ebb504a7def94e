"""Pictures that are files: below a folder, or named in a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgeclf.tables.items import PIECE_ROWS, Item
from edgeclf.tables.storage import File, joined, opened


@dataclass(frozen=True)
class PhotoPiece:
    """A few hundred files.

    Attributes:
        number: Its place in the source.
        folder: What the names are relative to; empty if to nothing.
        names: Joined by NUL, as a million texts would take twice the room.
    """

    number: int
    folder: str
    names: str

    def items(self, skip: int) -> Iterator[Item]:
        """See `edgeclf.tables.items.Piece`."""
        for name in self.names.split("\0")[skip:]:
            place = joined(self.folder, name)
            yield Item(self.number, name, place, place)


def photo_pieces(folder: str, names: Iterable[str]) -> Iterator[PhotoPiece]:
    """Pieces of as many files each."""
    held: list[str] = []
    number = 0
    for name in names:
        held.append(name)
        if len(held) == PIECE_ROWS:
            yield PhotoPiece(number, folder, "\0".join(held))
            number += 1
            held = []
    if held:
        yield PhotoPiece(number, folder, "\0".join(held))


def lines_of(file: File) -> Iterator[str]:
    """The lines of a list, but for empty ones."""
    with opened(file.place) as stream:
        for line in stream:
            name = line.decode("utf-8", "surrogateescape").rstrip("\r\n").replace("\0", "\\0")
            if name.strip():
                yield name
