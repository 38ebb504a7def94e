"""Which files are pictures: told from their content, never from their name."""

from __future__ import annotations

import importlib
from typing import IO

from PIL import Image

from edgeclf.errors import ImageError

# What is decoded, and the module of Pillow that does it. JPEG includes MPO, PNG includes APNG.
_PLUGINS = {
    "JPEG": "PIL.JpegImagePlugin",
    "PNG": "PIL.PngImagePlugin",
    "WEBP": "PIL.WebPImagePlugin",
    "BMP": "PIL.BmpImagePlugin",
    "GIF": "PIL.GifImagePlugin",
    "TIFF": "PIL.TiffImagePlugin",
    "PPM": "PIL.PpmImagePlugin",
    "AVIF": "PIL.AvifImagePlugin",
    "HEIF": "pillow_heif",
}
FORMATS = tuple(_PLUGINS)
JPEG_FORMATS = ("JPEG", "MPO")  # Pillow's names: MPO is several JPEGs in one file

_HEAD_BYTES = 64  # enough to tell a format
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"BM", "BMP"), (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
    *((b"P%d" % n, "PPM") for n in range(1, 7)),
)  # fmt: skip
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def detect_format(stream: IO[bytes], name: str) -> str:
    """The format of the content, with its decoder ready.

    Args:
        stream: At its start, where it is left.
        name: What to call it in a message.

    Raises:
        ImageError: It is none of `FORMATS`, or its decoder is not installed.
    """
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    detected = next((format_ for magic, format_ in _MAGIC if head.startswith(magic)), None)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        detected = "WEBP"
    elif head[4:8] == b"ftyp":  # ISO base media: the brands say what is in it
        brands = {head[i : i + 4] for i in range(8, min(head[3], len(head)), 4)}
        avif = bool(brands & {b"avif", b"avis"})
        detected = "AVIF" if avif else "HEIF" if brands & _HEIF_BRANDS else None
    if detected is None:
        begins = f"its content begins with {head[:8]!r}" if head else "it is empty"
        raise ImageError(
            f"Cannot read {name} as an image: {begins}. "
            f"Expected a file of type {', '.join(FORMATS)}."
        )
    if detected not in Image.OPEN:
        _add_decoder(detected, name)
    return detected


def _add_decoder(format_: str, name: str) -> None:
    """Lets Pillow import one decoder instead of all forty that it knows."""
    try:
        module = importlib.import_module(_PLUGINS[format_])
    except ImportError:
        module = None
    if format_ == "HEIF" and module is not None:
        module.register_heif_opener()
    if format_ not in Image.OPEN:
        words = "'edgeclf[heic]'" if format_ == "HEIF" else "-U pillow"
        raise ImageError(
            f"{name} is of type {format_}, which nothing installed here decodes. "
            f"Install what does: pip install {words}"
        )
