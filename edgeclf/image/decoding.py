"""Any picture to upright RGB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from edgeclf.errors import ImageError, listed, mapped
from edgeclf.image import limits
from edgeclf.image.formats import (
    BITS,
    FORMATS,
    JPEG_FORMATS,
    PHOTOMETRIC,
    SAMPLE_FORMAT,
    SIGNED,
    check_samples,
    chosen_tags,
    detect_format,
    named,
    read_tags,
)
from edgeclf.image.spec import ImageSpec
from edgeclf.image.streams import FileSource, open_stream

ImageSource: TypeAlias = FileSource | Image.Image | npt.NDArray[Any]

BACKGROUND = (255, 255, 255)  # what shows through transparent pixels

_DRAFT_MARGIN = 2  # decode at no less than this many times the input size before filtering
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


def decode_image(source: ImageSource, spec: ImageSpec) -> Image.Image:
    """Decodes one picture to upright RGB, at full or reduced size.

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
    name, stream = open_stream(source)
    try:
        with _explained(name):
            image = _open(stream, detect_format(stream, name), name)
            limits.check_size(image.size)
            limits.check_effort(image, stream)
            if spec.scaled_decode and image.format in JPEG_FORMATS:
                size = (spec.width * _DRAFT_MARGIN, spec.height * _DRAFT_MARGIN)
                image.draft(None, size[::-1] if _orientation(image) >= _FIRST_TRANSPOSED else size)
            return _finished(image)
    finally:
        if stream is not source:
            stream.close()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns whatever a decoder raises on a file into an ImageError.

    Pillow's parsers let almost any exception escape on damaged input: TypeError from a TIFF,
    ZeroDivisionError from an AVIF. Warnings may be errors, too.
    """
    words = f"Cannot read {name} as an image"
    advice = f"Expected an intact file of type {', '.join(FORMATS)}."
    with mapped(ImageError, words, advice):
        try:
            yield
        except Image.DecompressionBombError as exc:
            raise ImageError(
                f"{name} is too large to be decoded: {exc}. edgeclf's own limit is "
                f"{limits.MAX_PIXELS:,} pixels. Shrink it before classifying."
            ) from exc
        except UnidentifiedImageError as exc:  # its text is an object's address
            raise ImageError(f"{words}: its header is damaged. {advice}") from exc


def _open(stream: IO[bytes], format_: str, name: str) -> Image.Image:
    """Opens a file by its format; a JPEG or TIFF that no usual decoder takes is named."""
    try:
        image = Image.open(stream, formats=[format_])
    except UnidentifiedImageError as exc:
        stream.seek(0)
        tags = read_tags(stream) if format_ == "TIFF" else {}
        if BITS in tags and PHOTOMETRIC in tags:
            raise named(
                name,
                f"a TIFF with BitsPerSample {listed(map(str, tags[BITS]))} and "
                f"PhotometricInterpretation {tags[PHOTOMETRIC][0]}",
            ) from exc
        bits = limits.jpeg_bits(stream.read()) if format_ == "JPEG" else None
        if bits in (None, 8):
            raise
        raise ImageError(
            f"Cannot read {name} as an image: it is a JPEG of {bits} bits a channel; expected 8. "
            "Save it as PNG, or as a JPEG of 8 bits."
        ) from exc
    image.info.pop("xmp", None)  # by which Pillow would turn a TIFF
    return image


def _jpeg_behind(image: Image.Image) -> bytes | None:
    """The file behind a PIL image that is a JPEG and not decoded yet.

    As bytes it takes the file's path, with a scaled decode, and leaves the caller's image as it
    was: `draft` would shrink it. Other formats give the same pixels either way.
    """
    stream: IO[bytes] | None = getattr(image, "fp", None)
    undecoded = image.format in JPEG_FORMATS and getattr(image, "tile", None)
    if stream is None or not undecoded or image.tell() != 0:
        return None
    with _explained("the PIL image given"):
        position = stream.tell()
        try:
            stream.seek(0)
            return stream.read(limits.MAX_BYTES + 1)
        finally:
            stream.seek(position)


def _from_pil(image: Image.Image) -> Image.Image:
    limits.check_size(image.size)
    with _explained("the PIL image given"):
        check_samples(chosen_tags(getattr(image, "tag_v2", {})), "the PIL image given")
        return _finished(image)


def _finished(image: Image.Image) -> Image.Image:
    image.load()
    return _to_rgb(_upright(_levels(image)))


def _levels(image: Image.Image) -> Image.Image:
    """Of a grey TIFF, the samples as levels of 16 bits: Pillow leaves them as the file has them.

    Raises:
        ImageError: There are negative ones; where they end, white, is nowhere said.
    """
    tags = chosen_tags(getattr(image, "tag_v2", {}))
    if image.mode == "L" and SIGNED in tags.get(SAMPLE_FORMAT, ()):
        _check_levels(np.asarray(image).view(np.int8))
    if not image.mode.startswith("I;16"):
        return image
    samples = np.asarray(image).astype(np.uint16)
    if tags.get(BITS) == (12,):
        samples <<= 4
    if tags.get(PHOTOMETRIC) == (0,):  # WhiteIsZero
        samples ^= 0xFFFF
    levels = Image.fromarray(samples)
    levels.info = image.info
    return levels


def _check_levels(samples: npt.NDArray[Any]) -> None:
    low, high = int(samples.min()), int(samples.max())
    if low < 0 or high > 0xFFFF:
        raise ImageError(
            f"The image holds grey samples from {low} to {high}; expected 0 to 65535. Scale them, "
            "and save it as PNG."
        )


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
    limits.check_size((array.shape[1], array.shape[0]))
    return _to_rgb(Image.fromarray(np.ascontiguousarray(array)))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; an unreadable one counts as upright.

    `Image.getexif` would take one from XMP where EXIF has none, which hardly any other reader does.
    A TIFF has been turned by Pillow; of an AVIF, `info` holds what the file's own boxes say.
    """
    try:
        content = image.info.get("exif")
        if content is None:  # of a PNG, as ImageMagick writes it
            profile = image.info.get("Raw profile type exif", "")
            content = bytes.fromhex("".join(profile.split("\n")[3:]))
        exif = Image.Exif()
        exif.load(content)
        orientation = exif.get(_ORIENTATION_TAG, 1)
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
    _check_levels(samples)
    grey = (samples >> 8).astype(np.uint8)
    image = Image.fromarray(grey).convert("RGB")
    if isinstance(transparent, int):
        image.paste(BACKGROUND, mask=Image.fromarray(samples == transparent))
    return image
