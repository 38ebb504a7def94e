"""Random variations of training photos, as Keras layers that stay out of the exported graph."""

from __future__ import annotations

import keras
from keras import layers


def augmentation(seed: int) -> keras.Sequential:
    """Layers that vary a batch of photos, on raw values 0..255.

    All shifts are relative to the image, and every layer draws from its own seed, so two
    instances with the same seed vary the same photos alike at different sizes. Distillation uses
    that: teacher and student see one view, each at its own resolution.

    Args:
        seed: Decides the variations.

    Returns:
        A model from float32 or uint8 [N, H, W, 3] to float32 [N, H, W, 3], 0..255.
    """
    value_range = (0, 255)
    return keras.Sequential(
        [
            layers.RandomFlip("horizontal", seed=seed),
            layers.RandomRotation(0.03, fill_mode="nearest", seed=seed + 1),
            layers.RandomTranslation(0.1, 0.1, fill_mode="nearest", seed=seed + 2),
            layers.RandomZoom((-0.25, 0.1), fill_mode="nearest", seed=seed + 3),
            layers.RandomContrast(0.2, value_range=value_range, seed=seed + 4),
            layers.RandomBrightness(0.1, value_range=value_range, seed=seed + 5),
        ],
        name="augmentation",
    )
