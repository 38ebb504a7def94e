"""What every classifier is trained to minimise, and by which steps: its loss and its optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.networks.backend import keras
from edgeclf.training.config import TrainingConfig


def cosine_adam(learning_rate: float, steps: int) -> keras.optimizers.Optimizer:
    """Adam with a short linear warm-up and a cosine down to zero.

    Args:
        learning_rate: The peak.
        steps: All batches of the run.
    """
    warmup = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 10,
        decay_steps=max(1, steps - warmup),
        warmup_target=learning_rate,
        warmup_steps=warmup,
    )
    return keras.optimizers.Adam(schedule)


def classification_loss(
    classes: int,
    label_smoothing: float = TrainingConfig.label_smoothing,
    weights: npt.NDArray[np.float32] | None = None,
) -> Any:
    """Cross-entropy of logits against class indices, with label smoothing.

    Smoothing after Szegedy et al., "Rethinking the Inception Architecture" (2016), section 7.

    Args:
        classes: Number of classes.
        label_smoothing: The share of each label that is spread over all classes.
        weights: float32 [classes], how much an example of each counts; all the same by default.
    """
    cross_entropy = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing
    )

    def loss(targets: Any, logits: Any) -> Any:
        indices = keras.ops.cast(keras.ops.reshape(targets, (-1,)), "int32")
        counts = None if weights is None else keras.ops.take(weights, indices)
        return cross_entropy(keras.ops.one_hot(indices, classes), logits, sample_weight=counts)

    return loss


def balanced_weights(targets: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float32]:
    """Weights float32 [classes] by which all classes count the same, 1 on average over `targets`.

    After King and Zeng, "Logistic Regression in Rare Events Data" (2001), section 4.2.
    """
    counts = np.bincount(targets, minlength=classes)
    return (len(targets) / (classes * np.maximum(counts, 1))).astype(np.float32)
