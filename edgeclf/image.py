"""Any photo to the model's tensor: the one preprocessing of training, conversion and device.

The policy, in the order it is applied:

1. A file of more than `MAX_BYTES` is refused before it is read.
2. The format is told from the content, never from the file's name, and must be one of `FORMATS`.
3. The pixel count in the header is checked against `MAX_PIXELS` before anything is decoded.
4. A JPEG is decoded at the smallest of its DCT scales (1, 1/2, 1/4, 1/8) that still gives twice
   the model's input in each direction, unless the spec turns that off.
5. EXIF orientation is applied; an unreadable EXIF block counts as upright.
6. Animations give their first frame; 16-bit channels keep their upper 8 bits; palettes, grey and
   CMYK become RGB; transparent pixels are laid over white.
7. Colour profiles are not applied: the numbers in the file are what the model sees. Neither the
   data sets that weights are trained on nor a camera's raw frames are colour-managed, and the
   answer must not depend on the colour engine that a device has.
8. The picture is fitted to the input size by the spec's policy, filtered by the spec's kernel.

A picture that arrives already decoded (an array, a camera frame) skips steps 1 to 5 and is reduced
from full size. That and a scaled decode differ by less than one level of 255 in the mean; a spec
with ``scaled_decode=False`` makes them the same.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import struct
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias, TypeGuard, cast, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeclf.errors import ImageError, OptionError

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
ImageSource: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | npt.NDArray[Any]

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
# What Pillow's parsers let escape on damaged input; each becomes an ImageError.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    OverflowError, EOFError, MemoryError, RuntimeError, struct.error, zlib.error,
    Image.DecompressionBombError, Warning,
)  # fmt: skip
_HEAD_BYTES = 64  # enough to tell a format
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"BM", "BMP"), (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
    *((b"P%d" % n, "PPM") for n in range(1, 7)),
)  # fmt: skip
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
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
        source = _pristine(source)
    if isinstance(source, Image.Image):
        _check_pixels(source.size)
        return _to_rgb(_upright(source))
    name, stream = _open_stream(source)
    try:
        image = Image.open(stream, formats=[_detect_format(stream, name)])
        _check_pixels(image.size)
        if spec.scaled_decode:
            size = (spec.width * _DRAFT_MARGIN, spec.height * _DRAFT_MARGIN)
            image.draft(None, size[::-1] if _orientation(image) >= _FIRST_TRANSPOSED else size)
        image.load()
        return _to_rgb(_upright(image))
    except ImageError:
        raise
    except _DECODER_ERRORS as exc:
        raise ImageError(
            f"Cannot read {name} as an image: {exc or type(exc).__name__}. "
            f"Expected an intact file of type {', '.join(FORMATS)}."
        ) from exc
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


def _open_stream(source: str | os.PathLike[str] | bytes | IO[bytes]) -> tuple[str, IO[bytes]]:
    """A seekable stream of bounded size over the source, with what to call it in a message."""
    if isinstance(source, bytes | bytearray | memoryview):
        name, stream = f"the {len(source)} bytes given", cast(IO[bytes], io.BytesIO(source))
    elif is_url(source):
        raise ImageError(
            f"{source} is a URL; edgeclf fetches nothing by itself. Pass what does, as in "
            "Classifier(model, fetch=lambda url: urllib.request.urlopen(url).read())."
        )
    elif isinstance(source, str | os.PathLike):
        try:
            name, stream = str(source), open(source, "rb")  # noqa: SIM115 - handed on
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or exc
            raise ImageError(f"Cannot open {Path(source)}: {reason}. Check the path.") from exc
    elif hasattr(source, "read"):
        name, stream = "the file object given", source
    else:
        raise ImageError(
            f"Received {type(source).__name__}; expected a path, bytes, a binary file object, "
            "a PIL image or a uint8 array [H, W, 3]."
        )
    try:
        return name, _bounded(stream, name)
    except BaseException:
        if stream is not source:
            stream.close()
        raise


def _bounded(stream: IO[bytes], name: str) -> IO[bytes]:
    """The stream, if it is not too large; in memory, if it cannot be wound back."""
    try:
        if hasattr(stream, "seekable") and stream.seekable():
            size, bounded = stream.seek(0, os.SEEK_END), stream
        else:
            content = stream.read(MAX_BYTES + 1)
            size, bounded = len(content), io.BytesIO(content)
        bounded.seek(0)
    except (OSError, TypeError, ValueError) as exc:
        raise ImageError(f"Cannot read {name}: {exc}. Expected a binary file.") from exc
    if size > MAX_BYTES:
        raise ImageError(
            f"{name} has {'more than ' * (bounded is not stream)}{min(size, MAX_BYTES):,} bytes; "
            f"the limit is {MAX_BYTES:,}. Shrink the picture before classifying."
        )
    return bounded


def _detect_format(stream: IO[bytes], name: str) -> str:
    """The format of the content, with its decoder ready."""
    head = stream.read(_HEAD_BYTES)
    if not isinstance(head, bytes):
        raise ImageError(f"{name} gives text; expected a binary file, opened with 'rb'.")
    stream.seek(0)
    found = next((format_ for magic, format_ in _MAGIC if head.startswith(magic)), None)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        found = "WEBP"
    elif head[4:8] == b"ftyp":  # ISO base media: the brands say what is in it
        brands = {head[i : i + 4] for i in range(8, min(head[3], len(head)), 4)}
        avif = bool(brands & {b"avif", b"avis"})
        found = "AVIF" if avif else "HEIF" if brands & _HEIF_BRANDS else None
    if found is None:
        raise ImageError(
            f"Cannot read {name} as an image: its content begins with {head[:8]!r}. "
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
        package = "pillow-heif" if format_ == "HEIF" else "a Pillow that decodes it"
        raise ImageError(
            f"{name} is of type {format_}, which nothing installed here decodes. "
            f"Install {package}: pip install {'pillow-heif' if format_ == 'HEIF' else '-U pillow'}"
        )


def _pristine(image: Image.Image) -> Image.Image | bytes:
    """The file behind a PIL image that is not decoded yet, so that it takes the file's path.

    Reading the bytes leaves the caller's image as it was: `draft` would shrink it.
    """
    stream = getattr(image, "fp", None)
    if stream is None or not getattr(image, "tile", None) or not stream.seekable():
        return image
    position = stream.tell()
    try:
        stream.seek(0)
        content: bytes = stream.read()
        return content
    finally:
        stream.seek(position)


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
    _check_pixels((array.shape[1], array.shape[0]))
    return _to_rgb(Image.fromarray(np.ascontiguousarray(array)))


def _check_pixels(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"The image has {size[0]}x{size[1]} pixels; the limit is {MAX_PIXELS:,}. "
            "Shrink it before classifying."
        )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; an unreadable one counts as upright."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        return 1
    return orientation if orientation in _ORIENTATIONS else 1


def _upright(image: Image.Image) -> Image.Image:
    method = _ORIENTATIONS.get(_orientation(image))
    return image.transpose(method) if method is not None else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion would clip at 255 instead of scaling.
        samples = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
        return Image.fromarray(samples.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ImageError("The image holds floating-point samples; expected 8 or 16 bits a channel.")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (*BACKGROUND, 255))
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image.convert("RGB")
