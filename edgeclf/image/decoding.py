"""Any photo to the model's tensor: the one preprocessing of training, conversion and device.

The policy, in the order it is applied:

1. A file of more than `MAX_BYTES` is refused before it is read.
2. The format is told from the content, never from the file's name, and must be one of `FORMATS`.
3. The size in the header is checked against `MAX_PIXELS` and `MAX_SIDE`, and the scans of a
   progressive JPEG against `MAX_SCANS`, before anything is decoded.
4. A JPEG is decoded at the smallest of its DCT scales (1, 1/2, 1/4, 1/8) that still gives twice
   the model's input in each direction, unless the spec turns that off.
5. EXIF orientation is applied; an unreadable EXIF block counts as upright.
6. Animations give their first frame; 16-bit channels keep their upper 8 bits; palettes, grey and
   CMYK become RGB; transparent pixels are laid over white. A PIL image shows the frame it is at.
7. Colour profiles are not applied: the numbers in the file are what the model sees. Neither the
   data sets that weights are trained on nor a camera's raw frames are colour-managed, and the
   answer must not depend on the colour engine that a device has.
8. The picture is fitted to the input size by the spec's policy, filtered by the spec's kernel.

A picture that arrives already decoded (an array, a camera frame) has only its size checked, skips
steps 1 to 5 and is reduced from full size. That and a scaled decode differ by less than one level
of 255 in the mean; a spec with ``scaled_decode=False`` makes them the same.
"""

from __future__ import annotations

import importlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal, TypeAlias, TypeGuard, cast, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from edgeclf.errors import ImageError, OptionError

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
_File: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]
ImageSource: TypeAlias = _File | Image.Image | npt.NDArray[Any]

ResizePolicy = Literal["stretch", "crop", "letterbox"]
ResizeKernel = Literal["bilinear", "bicubic", "lanczos", "box"]

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
MAX_BYTES = 256 * 2**20
MAX_PIXELS = 89_478_485  # Pillow's own alarm level: 256 MB of RGB
MAX_SIDE = 65_535  # what a JPEG can be at most; the filter's weights grow with the longest side
MAX_SCANS = 50  # of a progressive JPEG: about ten are usual, each goes over the whole picture
BACKGROUND = (255, 255, 255)  # what shows through transparent pixels
LETTERBOX = (127, 127, 127)  # the borders of "letterbox": zero after (x - 127) / 128

_DRAFT_MARGIN = 2  # decode at no less than this many times the input size before filtering
_KERNELS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
_ORIENTATION_TAG = 0x0112
_FIRST_TRANSPOSED = 5  # from here on, an orientation swaps rows and columns
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SLOW_DECODERS = ("ppm", "ppm_plain")  # Pillow's decoders in Python: 1 us a sample
_MAX_SLOW_PIXELS = 2**20
_JPEG_FORMATS = ("JPEG", "MPO")  # Pillow's names: MPO is several JPEGs in one file
_PIECE = 2**20
_HEAD_BYTES = 64  # enough to tell a format
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"BM", "BMP"), (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
    *((b"P%d" % n, "PPM") for n in range(1, 7)),
)  # fmt: skip
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_JPEG_SEGMENT = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")  # no stuffed 0xff, no restart marker
_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # one letter would be a drive


