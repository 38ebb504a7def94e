"""What an artifact says of its features: the record that `edgeclf.artifact.Features` reads."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.artifact.features import Layout

_HEAD_LIMIT_BYTES = 64_000  # of the weights, one byte each: 1,280 channels by 50 classes
_LEVELS = 127


def features_record(
    tensor: str,
    layout: Layout,
    shape: Sequence[int],
    weights: npt.NDArray[np.floating[Any]] | None,
) -> dict[str, Any]:
    """The metadata's member ``features``, as docs/artifact.md specifies it.

    Args:
        tensor: Name of what is averaged over rows and columns.
        layout: How the graph holds it.
        shape: Its rows, columns and channels.
        weights: float [channels, classes] of the dense layer behind; left out if they are too
            many, as a converted file holds them once already.
    """
    head = None
    if weights is not None and weights.size <= _HEAD_LIMIT_BYTES:
        scale = np.abs(weights).max(axis=0).astype("<f4") / np.float32(_LEVELS)
        stored = np.rint(weights / np.where(scale > 0, scale, 1)).astype("i1")
        head = {"kind": "dense", "weights": _text(stored), "scale": _text(scale)}
    return {"tensor": tensor, "layout": layout, "shape": [int(size) for size in shape],
            "pooling": "mean", "head": head}  # fmt: skip


def keras_features(model: Any) -> dict[str, Any]:
    """The record of a Keras model from `edgeclf.networks.builder.build_classifier`."""
    pooled = model.get_layer("features").input
    layer = next(layer for layer in model.layers if layer.output is pooled)
    weights = np.asarray(model.get_layer("logits").kernel, np.float32)
    return features_record(layer.name, "nhwc", pooled.shape[1:], weights)


def _text(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode()
