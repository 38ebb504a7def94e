"""A fake classifier that looks for red, and says so in its features."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Artifact
from edgeclf.image import ImageSpec, ResizePolicy, UInt8Array
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.fake import FakeRuntime, fake_artifact

SIDE, CELLS = 32, 8
LABELS = ("other", "red")


def dense(weights: npt.ArrayLike) -> dict[str, Any]:
    """The record of a dense layer with whole weights [channels, classes]."""
    stored = np.asarray(weights, np.int8)
    scale = np.ones(stored.shape[1], "<f4")
    return {"kind": "dense", "weights": base64.b64encode(stored.tobytes()).decode(),
            "scale": base64.b64encode(scale.tobytes()).decode()}  # fmt: skip


def red_artifact(
    *,
    resize: ResizePolicy = "stretch",
    head: bool | dict[str, str] = True,
    features: bool = True,
    **record: Any,
) -> Artifact:
    plain = fake_artifact(LABELS)
    found = {
        "tensor": "x", "layout": "nhwc", "shape": [CELLS, CELLS, 3], "pooling": "mean",
        "head": dense([[0, 1], [0, -1], [0, 0]]) if head is True else head or None, **record,
    }  # fmt: skip
    metadata = dataclasses.replace(
        plain.metadata, image=ImageSpec(SIDE, SIDE, resize), features=found if features else None
    )
    return dataclasses.replace(plain, metadata=metadata)


def red_classifier(artifact: Artifact | None = None, **options: Any) -> Classifier:
    """The surer of "red", the more is deep red; its features are how red, green and blue it is."""
    artifact = artifact or red_artifact(**options)
    return Classifier(
        artifact, runtime=FakeRuntime(artifact, answer=share_of_red, features=colours)
    )


def share_of_red(images: UInt8Array) -> npt.NDArray[np.float64]:
    red = (images[..., 0] / 255 - images[..., 1] / 255 > 0.6).mean(axis=(1, 2))
    probable = 1 - np.exp(-40 * red)
    return np.stack([1 - probable, probable], axis=1)


def colours(images: UInt8Array) -> npt.NDArray[np.float32]:
    step = SIDE // CELLS
    cells = images.reshape(len(images), CELLS, step, CELLS, step, 3).mean(axis=(2, 4)) / 255
    return (cells - cells.min(axis=-1, keepdims=True)).astype(np.float32)


def with_red(
    height: int, width: int, rows: slice, columns: slice, background: int = 127
) -> UInt8Array:
    """A grey picture with a red block."""
    picture = np.full((height, width, 3), background, np.uint8)
    picture[rows, columns] = (255, 0, 0)
    return picture