@dataclass(frozen=True)
class ImageSpec:
    """How a photo becomes a tensor; part of every artifact.

    Attributes:
        height: Rows of the model's input.
        width: Columns of the model's input.
        resize: ``stretch`` ignores the aspect ratio, ``crop`` keeps the centre, ``letterbox``
            keeps everything inside grey borders.
        kernel: The resampling filter; all of them average over the source area when shrinking.
        scaled_decode: Whether JPEGs may be decoded at a reduced DCT scale.
    """

    height: int
    width: int
    resize: ResizePolicy = "stretch"
    kernel: ResizeKernel = "bilinear"
    scaled_decode: bool = True

    def __post_init__(self) -> None:
        if not (0 < self.height <= 8192 and 0 < self.width <= 8192):
            raise OptionError(
                f"Input size is {self.height}x{self.width}; expected 1 to 8192 pixels a side."
            )
        if self.resize not in get_args(ResizePolicy):
            raise OptionError(
                f"Resize policy is {self.resize!r}; expected one of {get_args(ResizePolicy)}."
            )
        if self.kernel not in _KERNELS:
            raise OptionError(f"Kernel is {self.kernel!r}; expected one of {tuple(_KERNELS)}.")

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain JSON types."""
        return asdict(self)


def load_image(source: ImageSource, spec: ImageSpec) -> UInt8Array:
    """Turns one picture into the tensor that a model takes.

    Args:
        source: A path, the bytes of an image file, a binary file object, a PIL image, or an
            array [H, W, 3] uint8 RGB in 0..255 (also [H, W], [H, W, 1] grey and [H, W, 4] RGBA).
        spec: Input size and resize policy, usually ``artifact.metadata.image``.

    Returns:
        uint8 RGB [spec.height, spec.width, 3], 0..255.

    Raises:
        ImageError: The picture is missing, damaged, too large or of a kind that is not accepted.
    """
    return resize_image(decode_image(source, spec), spec)


def decode_image(source: ImageSource, spec: ImageSpec) -> Image.Image:
    """Decodes one picture to upright RGB, at full or reduced size; see the module's policy.

    Args:
        source: As for `load_image`.
        spec: Tells how far a JPEG may be reduced while decoding.

    Returns:
        A PIL image in mode RGB, upright.

    Raises:
        ImageError: As for `load_image`.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        content = _jpeg_behind(source)
        if content is None:
            return _from_pil(source)
        source = content
    name, stream = _open_stream(source)
    try:
        with _explained(name):
            image = Image.open(stream, formats=[_detect_format(stream, name)])
            _check_size(image.size)
            _check_effort(image, stream)
            if spec.scaled_decode and image.format in _JPEG_FORMATS:
                size = (spec.width * _DRAFT_MARGIN, spec.height * _DRAFT_MARGIN)
                image.draft(None, size[::-1] if _orientation(image) >= _FIRST_TRANSPOSED else size)
            image.load()
            return _to_rgb(_upright(image))
    finally:
        if stream is not source:
            stream.close()


def resize_image(image: Image.Image, spec: ImageSpec) -> UInt8Array:
    """Fits an upright RGB image to the input size.

    Args:
        image: PIL image in mode RGB.
        spec: Input size, resize policy and kernel.

    Returns:
        uint8 RGB [spec.height, spec.width, 3], 0..255.
    """
    size = (spec.width, spec.height)
    kernel = _KERNELS[spec.kernel]
    if spec.resize == "stretch":
        return np.asarray(image.resize(size, kernel))
    scale = (max if spec.resize == "crop" else min)(
        spec.width / image.width, spec.height / image.height
    )
    if spec.resize == "crop":
        width, height = spec.width / scale, spec.height / scale
        left, top = (image.width - width) / 2, (image.height - height) / 2
        box = (max(left, 0.0), max(top, 0.0),
               min(left + width, image.width), min(top + height, image.height))  # fmt: skip
        return np.asarray(image.resize(size, kernel, box=box))
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", size, LETTERBOX)
    canvas.paste(
        image.resize(inner, kernel), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
    )
    return np.asarray(canvas)


def is_tensor(source: ImageSource, spec: ImageSpec) -> TypeGuard[UInt8Array]:
    """Whether `load_image` would return the very values given: an array that fits already."""
    return (
        isinstance(source, np.ndarray)
        and source.dtype == np.uint8
        and source.shape == (spec.height, spec.width, 3)
    )


