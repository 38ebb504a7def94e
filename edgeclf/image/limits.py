"""What a picture may cost: bytes, pixels and the effort of decoding them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

from PIL import Image

from edgeclf.errors import ImageError
from edgeclf.image.formats import JPEG_FORMATS

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 89_478_485  # Pillow's own alarm level: 256 MB of RGB
MAX_SIDE = 65_535  # what a JPEG can be at most; the filter's weights grow with the longest side
MAX_SCANS = 50  # of a progressive JPEG: about ten are usual, each goes over the whole picture

_SLOW_DECODERS = ("ppm", "ppm_plain")  # Pillow's decoders in Python: 1 us a sample
_MAX_SLOW_PIXELS = 2**20
_JPEG_SEGMENT = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")  # no stuffed 0xff, no restart marker
_JPEG_START, _JPEG_SCAN, _JPEG_END = 0xD8, 0xDA, 0xD9
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def check_size(size: tuple[int, int]) -> None:
    """Refuses a picture of more than `MAX_PIXELS` or `MAX_SIDE`.

    Args:
        size: Width and height.

    Raises:
        ImageError: It is larger.
    """
    if size[0] * size[1] > MAX_PIXELS or max(size) > MAX_SIDE:
        raise ImageError(
            f"The image has {size[0]}x{size[1]} pixels; the limit is {MAX_PIXELS:,} in all and "
            f"{MAX_SIDE:,} a side. Shrink it before classifying."
        )


def check_effort(image: Image.Image, stream: IO[bytes]) -> None:
    """Refuses what takes far longer to decode than its size suggests.

    Args:
        image: Opened, not decoded yet.
        stream: Its file, left where it is.

    Raises:
        ImageError: It is such a picture.
    """
    if image.info.get("progressive") and image.format in JPEG_FORMATS:
        position = stream.tell()
        stream.seek(0)
        scans = _count_scans(stream.read())
        stream.seek(position)
        if scans > MAX_SCANS:
            raise ImageError(
                f"The progressive JPEG has more than {MAX_SCANS} scans, which no camera writes and "
                "which take very long to decode. Save it again before classifying."
            )
    tiles = getattr(image, "tile", None)
    slow = tiles and tiles[0][0] in _SLOW_DECODERS
    if slow and image.width * image.height > _MAX_SLOW_PIXELS:
        raise ImageError(
            f"The image has {image.width}x{image.height} pixels; the limit for a PPM that is text, "
            f"or whose maximum is neither 255 nor 65535, is {_MAX_SLOW_PIXELS:,}. Save it as PNG."
        )


def _count_scans(jpeg: bytes) -> int:
    """The scans of a JPEG, up to one more than is allowed."""
    scans = 0
    for marker, _ in _segments(jpeg):
        scans += marker == _JPEG_SCAN
        if scans > MAX_SCANS:
            break
    return scans


def jpeg_bits(jpeg: bytes) -> int | None:
    """The bits of a sample that a JPEG's header names, if it has one."""
    starts = (start for marker, start in _segments(jpeg) if marker in _JPEG_FRAMES)
    return next((bits for start in starts for bits in jpeg[start + 2 : start + 3]), None)


def _segments(jpeg: bytes) -> Iterator[tuple[int, int]]:
    """Marker of each segment up to the end, and where what follows it begins."""
    position = 0
    while segment := _JPEG_SEGMENT.search(jpeg, position):
        marker, position = segment[0][1], segment.end()
        if marker == _JPEG_END:
            return
        yield marker, position
        if marker != _JPEG_START:  # every other segment says its length
            position += int.from_bytes(jpeg[position : position + 2], "big")
