"""Keras models through TensorFlow, on the CPU or the GPU: the reference, and the slow one."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact, Features
from edgeclf.errors import InferenceError, MissingDependencyError, RuntimeLoadError, mapped
from edgeclf.image import UInt8Array
from edgeclf.runtimes.base import (
    Device,
    Float32Array,
    RuntimeInfo,
    as_features,
    as_probabilities,
    check_images,
)
from edgeclf.runtimes.tap import no_such_tensor
from edgeclf.system.cpu import available_cpus
from edgeclf.system.lean import import_keras

_DEVICES = ("cpu", "cuda")


class TensorFlowRuntime:
    """Runs ``.keras`` artifacts as one compiled function for batches of any size."""

    formats = ("keras",)

    def __init__(
        self, artifact: Artifact, *, device: Device = "cpu", threads: int | None = None
    ) -> None:
        if artifact.format != "keras":
            raise RuntimeLoadError(
                f"The tensorflow runtime loads .keras artifacts; received {artifact.format}."
            )
        if device not in _DEVICES:
            raise RuntimeLoadError(f"Device is {device!r}; expected one of {_DEVICES}.")
        tf, keras = self.import_engine()
        self._tf: Any = tf
        self._keras: Any = keras
        self._device: Device = device
        self._tf_device = self._claim_device(device)
        self._threads = threads or available_cpus()
        try:
            tf.config.threading.set_intra_op_parallelism_threads(self._threads)
        except RuntimeError:  # TensorFlow is already running: report what it runs with
            self._threads = (
                tf.config.threading.get_intra_op_parallelism_threads() or available_cpus()
            )
        self._artifact = artifact
        self._classes = len(artifact.metadata.labels)
        self._spec = artifact.metadata.image
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            path.write_bytes(artifact.content)
            with (
                mapped(RuntimeLoadError, "Keras cannot load this model"),
                tf.device(self._tf_device),
            ):
                model = keras.saving.load_model(path, compile=False)
        self._model: Any = model
        self._function: Any = self._compiled(model)
        self._lock = threading.Lock()
        self._features: Features | None = None  # once there is a function that gives them
        self._tapped: Any = None

    @staticmethod
    def import_engine() -> tuple[Any, Any]:
        """The modules tensorflow and keras.

        Raises:
            MissingDependencyError: One is not installed.
        """
        try:
            return import_keras()
        except ModuleNotFoundError as exc:
            raise MissingDependencyError(
                exc.name or "tensorflow", "tensorflow", "Running a .keras model"
            ) from None

    @staticmethod
    def accelerators() -> tuple[str, ...]:
        """``cuda`` where TensorFlow sees a card."""
        tf, _ = TensorFlowRuntime.import_engine()
        return ("cuda",) if tf.config.list_physical_devices("GPU") else ()

    def _claim_device(self, device: Device) -> str:
        if device == "cpu":
            return "/CPU:0"
        cards = self._tf.config.list_physical_devices("GPU")
        if not cards:
            raise RuntimeLoadError(
                "CUDA was asked for, but TensorFlow sees no GPU. Check the driver, then: "
                "pip install 'edgeclf[tensorflow-gpu]'"
            )
        for card in cards:
            try:
                self._tf.config.experimental.set_memory_growth(card, True)
            except RuntimeError:  # already running; memory growth was set by whoever started it
                break
        return "/GPU:0"

    def _compiled(self, model: Any) -> Any:
        """A function that gives the list of the model's outputs."""
        tf = self._tf
        signature = [tf.TensorSpec([None, self._spec.height, self._spec.width, 3], tf.uint8)]
        return tf.function(
            lambda x: tf.nest.flatten(model(x, training=False)), input_signature=signature
        )

    def run(self, images: UInt8Array) -> Float32Array:
        """See `Runtime.run`."""
        return self._run(self._function, images)[0]

    def run_with_features(self, images: UInt8Array) -> tuple[Float32Array, Float32Array]:
        """See `edgeclf.runtimes.base.features_of`."""
        with self._lock:
            if self._features is None:
                features = self._artifact.features
                if self._model is not None:
                    self._tapped = self._compiled(self._with_features(features))
                self._features = features
        rows, *maps = self._run(self._tapped, images)
        return rows, as_features(maps, len(images), self._features)

    def _with_features(self, features: Features) -> Any:
        """The model with a second output, which shares its layers."""
        model = self._model
        layer = next((each for each in model.layers if each.name == features.tensor), None)
        if layer is None:
            raise no_such_tensor(self._artifact)
        with mapped(RuntimeLoadError, "Keras cannot give the features of this model"):
            return self._keras.Model(model.inputs, [model.outputs[0], layer.output])

    def _run(self, function: Any, images: UInt8Array) -> list[Float32Array]:
        if function is None:
            raise InferenceError("This runtime is closed. Load the model again.")
        check_images(images, self._spec)
        if not len(images):  # oneDNN's kernels for AVX-512 cannot take it
            return [np.empty((0, self._classes), np.float32)]
        with mapped(InferenceError, "tensorflow failed"), self._tf.device(self._tf_device):
            rows, *maps = [output.numpy() for output in function(images)]
        return [as_probabilities(rows, len(images), self._classes), *maps]

    def describe(self) -> RuntimeInfo:
        """See `Runtime.describe`."""
        return RuntimeInfo(
            "tensorflow",
            "tensorflow",
            self._tf.__version__,
            self._device,
            self._tf_device.strip("/"),
            self._threads,
        )

    def close(self) -> None:
        """See `Runtime.close`."""
        with self._lock:
            self._model = self._function = self._tapped = None