def is_url(source: object) -> TypeGuard[str]:
    """Whether a source is a URL; those are for a fetcher, `load_image` refuses them."""
    return isinstance(source, str) and _URL.match(source) is not None


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns whatever a decoder raises on a file into an ImageError.

    Pillow's parsers let almost any exception escape on damaged input: TypeError from a TIFF,
    ZeroDivisionError from an AVIF. Warnings may be errors, too.
    """
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as exc:
        raise ImageError(
            f"{name} is too large to be decoded: {exc}. edgeclf's own limit is {MAX_PIXELS:,} "
            "pixels. Shrink it before classifying."
        ) from exc
    except Exception as exc:
        reason = str(exc) or type(exc).__name__
        if isinstance(exc, UnidentifiedImageError):  # its text is an object's address
            reason = "its header is damaged"
        raise ImageError(
            f"Cannot read {name} as an image: {reason}. "
            f"Expected an intact file of type {', '.join(FORMATS)}."
        ) from exc


def _open_stream(source: _File) -> tuple[str, IO[bytes]]:
    """A seekable stream of bounded size over the source, with what to call it in a message."""
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)  # costs nothing for bytes; a view may have gaps
        name, stream = f"the {len(content)} bytes given", cast(IO[bytes], io.BytesIO(content))
    elif is_url(source):
        raise ImageError(
            f"{source} is a URL; edgeclf fetches nothing by itself. Pass what does, as in "
            "Classifier(model, fetch=lambda url: urllib.request.urlopen(url).read())."
        )
    elif isinstance(source, str | os.PathLike):
        name = os.fsdecode(source).replace("\0", "\\0")
        try:
            stream = open(source, "rb")  # noqa: SIM115 - handed on
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or exc
            raise ImageError(f"Cannot open {name}: {reason}. Check the path.") from exc
    elif hasattr(source, "read"):
        name, stream = "the file object given", source
    else:
        raise ImageError(
            f"Received {type(source).__name__}; expected a path, bytes, a binary file object, "
            "a PIL image or a uint8 array [H, W, 3]."
        )
    bounded = None
    try:
        bounded = _bounded(stream, name)
        return name, bounded
    finally:  # not needed any more after an error, or when all of it is in memory
        if stream is not bounded and stream is not source:
            stream.close()


def _bounded(stream: IO[bytes], name: str) -> IO[bytes]:
    """The stream from its start, if it is not too large; in memory, if it cannot be wound back."""
    try:
        if hasattr(stream, "seek") and getattr(stream, "seekable", lambda: True)():
            stream.seek(0, os.SEEK_END)
            size, bounded = stream.tell(), stream
            if not isinstance(stream.read(0), bytes):
                raise TypeError("it gives text")
        else:
            bounded = io.BytesIO()
            # A pipe or a socket may give less than it is asked for.
            while bounded.tell() <= MAX_BYTES and (part := stream.read(_PIECE)):
                bounded.write(part)
            size = bounded.tell()
        bounded.seek(0)
    except Exception as exc:  # whatever the caller's object raises
        raise ImageError(
            f"Cannot read {name}: {exc}. Expected a binary file, opened with 'rb'."
        ) from exc
    if size > MAX_BYTES:
        known = f"{size:,}" if bounded is stream else f"more than {MAX_BYTES:,}"
        raise ImageError(
            f"{name} has {known} bytes; the limit is {MAX_BYTES:,}. "
            "Shrink the picture before classifying."
        )
    return bounded


def _detect_format(stream: IO[bytes], name: str) -> str:
    """The format of the content, with its decoder ready."""
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    found = next((format_ for magic, format_ in _MAGIC if head.startswith(magic)), None)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        found = "WEBP"
    elif head[4:8] == b"ftyp":  # ISO base media: the brands say what is in it
        brands = {head[i : i + 4] for i in range(8, min(head[3], len(head)), 4)}
        avif = bool(brands & {b"avif", b"avis"})
        found = "AVIF" if avif else "HEIF" if brands & _HEIF_BRANDS else None
    if found is None:
        begins = f"its content begins with {head[:8]!r}" if head else "it is empty"
        raise ImageError(
            f"Cannot read {name} as an image: {begins}. "
            f"Expected a file of type {', '.join(FORMATS)}."
        )
    if found not in Image.OPEN:
        _add_decoder(found, name)
    return found


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


def _jpeg_behind(image: Image.Image) -> bytes | None:
    """The file behind a PIL image that is a JPEG and not decoded yet.

    As bytes it takes the file's path, with a scaled decode, and leaves the caller's image as it
    was: `draft` would shrink it. Other formats give the same pixels either way.
    """
    stream: IO[bytes] | None = getattr(image, "fp", None)
    undecoded = image.format in _JPEG_FORMATS and getattr(image, "tile", None)
    if stream is None or not undecoded or image.tell() != 0:
        return None
    with _explained("the PIL image given"):
        position = stream.tell()
        try:
            stream.seek(0)
            return stream.read(MAX_BYTES + 1)
        finally:
            stream.seek(position)


def _from_pil(image: Image.Image) -> Image.Image:
    _check_size(image.size)
    with _explained("the PIL image given"):
        image.load()
        return _to_rgb(_upright(image))


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    if array.dtype != np.uint8:
        raise ImageError(
            f"Received an array of {array.dtype}; expected uint8 in 0..255. Scale it back, for "
            "example (x * 255).round().astype('uint8'); normalisation is part of the model."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(
            f"Received an array of shape {array.shape}; expected [H, W, 3]. "
            "For a batch, use classify_batch; for channels first, transpose it."
        )
    if 0 in array.shape:
        raise ImageError(f"Received an empty array of shape {array.shape}.")
    _check_size((array.shape[1], array.shape[0]))
    return _to_rgb(Image.fromarray(np.ascontiguousarray(array)))


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS or max(size) > MAX_SIDE:
        raise ImageError(
            f"The image has {size[0]}x{size[1]} pixels; the limit is {MAX_PIXELS:,} in all and "
            f"{MAX_SIDE:,} a side. Shrink it before classifying."
        )


def _check_effort(image: Image.Image, stream: IO[bytes]) -> None:
    """Refuses what takes far longer to decode than its size suggests."""
    if image.info.get("progressive") and image.format in _JPEG_FORMATS:
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
    scans = position = 0
    while scans <= MAX_SCANS and (found := _JPEG_SEGMENT.search(jpeg, position)):
        if found[0] == _JPEG_END:
            break
        scans += found[0] == _JPEG_SCAN
        position = found.end()
        if found[0] != _JPEG_START:  # every other segment says its length
            position += int.from_bytes(jpeg[position : position + 2], "big")
    return scans


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; an unreadable one counts as upright."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        return orientation if orientation in _ORIENTATIONS else 1
    except Exception:  # what a damaged block makes Pillow raise is as various as for pixels
        return 1


def _upright(image: Image.Image) -> Image.Image:
    method = _ORIENTATIONS.get(_orientation(image))
    return image.transpose(method) if method is not None else image


def _to_rgb(image: Image.Image) -> Image.Image:
    transparent = image.info.get("transparency")
    if image.mode == "RGB" and transparent is None:
        return image
    if image.mode.startswith("I"):
        return _from_16_bits(np.asarray(image), transparent)
    if image.mode == "F":
        raise ImageError("The image holds floating-point samples; expected 8 or 16 bits a channel.")
    if image.mode == "RGB" and isinstance(transparent, tuple) and max(transparent) > 255:
        image = image.copy()  # its pixels have lost their lower 8 bits, the colour has not
        image.info["transparency"] = tuple(sample >> 8 for sample in transparent)
    if image.mode == "La":
        image = image.convert("LA")
    if transparent is not None or image.mode in ("RGBA", "LA", "PA", "RGBa"):
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        canvas = Image.new("RGB", rgba.size, BACKGROUND)
        canvas.paste(rgba, mask=rgba)
        return canvas
    return image.convert("RGB")


def _from_16_bits(samples: npt.NDArray[Any], transparent: object) -> Image.Image:
    """The upper 8 bits of grey samples [H, W]; Pillow's own conversion would clip at 255."""
    grey = np.clip(samples >> 8, 0, 255).astype(np.uint8)
    image = Image.fromarray(grey).convert("RGB")
    if isinstance(transparent, int):
        image.paste(BACKGROUND, mask=Image.fromarray(samples == transparent))
    return image
