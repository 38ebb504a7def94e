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
# What is told by name: it is intact, and needs another program first.
_RAW = "a camera's raw file"
_OTHERS = (
    (b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x0cJXL ", "JPEG XL"), (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"), (b"8BPS", "a Photoshop file"), (b"%PDF", "PDF"),
    (b"FUJIFILMCCD", _RAW), (b"IIRO", _RAW), (b"IIRS", _RAW), (b"IIU\0", _RAW),
)  # fmt: skip
_RAW_BRAND = b"crx "
# Tags of TIFF, and the value of SampleFormat for floating point.
_REDUCED, _WHOLE, _SAMPLE_FORMAT, _DNG, _FLOATS = 254, 330, 339, 50706, 3
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
    elif detected == "TIFF":
        _check_tiff(stream, name)
    other = next((kind for magic, kind in _OTHERS if head.startswith(magic)), None)
    if other or head[4:12] == b"ftyp" + _RAW_BRAND:
        raise _named(name, other or _RAW)
    if detected is None:
        begins = f"its content begins with {head[:8]!r}" if head else "it is empty"
        raise ImageError(
            f"Cannot read {name} as an image: {begins}. "
            f"Expected a file of type {', '.join(FORMATS)}."
        )
    _add_decoder(detected, name)
    return detected


def _named(name: str, kind: str, advice: str = "") -> ImageError:
    return ImageError(
        f"Cannot read {name} as an image: it is {kind}, which edgeclf does not decode. Save it as "
        f"JPEG or PNG first{advice}."
    )


def _check_tiff(stream: IO[bytes], name: str) -> None:
    """Refuses a TIFF whose first picture is but a preview, or holds no levels of brightness."""
    _add_decoder("TIFF", name)
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    head = stream.read(16)
    try:
        tags = ImageFileDirectory_v2(head if b"+" in head[2:4] else head[:8])
        stream.seek(tags.next)
        tags.load(stream)
        is_preview = tags.get(_REDUCED, 0) & 1 and _WHOLE in tags
        is_raw = _DNG in tags or head[8:10] == b"CR" or is_preview
        floats = _FLOATS in tags.get(_SAMPLE_FORMAT, ())
    except Exception:  # damaged, which its decoder tells
        return
    finally:
        stream.seek(0)
    if is_raw:
        raise _named(name, _RAW, ", or pass PIL.Image.open(FILE) for the preview in it")
    if floats:
        raise _named(name, "a TIFF of floating-point samples")


def _add_decoder(format_: str, name: str) -> None:
    """Lets Pillow import one decoder instead of all forty that it knows."""
    if format_ in Image.OPEN:
        return
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
