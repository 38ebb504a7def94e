"""An upright picture to the size of a model's input."""

from __future__ import annotations

import numpy as np
from PIL import Image

from edgeclf.image.spec import ImageSpec, ResizeKernel, UInt8Array

LETTERBOX = (127, 127, 127)  # the borders of "letterbox": zero after (x - 127) / 128

_KERNELS: dict[ResizeKernel, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}


def resize_image(image: Image.Image, spec: ImageSpec) -> UInt8Array:
    """Fits an upright RGB image to the input size.

    Args:
        image: PIL image in mode RGB.
        spec: Input size, resize policy and kernel.

    Returns:
        uint8 RGB [spec.height, spec.width, 3], 0..255.

    Examples:
        >>> from PIL import Image
        >>> from edgeclf.image import ImageSpec, resize_image
        >>> picture = Image.new("RGB", (200, 100), "white")
        >>> resize_image(picture, ImageSpec(96, 96, resize="letterbox"))[0, 0].tolist()
        [127, 127, 127]
    """
    box, inside = placement(image.size, spec)
    left, top, right, bottom = inside
    fitted = _rows_first(image, (right - left, bottom - top), _KERNELS[spec.kernel], box)
    if fitted.size == (spec.width, spec.height):
        return np.asarray(fitted)
    canvas = Image.new("RGB", (spec.width, spec.height), LETTERBOX)
    canvas.paste(fitted, (left, top))
    return np.asarray(canvas)


def _rows_first(
    image: Image.Image,
    size: tuple[int, int],
    kernel: Image.Resampling,
    box: tuple[float, float, float, float],
) -> Image.Image:
    """Resizes along rows, then along columns, whatever Pillow's version prefers.

    Both round to bytes, so the order shows. Pillow 13 goes along columns first where the height
    shrinks by more than twice what the width does; those before never do.
    """
    left, top, right, bottom = box
    narrow = image.resize((size[0], image.height), kernel, box=(left, 0, right, image.height))
    return narrow.resize(size, kernel, box=(0, top, size[0], bottom))


def placement(
    size: tuple[int, int], spec: ImageSpec
) -> tuple[tuple[float, float, float, float], tuple[int, int, int, int]]:
    """Which part of a picture becomes which part of the input.

    Args:
        size: The upright picture's, (width, height).
        spec: Input size and resize policy.

    Returns:
        Both as (left, top, right, bottom): in the picture, where ``crop`` leaves something out, and
        in the input, where ``letterbox`` leaves borders.
    """
    width, height = size
    whole, everywhere = (0, 0, width, height), (0, 0, spec.width, spec.height)
    if spec.resize == "stretch":
        return whole, everywhere
    scale = (max if spec.resize == "crop" else min)(spec.width / width, spec.height / height)
    if spec.resize == "crop":
        scale /= spec.crop_share
        kept_width, kept_height = spec.width / scale, spec.height / scale
        left, top = (width - kept_width) / 2, (height - kept_height) / 2
        return (
            max(left, 0.0), max(top, 0.0), min(left + kept_width, width),
            min(top + kept_height, height),
        ), everywhere  # fmt: skip
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    x, y = (spec.width - inner[0]) // 2, (spec.height - inner[1]) // 2
    return whole, (x, y, x + inner[0], y + inner[1])
