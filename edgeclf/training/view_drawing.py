"""Draws one variation of a photo from its numbers, on the CPU.

The arithmetic is that of TensorFlow's ``ImageProjectiveTransformV3`` and of Keras's
``RandomContrast`` and ``RandomBrightness``, in their order and in float32, so that what
`edgeclf.training.augment` draws in a graph is drawn here too; a mean is added up in another order,
which moves a value by 1e-4 at most. TensorFlow works out the place in the photo once for each
channel and walks over whole batches in every step; here a photo's planes stay in the cache, which
takes two fifths of its CPU time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeclf.image import UInt8Array

Plane = npt.NDArray[np.float32]

_LEAST, _MOST = np.float32(0), np.float32(255)


class ViewDrawer:
    """Draws views of photos of one size; its arrays are used again for the next one.

    Args:
        height: Of the photos, in pixels.
        width: Of the photos.
    """

    def __init__(self, height: int, width: int) -> None:
        self._columns = np.arange(width, dtype=np.float32)
        self._rows = np.arange(height, dtype=np.float32)[:, np.newaxis]
        # One more row and column, which count nothing: where a view ends at the last pixel.
        self._photo = np.zeros((3, height + 1, width + 1), np.float32)
        self._planes = np.empty((3, height, width), np.float32)
        self._places, self._column = (np.empty((height, width), np.intp) for _ in range(2))
        self._x, self._y, self._left, self._right, self._above, self._below = (
            np.empty((height, width), np.float32) for _ in range(6)
        )
        self._upper, self._lower, self._beside = (
            np.empty((height, width), np.float32) for _ in range(3)
        )

    def view(self, photo: UInt8Array, transform: npt.NDArray[np.float32]) -> Plane:
        """Resamples a photo, bilinearly; its edges are continued outwards.

        Args:
            photo: uint8 [H, W, 3].
            transform: a, b, c, d, e, f: the pixel (x, y) of the view comes from
                (a x + b y + c, d x + e y + f) of the photo.

        Returns:
            float32 [3, H, W], 0..255, until the next call.
        """
        height, width, _ = photo.shape
        self._photo[:, :height, :width] = photo.transpose(2, 0, 1)
        self._find(transform)
        for plane, drawn in zip(self._photo, self._planes, strict=True):
            self._row(plane.ravel(), self._upper)
            self._row(plane.ravel()[width + 1 :], self._lower)
            np.multiply(self._above, self._upper, out=self._upper)
            np.multiply(self._below, self._lower, out=self._lower)
            np.add(self._upper, self._lower, out=drawn)
        return self._planes

    def _row(self, pixels: Plane, out: Plane) -> None:
        """Between the pixels left and right of each place."""
        pixels.take(self._places, out=out, mode="clip")
        pixels[1:].take(self._places, out=self._beside, mode="clip")
        out *= self._left
        self._beside *= self._right
        out += self._beside

    def _find(self, transform: npt.NDArray[np.float32]) -> None:
        """Where each pixel comes from, and how much the four around that place count."""
        height, width = self._places.shape
        lines = (
            (self._x, transform[:3], width - 1, self._left, self._right),
            (self._y, transform[3:6], height - 1, self._above, self._below),
        )
        for at, (along, across, start), last, nearer, further in lines:
            np.add(along * self._columns, across * self._rows, out=at)
            at += start
            np.clip(at, np.float32(0), np.float32(last), out=at)
            np.copyto(further, at)
            np.floor(at, out=at)
            further -= at
            np.subtract(np.float32(1), further, out=nearer)
        np.copyto(self._places, self._y, casting="unsafe")
        self._places *= width + 1
        np.copyto(self._column, self._x, casting="unsafe")
        self._places += self._column


def shade(planes: Plane, contrast: np.float32, brightness: np.float32) -> None:
    """Changes contrast and brightness in place, and stays within 0..255.

    Args:
        planes: float32 [3, H, W].
        contrast: Multiplies the distance of each value to its plane's mean.
        brightness: Is added.
    """
    means = planes.mean(axis=1, keepdims=True).mean(axis=2, keepdims=True)
    planes -= means
    planes *= contrast
    planes += means
    np.clip(planes, _LEAST, _MOST, out=planes)
    planes += brightness
    np.clip(planes, _LEAST, _MOST, out=planes)
