"""Any photo to the model's tensor: the one preprocessing of training, conversion and device.

The policy, in the order it is applied:

1. A file of more than `MAX_BYTES` is refused before it is read.
2. The format is told from the content, never from the file's name, and must be one of `FORMATS`.
   A camera's raw file is refused, as what decoders give of it is its preview.
3. The size in the header is checked against `MAX_PIXELS` and `MAX_SIDE`, and the scans of a
   progressive JPEG against `MAX_SCANS`, before anything is decoded.
4. A JPEG is decoded at the smallest of its DCT scales (1, 1/2, 1/4, 1/8) that still gives twice
   the model's input in each direction, unless the spec turns that off.
5. EXIF orientation is applied, of AVIF and HEIF that of their own boxes, never that of XMP; an
   unreadable EXIF block counts as upright.
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

from typing import TypeGuard

import numpy as np

from edgeclf.image.decoding import BACKGROUND, ImageSource, decode_image
from edgeclf.image.formats import FORMATS
from edgeclf.image.limits import MAX_BYTES, MAX_PIXELS, MAX_SCANS, MAX_SIDE
from edgeclf.image.resizing import LETTERBOX, resize_image
from edgeclf.image.spec import ImageSpec, ResizeKernel, ResizePolicy, UInt8Array
from edgeclf.image.streams import is_url

__all__ = [
    "BACKGROUND",
    "FORMATS",
    "LETTERBOX",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MAX_SCANS",
    "MAX_SIDE",
    "ImageSource",
    "ImageSpec",
    "ResizeKernel",
    "ResizePolicy",
    "UInt8Array",
    "decode_image",
    "is_tensor",
    "is_url",
    "load_image",
    "resize_image",
]


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

    Examples:
        >>> import numpy as np
        >>> from edgeclf import ImageSpec, load_image
        >>> frame = np.zeros((480, 640, 3), np.uint8)  # or a path, bytes, a file, a PIL image
        >>> load_image(frame, ImageSpec(96, 96)).shape
        (96, 96, 3)
    """
    return resize_image(decode_image(source, spec), spec)


def is_tensor(source: ImageSource, spec: ImageSpec) -> TypeGuard[UInt8Array]:
    """Whether `load_image` would return the very values given: an array that fits already."""
    return (
        isinstance(source, np.ndarray)
        and source.dtype == np.uint8
        and source.shape == (spec.height, spec.width, 3)
    )
