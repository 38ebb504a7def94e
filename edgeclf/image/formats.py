"""Which files are pictures: told from their content, never from their name."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import IO, Any

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

_HEAD_BYTES = 1024  # enough to tell a format, of SVG behind a comment too
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"BM", "BMP"), (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
    *((b"P%d" % n, "PPM") for n in range(1, 7)),
)  # fmt: skip
# What is told by name: it is intact, and needs another program first.
_RAW = "a camera's raw file"
_OTHERS = (
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"), (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"8BPS", "a Photoshop file"), (rb"%PDF", "PDF"), (rb"\x76\x2f\x31\x01", "OpenEXR"),
    (rb"P[Ff]\s", "PFM"), (rb"P7\n", "PAM"), (rb"#\?RADIANCE|#\?RGBE", "Radiance HDR"),
    (rb"qoif", "QOI"), (rb"DDS ", "DDS"), (rb"\0\0[\1\2]\0(?!ftyp)", "an icon (ICO)"),
    (rb"(\xef\xbb\xbf)?\s*(<\?xml.*|<!--.*|<!DOCTYPE svg.*)?<svg[\s>]", "SVG"),
    (rb"FUJIFILMCCD|IIRO|IIRS|IIU\0|FOVb|\0MRM|....ftypcrx ", _RAW),
)  # fmt: skip
# Tags of TIFF, and their values that name no levels of brightness.
_REDUCED, BITS, PHOTOMETRIC, _WHOLE, SAMPLE_FORMAT, _DNG = 254, 258, 262, 330, 339, 50706
_TAGS = (_REDUCED, BITS, PHOTOMETRIC, _WHOLE, SAMPLE_FORMAT, _DNG)
_UNSIGNED, SIGNED = 1, 2
_SAMPLES = {3: "floating-point", 5: "complex", 6: "complex"}
_SENSORS = {32803: "a colour filter array (CFA)", 34892: "LinearRaw"}
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
    detected = format_of(head)
    if detected == "TIFF":
        _check_tiff(stream, name)
    other = next((kind for magic, kind in _OTHERS if re.match(magic, head, re.DOTALL)), None)
    if other:
        raise named(name, other)
    if detected is None:
        begins = f"its content begins with {head[:8]!r}" if head else "it is empty"
        raise ImageError(
            f"Cannot read {name} as an image: {begins}. "
            f"Expected a file of type {', '.join(FORMATS)}."
        )
    _add_decoder(detected, name)
    return detected


def format_of(head: bytes) -> str | None:
    """What the first bytes of a file say; None if it is none of `FORMATS`."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":  # ISO base media: the brands say what is in it
        brands = {head[i : i + 4] for i in range(8, min(head[3], len(head)), 4)}
        avif = bool(brands & {b"avif", b"avis"})
        return "AVIF" if avif else "HEIF" if brands & _HEIF_BRANDS else None
    return next((format_ for magic, format_ in _MAGIC if head.startswith(magic)), None)


def named(name: str, kind: str, advice: str = "") -> ImageError:
    """What to raise of an intact file of another kind."""
    return ImageError(
        f"Cannot read {name} as an image: it is {kind}, which edgeclf does not decode. Save it as "
        f"JPEG or PNG first{advice}."
    )


def _check_tiff(stream: IO[bytes], name: str) -> None:
    """Refuses a TIFF whose first picture is but a preview, or holds no levels of brightness."""
    is_cr2 = stream.read(10)[8:] == b"CR"
    tags = read_tags(stream)
    is_preview = tags.get(_REDUCED, (0,))[0] & 1 and _WHOLE in tags
    if is_cr2 or is_preview or _DNG in tags:
        raise named(name, _RAW, ", or pass PIL.Image.open(FILE) for the preview in it")
    check_samples(tags, name)


def read_tags(stream: IO[bytes]) -> dict[int, tuple[Any, ...]]:
    """As `chosen_tags`, of the first picture of a file; none if they are damaged."""
    _add_decoder("TIFF", "the file")
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    stream.seek(0)
    head = stream.read(16)
    try:
        tags = ImageFileDirectory_v2(head if b"+" in head[2:4] else head[:8])
        stream.seek(tags.next)
        tags.load(stream)
        return chosen_tags(tags)
    except Exception:  # damaged, which its decoder tells
        return {}
    finally:
        stream.seek(0)


def chosen_tags(tags: Mapping[int, Any]) -> dict[int, tuple[Any, ...]]:
    """The tags of a TIFF that say what its samples are, each a tuple."""
    chosen = {tag: tags[tag] for tag in _TAGS if tag in tags}
    return {tag: v if isinstance(v, tuple) else (v,) for tag, v in chosen.items()}


def check_samples(tags: Mapping[int, tuple[Any, ...]], name: str) -> None:
    """Refuses a TIFF by its tags if its samples are no levels of brightness, or too long.

    Pillow takes unsigned samples of 32 bits for signed ones.

    Raises:
        ImageError: It is one of floating-point, complex, long or a sensor's own samples.
    """
    formats = tags.get(SAMPLE_FORMAT, (_UNSIGNED,))
    bits = max(tags.get(BITS, (1,)))
    kinds = [f"{_SAMPLES[each]} samples" for each in formats if each in _SAMPLES]
    sensors = [_SENSORS[each] for each in tags.get(PHOTOMETRIC, ()) if each in _SENSORS]
    kinds += [f"a sensor's samples, {sensor}" for sensor in sensors]
    if _UNSIGNED in formats and bits > 16:
        kinds.append(f"unsigned samples of {bits} bits")
    if kinds:
        raise named(name, f"a TIFF of {kinds[0]}")


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
