"""A runtime without a model, for the tests of programs that use edgeclf."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Artifact, Features, Metadata
from edgeclf.errors import InferenceError, RuntimeLoadError
from edgeclf.image import ImageSpec, UInt8Array
from edgeclf.runtimes.base import Device, Float32Array, RuntimeInfo, as_probabilities, check_images


def fake_artifact(labels: Sequence[str], height: int = 32, width: int = 32) -> Artifact:
    """An artifact with labels and an input size but no model, for `FakeRuntime`.

    Examples:
        >>> from edgeclf.runtimes.fake import fake_artifact
        >>> fake_artifact(["dark", "bright"]).metadata.labels
        ('dark', 'bright')
    """
    metadata = Metadata("fake", tuple(labels), ImageSpec(height, width))
    return Artifact("tflite", metadata, b"")


class FakeRuntime:
    """Answers what your function answers, or by default by the picture's brightness.

    The default divides 0..255 into as many equal bands as there are classes and gives 0.9 to the
    band of the mean value, so that a test can steer the answer with plain grey pictures.

    Args:
        artifact: Where labels and input size come from; see `fake_artifact`.
        device: Any that there is; `describe` says that it runs there.
        threads: Ignored.
        answer: From uint8 [N, H, W, 3] to probabilities [N, classes], which become float32. They
            are checked like any engine's, and what it raises is raised.
        features: Likewise to features [N, h, w, c], whatever the artifact says of them. By default
            pixels of the picture, 0..1, in the shape that the artifact says, if it does.

    Examples:
        >>> import numpy as np
        >>> from edgeclf import Classifier
        >>> from edgeclf.runtimes.fake import FakeRuntime, fake_artifact
        >>> artifact = fake_artifact(["cat", "dog"])
        >>> runtime = FakeRuntime(artifact, answer=lambda images: [[0.2, 0.8]] * len(images))
        >>> classifier = Classifier(artifact, runtime=runtime)
        >>> classifier.classify(np.zeros((48, 64, 3), np.uint8)).label
        'dog'
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        device: Device = "cpu",
        threads: int | None = None,
        answer: Callable[[UInt8Array], npt.ArrayLike] | None = None,
        features: Callable[[UInt8Array], npt.ArrayLike] | None = None,
    ) -> None:
        if device not in get_args(Device):
            raise RuntimeLoadError(f"Device is {device!r}; expected one of {get_args(Device)}.")
        self._classes = len(artifact.metadata.labels)
        self._metadata = artifact.metadata
        self._spec = artifact.metadata.image
        self._device: Device = device
        self._answer = answer or self._by_brightness
        self._features = features
        self._closed = False

    def run(self, images: UInt8Array) -> Float32Array:
        """See `Runtime.run`."""
        if self._closed:
            raise InferenceError("This runtime is closed. Load the model again.")
        check_images(images, self._spec)
        return as_probabilities(self._answer(images), len(images), self._classes)

    def run_with_features(self, images: UInt8Array) -> tuple[Float32Array, Float32Array]:
        """See `edgeclf.runtimes.base.features_of`."""
        rows = self.run(images)
        if self._features is not None:
            return rows, np.asarray(self._features(images), np.float32)
        height, width, channels = Features.of(self._metadata).shape
        seen = images[:, _spread(images.shape[1], height)][:, :, _spread(images.shape[2], width)]
        return rows, seen[..., np.arange(channels) % 3] / np.float32(255)

    def _by_brightness(self, images: UInt8Array) -> Float32Array:
        rows = np.full((len(images), self._classes), 0.1 / (self._classes - 1), np.float32)
        band = images.mean(axis=(1, 2, 3)) * self._classes / 256
        rows[np.arange(len(images)), band.astype(int)] = 0.9
        return rows

    def describe(self) -> RuntimeInfo:
        """See `Runtime.describe`."""
        return RuntimeInfo("fake", "edgeclf", "0", self._device, "none", 1)

    def close(self) -> None:
        """See `Runtime.close`."""
        self._closed = True


def _spread(size: int, count: int) -> npt.NDArray[np.intp]:
    """`count` positions of `size`, evenly."""
    return np.arange(count) * size // count
