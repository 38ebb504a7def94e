"""Tar shards as WebDataset has them: members of one sample share a key, its pictures are rows."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from edgeclf.datasets.folders import is_photo
from edgeclf.errors import DataError, mapped
from edgeclf.image import MAX_BYTES
from edgeclf.tables.items import Item
from edgeclf.tables.storage import is_remote, opened

_ADVICE = "Copy or make the archive again."


class _Header(tarfile.TarInfo):
    """Remembers what ended an archive: Python's reader takes damage for the end."""

    @classmethod
    def fromtarfile(cls, tar: Any) -> Any:
        try:
            return super().fromtarfile(tar)
        except tarfile.HeaderError as exc:
            tar.ended_by = exc
            raise


@dataclass(frozen=True)
class TarPiece:
    """One shard.

    Attributes:
        number: Its place in the source.
        name: As the source calls it.
        place: Where it can be read.
    """

    number: int
    name: str
    place: str

    def items(self, skip: int) -> Iterator[Item]:
        """See `edgeclf.tables.items.Piece`; damage is the last row."""
        passed = 0
        try:
            with opened(self.place) as stream, self._tar(stream) as tar:
                while (member := self._next(tar)) is not None:
                    if not member.isreg() or not is_photo(member.name.rpartition("/")[2]):
                        continue
                    if passed >= skip:
                        yield self._item(tar, member)
                    passed += 1
        except DataError as exc:
            if passed >= skip:
                yield Item(self.number, self.name, self.place, None, str(exc))

    def _tar(self, stream: IO[bytes]) -> tarfile.TarFile:
        # A file of this machine is jumped in; anything else is read through once.
        whole = is_remote(self.place) or not self.place.endswith(".tar")
        with mapped(DataError, f"Cannot read {self.place} as a tar archive", _ADVICE):
            return tarfile.open(
                fileobj=stream, mode="r|*" if whole else "r:", tarinfo=_Header, bufsize=2**20
            )

    def _next(self, tar: Any) -> tarfile.TarInfo | None:
        with mapped(DataError, f"{self.place} is damaged behind its last good picture", _ADVICE):
            member: tarfile.TarInfo | None = tar.next()
            tar.members.clear()  # which would hold all of them
            if member is None and type(tar.ended_by).__name__ != "EOFHeaderError":
                raise tarfile.ReadError(str(tar.ended_by).strip() or "it ends too early")
            return member

    def _item(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> Item:
        folder, slash, base = member.name.rpartition("/")
        key = folder + slash + base.partition(".")[0]
        path = f"{self.place}/{member.name}"
        if member.size > MAX_BYTES:
            error = f"{path} has {member.size:,} bytes; the limit is {MAX_BYTES:,}."
            return Item(self.number, key, path, None, error)
        with mapped(DataError, f"{self.place} is damaged in {member.name}", _ADVICE):
            content = tar.extractfile(member)
            assert content is not None
            return Item(self.number, key, path, content.read())
