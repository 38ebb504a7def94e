"""Models that take grey or blue-first images: what stands between RGB and their input.

An artifact takes RGB whatever its network takes; the first step behind the normalisation makes the
network's own channels of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeclf.converters.source_spec import Channels
from edgeclf.runtimes.base import Float32Array

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what Pillow and OpenCV make grey by
TURNED = (2, 1, 0)


def count_of(channels: Channels) -> int:
    """How many channels such a model takes."""
    return 1 if channels == "grey" else 3


def from_rgb(images: Float32Array, channels: Channels) -> Float32Array:
    """From RGB float32 [N, H, W, 3] to the model's own channels, [N, H, W, 3 or 1]."""
    if channels == "bgr":
        return images[..., TURNED]
    if channels == "grey":
        return images @ np.array(LUMA, np.float32)[:, np.newaxis]
    return images


def from_rgb_in_tensorflow(image: Any, channels: Channels) -> Any:
    """The same in a TensorFlow graph."""
    import tensorflow as tf

    if channels == "bgr":
        return tf.gather(image, TURNED, axis=3)
    if channels == "grey":
        return tf.nn.conv2d(image, np.array(LUMA, np.float32).reshape(1, 1, 3, 1), 1, "VALID")
    return image
