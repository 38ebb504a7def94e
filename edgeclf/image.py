"""Any photo to the model's tensor: the one preprocessing of training, conversion and device.

The policy, in the order it is applied:

1. The format is told from the content, never from the file's name, and must be on `FORMATS`.
2. The pixel count in the header is checked against the cap before anything is decoded.
3. A JPEG is decoded at the smallest of its DCT scales (1, 1/2, 1/4, 1/8) that still gives twice
   the model's input in each direction, unless the spec turns that off.
4. EXIF orientation is applied; an unreadable EXIF block counts as upright.
5. Animations give their first frame; 16-bit channels keep their upper 8 bits; palettes, grey and
   CMYK become RGB; transparent pixels are laid over white. Colour profiles are not applied.
6. The picture is fitted to the input size by the spec's policy, filtered by the spec's kernel.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeclf.errors import ImageError, OptionError

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
ImageSource: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | npt.NDArray[Any]

ResizePolicy = Literal["stretch", "crop", "letterbox"]
ResizeKernel = Literal["bilinear", "bicubic", "lanczos", "box"]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # JPEG includes MPO
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
    OverflowError, EOFError, MemoryError, struct.error, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip


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
        image = Image.open(stream, formats=FORMATS)
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


def _open_stream(source: str | os.PathLike[str] | bytes | IO[bytes]) -> tuple[str, IO[bytes]]:
    """A readable stream over the source, with what to call it in a message."""
    if isinstance(source, bytes | bytearray | memoryview):
        return f"the {len(source)} bytes given", io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        try:
            return str(source), open(source, "rb")
        except OSError as exc:
            raise ImageError(
                f"Cannot open {Path(source)}: {exc.strerror}. Check the path."
            ) from exc
    if hasattr(source, "read"):
        return "the file object given", source
    raise ImageError(
        f"Received {type(source).__name__}; expected a path, bytes, a binary file object, "
        "a PIL image or a uint8 array [H, W, 3]."
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
