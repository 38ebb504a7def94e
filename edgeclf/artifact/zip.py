"""The zip archive at the end of an artifact: where its members are, and nothing is unpacked.

A device needs this much of zip and no more; importing `zipfile` takes it longer than reading the
archive. The layout is that of PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16, and
docs/artifact.md says where in the file it lies.
"""

from __future__ import annotations

from struct import Struct, error
from typing import NamedTuple

_END = Struct("<4s2H2H2LH")  # magic, disks, members here and in all, size, position, comment
_ENTRY = Struct("<4s4x2H8x2L3H8xL")  # magic, flags, method, sizes, lengths, position of the header
_HEADER = Struct("<4s22x2H")  # magic, lengths of name and extra field, which the content follows


class Member(NamedTuple):
    """A file in the archive.

    Attributes:
        name: Its path in the archive.
        position: Where its header begins in the whole file.
        size: Bytes of its content in the archive.
        stored: Whether they are the file's own, neither compressed nor encrypted.
    """

    name: str
    position: int
    size: int
    stored: bool


def read_members(content: bytes, comment_size: int) -> list[Member]:
    """What is in the archive that ends with the last byte of `content`.

    Args:
        content: A whole file.
        comment_size: Length of the archive's comment, which is what the file ends with.

    Raises:
        ValueError: There is no such archive.
    """
    end = len(content) - comment_size - _END.size
    try:
        magic, _, _, _, count, size, position, _ = _END.unpack_from(content, max(0, end))
        if magic != b"PK\5\6" or position + size != end:
            raise ValueError("its end is not where it should be")
        members = []
        for _ in range(count):
            magic, flags, method, packed, full, *lengths, header = _ENTRY.unpack_from(
                content, position
            )
            if magic != b"PK\1\2":
                raise ValueError("an entry has no magic")
            start = position + _ENTRY.size
            name = content[start : start + lengths[0]].decode(errors="replace")
            stored = method == 0 and not flags & 1 and packed == full
            members.append(Member(name, header, packed, stored))
            position = start + sum(lengths)
    except error as exc:
        raise ValueError(f"it is cut short ({exc})") from exc
    return members


def read_stored(content: bytes, member: Member) -> bytes:
    """The content of a member that is stored as it is.

    Raises:
        ValueError: It is not all there.
    """
    try:
        magic, *lengths = _HEADER.unpack_from(content, member.position)
    except error as exc:
        raise ValueError(f"it is cut short ({exc})") from exc
    start = member.position + _HEADER.size + sum(lengths)
    if magic != b"PK\3\4" or start + member.size > len(content):
        raise ValueError(f"{member.name!r} is not where it says")
    return content[start : start + member.size]
