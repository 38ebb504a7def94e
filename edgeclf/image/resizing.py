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
