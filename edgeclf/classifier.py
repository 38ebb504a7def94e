"""Image in, prediction out, over any runtime."""

from __future__ import annotations

import os
from collections.abc import Iterable
from time import perf_counter
from types import TracebackType

import numpy as np

from edgeclf.artifact import Artifact, load_artifact
from edgeclf.errors import OptionError
from edgeclf.image import ImageSource, UInt8Array, decode_image, resize_image
from edgeclf.prediction import Prediction, Score, Timing
from edgeclf.runtimes import Device, Runtime, RuntimeInfo, load_runtime
from edgeclf.runtimes.base import Float32Array


class Classifier:
    """A model ready to classify pictures.

        with Classifier("mugs.int8.tflite") as classifier:
            print(classifier.classify("photo.jpg").label)

    Args:
        model: Path or bytes of an artifact, or one that is already loaded.
        runtime: A runtime's name, ``auto`` for the usual one of the file's format, or an object
            that fills the seam `edgeclf.runtimes.Runtime`.
        device: ``cpu`` or ``cuda``; what is asked for is what runs, or an error says why not.
        threads: Threads for one call; by default as many CPUs as this process may use.

    Raises:
        ArtifactError: The file is no artifact, or was changed.
        RuntimeLoadError: The runtime is unknown, not installed or cannot load this model.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Artifact,
        *,
        runtime: str | Runtime = "auto",
        device: Device = "cpu",
        threads: int | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise OptionError(f"threads is {threads}; expected at least 1, or None.")
        self.artifact = model if isinstance(model, Artifact) else load_artifact(model)
        self._spec = self.artifact.metadata.image
        self._labels = self.artifact.metadata.labels
        if isinstance(runtime, str):
            runtime = load_runtime(runtime, self.artifact, device=device, threads=threads)
        self._runtime = runtime

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the model's output."""
        return self._labels

    def classify(self, image: ImageSource) -> Prediction:
        """Classifies one picture.

        Args:
            image: A path, the bytes of an image file, a binary file object, a PIL image, or an
                array uint8 RGB [H, W, 3], 0..255, of any size.

        Raises:
            ImageError: The picture cannot be read or is refused.
            InferenceError: The engine failed.
        """
        start = perf_counter()
        decoded = decode_image(image, self._spec)
        decode_end = perf_counter()
        tensor = resize_image(decoded, self._spec)
        preprocess_end = perf_counter()
        probabilities = self._runtime.run(tensor[np.newaxis])[0]
        end = perf_counter()
        timing = Timing(
            decode_ms=(decode_end - start) * 1e3,
            preprocess_ms=(preprocess_end - decode_end) * 1e3,
            inference_ms=(end - preprocess_end) * 1e3,
        )
        return Prediction(self._scores(probabilities), timing)

    def probabilities(self, images: Iterable[ImageSource] | UInt8Array) -> Float32Array:
        """The bare numbers for several pictures, for evaluation.

        Args:
            images: Pictures as for `classify`, or one array uint8 [N, H, W, 3] that already has
                the model's input size.

        Returns:
            float32 [N, classes] in the model's order; each row sums to 1.
        """
        if not isinstance(images, np.ndarray):
            tensors = [resize_image(decode_image(i, self._spec), self._spec) for i in images]
            images = np.stack(tensors)
        expected = (self._spec.height, self._spec.width, 3)
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise OptionError(
                f"Received {images.dtype} {images.shape}; expected uint8 {('N', *expected)}."
            )
        return self._runtime.run(images)

    def describe(self) -> RuntimeInfo:
        """What the model really runs on."""
        return self._runtime.describe()

    def close(self) -> None:
        """Frees the model; the classifier cannot be used afterwards."""
        self._runtime.close()

    def _scores(self, probabilities: Float32Array) -> tuple[Score, ...]:
        order = np.argsort(-probabilities, kind="stable")
        return tuple(Score(int(i), self._labels[i], float(probabilities[i])) for i in order)

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
