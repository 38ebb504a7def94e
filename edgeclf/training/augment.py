"""Random variations of training photos, as Keras layers that stay out of the exported graph."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.image import UInt8Array
from edgeclf.networks.backend import keras, layers, ops, tf
from edgeclf.training.view_drawing import ViewDrawer, shade

POLICY_VERSION = 2  # raise when the same seed varies the same photo in another way
_ZOOM = (0.75, 1.1)  # the side of the source area, relative to the image
_SHIFT = 0.1  # of the image's side, each way
_ROTATION = 0.19  # radians, each way: 11 degrees
_CONTRAST = 0.2
_BRIGHTNESS = 0.1


def augmentation(seed: int, strength: float = 1.0, *, mirror: bool = True) -> keras.Sequential:
    """Layers that vary a batch of photos, on raw values 0..255.

    All amounts are relative to the image and every layer draws from its own seed, so two
    instances with the same seed vary the same photos alike at different sizes. Distillation uses
    that: teacher and student see one view, each at its own resolution.

    Args:
        seed: Decides the variations.
        strength: Multiplies all amounts, 0 to 2; 0 varies nothing.
        mirror: Whether left and right may change places.

    Returns:
        A model from float32 or uint8 [N, H, W, 3] to float32 [N, H, W, 3], 0..255.
    """
    variations = [RandomView(seed, strength, mirror=mirror)]
    if strength > 0:
        contrast, brightness = strength * _CONTRAST, strength * _BRIGHTNESS
        variations += [
            layers.RandomContrast(contrast, value_range=(0, 255), seed=seed + 1),
            layers.RandomBrightness(brightness, value_range=(0, 255), seed=seed + 2),
        ]
    return keras.Sequential(variations, name="augmentation")


class Variations:
    """`augmentation` outside of a network: batch after batch, in the order in which it is drawn.

    On a GPU its layers draw, traced once. On a CPU they say by what numbers, and
    `edgeclf.training.view_drawing` draws.

    Args:
        seed: As for `augmentation`.
        strength: As for `augmentation`.
        mirror: As for `augmentation`.
    """

    def __init__(self, seed: int, strength: float = 1.0, *, mirror: bool = True) -> None:
        self._layers = augmentation(seed, strength, mirror=mirror)
        self._by_layers = strength == 0 or bool(tf.config.list_physical_devices("GPU"))
        self._traced: Any = None
        self._drawer: ViewDrawer | None = None

    def of(self, images: UInt8Array) -> npt.NDArray[np.float32]:
        """Variations of a batch uint8 [N, H, W, 3]: float32 of the same shape, 0..255."""
        drawn = self._drawn(images)
        if self._by_layers:
            values: npt.NDArray[np.float32] = drawn.numpy()
            return values
        values = np.empty(images.shape, np.float32)
        for number, planes in enumerate(self._planes(images, drawn)):
            np.stack(list(planes), axis=-1, out=values[number])
        return values

    def pixels_of(self, images: UInt8Array) -> UInt8Array:
        """The same as photos are, uint8."""
        if self._by_layers:
            values = self.of(images)
            return np.rint(values, out=values).astype(np.uint8)
        pixels = np.empty(images.shape, np.uint8)
        for number, planes in enumerate(self._planes(images, self._drawn(images))):
            whole = np.rint(planes, out=planes).astype(np.uint8)
            np.stack(list(whole), axis=-1, out=pixels[number])
        return pixels

    def _planes(self, images: UInt8Array, numbers: Any) -> Iterator[npt.NDArray[np.float32]]:
        """Each variation, float32 [3, H, W], until the next one is asked for."""
        if self._drawer is None:
            self._drawer = ViewDrawer(*images.shape[1:3])
        columns = [each.numpy() for each in numbers]
        for photo, transform, contrast, brightness in zip(images, *columns, strict=True):
            planes = self._drawer.view(photo, transform)
            shade(planes, contrast, brightness)
            yield planes

    def _drawn(self, images: UInt8Array) -> Any:
        """What the layers make of a batch; or by what numbers, of `ViewDrawer` and `shade`."""
        if self._traced is None:
            if self._by_layers:
                given = tf.TensorSpec((None, *images.shape[1:]), tf.uint8)
                draw = partial(self._layers, training=True)
            else:
                given = tf.TensorSpec((), tf.int32)
                draw = partial(self._numbers, height=images.shape[1], width=images.shape[2])
            self._traced = tf.function(draw, input_signature=[given])
        return self._traced(tf.constant(images if self._by_layers else len(images)))

    def _numbers(self, count: Any, height: int, width: int) -> tuple[Any, Any, Any]:
        view, contrast, brightness = self._layers.layers
        transforms = view.transforms(count, height, width)[:, :6]
        any_images = tf.zeros((count, 1, 1, 1))
        factors = contrast.get_random_transformation(any_images)["contrast_factor"]
        offsets = brightness.get_random_transformation(any_images)["rgb_delta"]
        return transforms, tf.reshape(factors, (-1,)), tf.reshape(offsets, (-1,))


class RandomView(layers.Layer):
    """Turns, shifts, zooms and, if it may, mirrors each image at random, in one resampling.

    Keras's own layers would resample once each: three times the work, and a blur that the
    device's photos do not have.

    Args:
        seed: Decides the views.
        strength: Multiplies shift, zoom, angle and, up to one half, the share that is mirrored.
        mirror: Whether any is mirrored; the rest is the same either way.
    """

    def __init__(self, seed: int, strength: float = 1.0, *, mirror: bool = True) -> None:
        super().__init__()
        self._seeds = keras.random.SeedGenerator(seed)
        self._strength = strength
        self._least = -1.0 if mirror else 1.0

    def call(self, images: Any, training: bool = False) -> Any:
        """The views, float32, of the images' shape; edges are continued outwards."""
        images = ops.cast(images, "float32")
        if not training or self._strength == 0:
            return images
        count, height, width = (ops.shape(images)[axis] for axis in range(3))
        return ops.image.affine_transform(
            images,
            self.transforms(count, height, width),
            interpolation="bilinear",
            fill_mode="nearest",
        )

    def transforms(self, count: Any, height: Any, width: Any) -> Any:
        """Where the pixels of the next N views of a size come from: float32 [N, 8].

        The pixel (x, y) of a view is that of the image at (a x + b y + c, d x + e y + f), of which
        the first six numbers are a to f; the others are zero.
        """

        def draw(low: float, high: float) -> Any:
            return keras.random.uniform((count,), low, high, seed=self._seeds)

        shift, rotation = self._strength * _SHIFT, self._strength * _ROTATION
        mirror = ops.maximum(ops.sign(draw(-1, 1) + max(0.0, 1 - self._strength)), self._least)
        zoom = draw(*(1 + self._strength * (side - 1) for side in _ZOOM))
        angle = draw(-rotation, rotation)
        center_x = (ops.cast(width, "float32") - 1) / 2
        center_y = (ops.cast(height, "float32") - 1) / 2
        shift_x = draw(-shift, shift) * ops.cast(width, "float32")
        shift_y = draw(-shift, shift) * ops.cast(height, "float32")
        a, b = mirror * zoom * ops.cos(angle), -zoom * ops.sin(angle)
        d, e = mirror * zoom * ops.sin(angle), zoom * ops.cos(angle)
        c = center_x + shift_x - a * center_x - b * center_y
        f = center_y + shift_y - d * center_x - e * center_y
        zero = ops.zeros_like(a)
        return ops.stack([a, b, c, d, e, f, zero, zero], axis=1)
