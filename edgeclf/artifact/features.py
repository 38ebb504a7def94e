"""Where a network's last feature map is in a file's graph, and the dense layer that reads it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeclf.artifact.metadata import Metadata
from edgeclf.errors import ArtifactError

Layout = Literal["nhwc", "nchw"]


_STORED = {"int8": "i1", "float16": "<f2", "float32": "<f4"}  # others, by ml_dtypes, are refused


@dataclass(frozen=True)
class Features:
    """The member `Metadata.features`, read: what is averaged over rows and columns at the end.

    Attributes:
        tensor: Its name in the file's graph; in Keras that of the layer whose output it is.
        layout: How the graph holds it, ``nhwc`` or ``nchw``.
        shape: Rows, columns and channels, in this order for both layouts.
        head: float32 [channels, classes], the weights of a dense layer that takes the mean and
            gives logits; None where something else does, or where they are is not known.
    """

    tensor: str
    layout: Layout
    shape: tuple[int, int, int]
    head: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, metadata: Metadata, content: bytes = b"") -> Features:
        """Reads the member.

        Args:
            metadata: Of a file.
            content: All of it, where the head may be.

        Raises:
            ArtifactError: The file has none, or it is not what the format says.
        """
        record = metadata.features
        if record is None:
            raise ArtifactError(
                f"The file of {metadata.name} does not say where its features are. Convert the "
                "model again; a network without mean pooling at its end has none."
            )
        try:
            tensor, layout, (height, width, channels) = (
                record[key] for key in ("tensor", "layout", "shape")
            )
            shape = int(height), int(width), int(channels)
            if not isinstance(tensor, str) or layout not in ("nhwc", "nchw") or min(shape) < 1:
                raise ValueError(f"{tensor!r}, {layout!r}, {shape}")
            if record["pooling"] != "mean":
                raise ValueError(f"pooling is {record['pooling']!r}, expected 'mean'")
            head = record["head"]
            weights = (
                None if head is None else _weights(head, content, shape[2], len(metadata.labels))
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise ArtifactError(
                f"The file of {metadata.name} says of its features what cannot be read: {exc!r}. "
                "Convert the model again, or install the version of edgeclf that wrote it."
            ) from exc
        return cls(tensor, layout, shape, weights)


def _weights(
    head: dict[str, Any], content: bytes, channels: int, classes: int
) -> npt.NDArray[np.float32]:
    kind = head["kind"]
    if kind == "dense":
        stored = np.frombuffer(base64.b64decode(head["weights"], validate=True), "i1")
    elif kind == "stored":
        stored = np.frombuffer(content, _STORED[head["type"]], channels * classes, head["position"])
    else:
        raise ValueError(f"head is {kind!r}")
    scale = np.frombuffer(base64.b64decode(head["scale"], validate=True), "<f4")
    if not np.isfinite(scale).all() or len(scale) not in (1, classes):
        raise ValueError(f"{len(scale)} scales of the head, or not finite; expected {classes}")
    turned = head.get("by_class")
    stored = stored.reshape(classes, channels).T if turned else stored.reshape(channels, classes)
    weights: npt.NDArray[np.float32] = stored * scale
    return weights
