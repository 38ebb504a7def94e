"""A runtime without a model, for the tests of programs that use edgeclf."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from edgeclf.artifact import Artifact, Metadata
from edgeclf.errors import InferenceError, RuntimeLoadError
from edgeclf.image import ImageSpec, UInt8Array
from edgeclf.runtimes.base import Device, Float32Array, RuntimeInfo, as_probabilities, check_images


def fake_artifact(labels: Sequence[str], height: int = 32, width: int = 32) -> Artifact:
    """An artifact with labels and an input size but no model, for `FakeRuntime`."""
    metadata = Metadata("fake", tuple(labels), ImageSpec(height, width))
    return Artifact("tflite", metadata, b"")


class FakeRuntime:
    """Answers with given probabilities, or by default from the picture's brightness.

    The default divides 0..255 into as many equal bands as there are classes and gives 0.9 to the
    band of the mean value, so that a test can steer the answer with plain grey pictures.

    Args:
        artifact: Where labels and input size come from; see `fake_artifact`.
        device: Any that there is; `describe` says that it runs there.
        threads: Ignored.
        probabilities: One row [classes] to answer with every time.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        device: Device = "cpu",
        threads: int | None = None,
        probabilities: Sequence[float] | None = None,
    ) -> None:
        if device not in get_args(Device):
            raise RuntimeLoadError(f"Device is {device!r}; expected one of {get_args(Device)}.")
        self._classes = len(artifact.metadata.labels)
        self._spec = artifact.metadata.image
        self._device: Device = device
        self._probabilities = probabilities
        self._closed = False

    def run(self, images: UInt8Array) -> Float32Array:
        """See `Runtime.run`."""
        if self._closed:
            raise InferenceError("This runtime is closed. Load the model again.")
        check_images(images, self._spec)
        if self._probabilities is not None:
            rows = np.tile(np.asarray(self._probabilities, np.float32), (len(images), 1))
        else:
            rows = np.full((len(images), self._classes), 0.1 / (self._classes - 1), np.float32)
            band = images.mean(axis=(1, 2, 3)) * self._classes / 256
            rows[np.arange(len(images)), band.astype(int)] = 0.9
        return as_probabilities(rows, len(images), self._classes)

    def describe(self) -> RuntimeInfo:
        """See `Runtime.describe`."""
        return RuntimeInfo("fake", "edgeclf", "0", self._device, "none", 1)

    def close(self) -> None:
        """See `Runtime.close`."""
        self._closed = True
