"""Damaged pictures and bombs, for fuzz_images.py: what it gives to the decoders.

A damaged picture is made from a seed and its number alone, so any can be made again.
"""

from __future__ import annotations

import io
import random
import re
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
MEGABYTE = 1_000_000

sys.path.insert(0, str(ROOT / "tests"))
from support import pictures  # noqa: E402

Files = Mapping[str, bytes]


def corpus() -> dict[str, bytes]:
    """One intact file of every kind, by name."""
    return {name: picture.content for name, picture in pictures.pictures().items()}


def make_image(files: Files, seed: int, number: int) -> tuple[str, bytes]:
    """The name of the file that was damaged, and what came of it."""
    rng = random.Random(f"{seed}-{number}")
    name = rng.choice(sorted(files))
    content = bytearray(files[name])
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(DAMAGES)(rng, content, files)
    if content[:4] == b"\x89PNG" and rng.random() < 0.8:
        _mend_checksums(content)  # or zlib's checksum would refuse nearly all of it
    return name, bytes(content)


def _cut(rng: random.Random, content: bytearray, _: Files) -> None:
    del content[rng.randrange(len(content) + 1) :]


def _flip_bits(rng: random.Random, content: bytearray, _: Files) -> None:
    for _ in range(rng.choice((1, 2, 8, 32)) if content else 0):
        content[_position(rng, content)] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, content: bytearray, _: Files) -> None:
    start, length = _position(rng, content), rng.choice((1, 4, 16, 64, 256))
    length = min(length, len(content) - start)
    fill = rng.choice((b"\0", b"\xff", b"\x7f", None))
    content[start : start + length] = rng.randbytes(length) if fill is None else fill * length


def _insert(rng: random.Random, content: bytearray, _: Files) -> None:
    start = _position(rng, content)
    content[start:start] = rng.randbytes(rng.choice((1, 2, 4, 32, 1024)))


def _remove(rng: random.Random, content: bytearray, _: Files) -> None:
    start = _position(rng, content)
    del content[start : start + rng.choice((1, 2, 4, 32, 1024))]


def _double(rng: random.Random, content: bytearray, _: Files) -> None:
    start, length = _position(rng, content), rng.choice((2, 8, 64, 512))
    content[start:start] = content[start : start + length] * rng.choice((1, 1, 2, 50))


def _mix(rng: random.Random, content: bytearray, files: Files) -> None:
    other = files[rng.choice(sorted(files))]
    start, taken = _position(rng, content), rng.randrange(len(other))
    content[start : start + rng.choice((0, 64))] = other[taken : taken + rng.choice((16, 256))]


