"""Networks that nobody trained, and that answer all the same."""

from __future__ import annotations

from typing import Any

import numpy as np


def enliven(network: Any) -> None:
    """Makes kernels so large that pictures reach the classes; Keras's first ones let them die out.

    Args:
        network: A Keras model.
    """
    network.set_weights([_lively(weight) for weight in network.get_weights()])


def _lively(weight: np.ndarray) -> np.ndarray:
    if weight.ndim < 2:
        return weight
    taps = np.prod(weight.shape[:-1]) if weight.shape[-1] > 1 else np.prod(weight.shape[:2])
    return weight / weight.std() * np.sqrt(4 / taps)