def _renumber(rng: random.Random, content: bytearray, _: Files) -> None:
    """Writes another number into a dimension, a length or an offset."""
    if content[:1] == b"P":
        numbers = list(re.finditer(rb"\d+", content[1:40]))
        if numbers:
            found = rng.choice(numbers)
            value = rng.choice((0, 1, 2, 7, 255, 256, 4096, 65535, 65536, 2**31, 10**20))
            content[found.start() + 1 : found.end() + 1] = str(value).encode()
        return
    places = [(p, n, order) for p, n, order in _numbers(bytes(content)) if p + n <= len(content)]
    if not places:
        return
    start, width, order = rng.choice(places)
    if rng.random() < 0.1:
        order = "big" if order == "little" else "little"
    most = 256**width
    old = int.from_bytes(content[start : start + width], order)
    near = (old + 1, old - 1, old + 8, old * 2, old // 2)
    edges = (0, 1, 2, 7, 255, 4096, 9000, 65_500, most // 2 - 1, most // 2, most - 1)
    value = rng.choice((*near, *edges, rng.randrange(most)))
    content[start : start + width] = (value % most).to_bytes(width, order)


DAMAGES = (_cut, _flip_bits, _overwrite, _insert, _remove, _double, _mix,
           _renumber, _renumber, _renumber)  # fmt: skip


def _position(rng: random.Random, content: bytearray) -> int:
    """Anywhere, but half the time near the start, where the headers are."""
    length = max(1, len(content))
    return rng.randrange(min(length, rng.choice((64, 512))) if rng.random() < 0.5 else length)


def _numbers(content: bytes) -> Iterator[tuple[int, int, str]]:
    """Where a file of any kind keeps numbers: (position, bytes, byte order)."""
    if content[:3] == b"\xff\xd8\xff":
        # Length of each segment and what follows: size and sampling of a frame, and the tables.
        for found in re.finditer(rb"\xff[\xc0-\xcf\xda-\xef]", content):
            yield from ((found.end(), 2, "big"), (found.end() + 2, 1, "big"))
            yield from ((found.end() + 3 + 2 * i, 2, "big") for i in range(2))
            yield from ((found.end() + 7 + i, 1, "big") for i in range(9))
    elif content[:4] == b"\x89PNG":
        for found in re.finditer(rb"[A-Za-z]{4}", content):
            yield from ((found.start() + i, 4, "big") for i in (-4, 4, 8))
            yield from ((found.end() + 8 + i, 1, "big") for i in range(5))
    elif content[:4] == b"RIFF":
        for found in re.finditer(rb"VP8[ LX]|RIFF|ALPH|AN[IM][MF]|EXIF", content):
            yield found.end(), 4, "little"
            yield from ((found.end() + 4 + i, 3, "little") for i in (0, 3, 4, 6, 7, 9))
    elif content[:2] == b"BM":
        yield from ((p, 4, "little") for p in (2, 10, 14, 18, 22, 30, 34, 46, 50, 54, 58))
        yield from ((p, 2, "little") for p in (26, 28))
    elif content[:3] == b"GIF":
        yield from ((p, 2, "little") for p in (6, 8))
        yield from ((p, 1, "little") for p in (10, 11, 12))
        for found in re.finditer(rb"[,!]", content):
            yield from ((found.end() + i, 2, "little") for i in (0, 2, 4, 6))
            yield found.end() + 8, 1, "little"
    elif content[:2] in (b"II", b"MM"):
        order = "little" if content[:1] == b"I" else "big"
        yield 4, 4, order
        directory = int.from_bytes(content[4:8], order)
        for entry in range(directory + 2, min(directory + 300, len(content)), 12):
            yield from ((entry, 2, order), (entry + 2, 2, order))
            yield from ((entry + 4, 4, order), (entry + 8, 4, order), (entry + 8, 2, order))
    elif content[4:8] == b"ftyp":
        for found in re.finditer(rb"[a-z]{3}[a-z0-9C]", content):
            yield found.start() - 4 if found.start() >= 4 else 0, 4, "big"
            yield from ((found.end() + i, 4, "big") for i in (0, 4, 8))
            yield from ((found.end() + i, 1, "big") for i in range(8))


def _mend_checksums(content: bytearray) -> None:
    position = 8
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 8 + length
        if end + 4 > len(content):
            return
        struct.pack_into(">I", content, end, zlib.crc32(content[position + 4 : end]))
        position = end + 4


def bombs() -> dict[str, bytes]:
    """Small files that would cost much; all must be refused at once."""
    buffer = io.BytesIO()
    Image.new("L", (9400, 9400), 128).save(buffer, "JPEG", progressive=True)
    progressive = buffer.getvalue()
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    return {
        "png of 20,000 x 20,000": png_bomb(20_000, 20_000),
        "png of 89,000,000 x 1": png_bomb(89_000_000, 1),
        "gif of 65,535 x 65,535": b"GIF89a" + b"\xff" * 4 + bytes(3) + b";",
        "bmp of 2**31 - 1 squared": b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**31 - 1,
                                                        2**31 - 1, 1, 24, *[0] * 6),
        "progressive jpeg of 3,000 scans": progressive[:-2] + scan * 3000 + progressive[-2:],
    }  # fmt: skip


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of black grey pixels, compressed piece by piece."""
    deflate = zlib.compressobj(9)
    left, piece = height * (1 + width), bytes(MEGABYTE)
    packed = []
    while left > 0:
        packed.append(deflate.compress(piece[:left]))
        left -= len(piece)
    chunks = {
        b"IHDR": struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0),
        b"IDAT": b"".join(packed) + deflate.flush(),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(pictures.png_chunk(*chunk) for chunk in chunks.items())
