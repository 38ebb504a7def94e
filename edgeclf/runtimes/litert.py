"""TFLite models on the CPU through LiteRT, or an older interpreter where that is all there is."""

from __future__ import annotations

import importlib
import threading
from types import ModuleType
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact
from edgeclf.cpu import available_cpus
from edgeclf.errors import InferenceError, MissingDependencyError, RuntimeLoadError
from edgeclf.image import UInt8Array
from edgeclf.runtimes.base import Device, Float32Array, RuntimeInfo, as_probabilities

# (module with an Interpreter, distribution), the current engine first.
_ENGINES = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
    ("tensorflow.lite", "tensorflow"),
)


class LiteRTRuntime:
    """Runs ``.tflite`` artifacts image by image: their input has a static batch of one."""

    def __init__(
        self, artifact: Artifact, *, device: Device = "cpu", threads: int | None = None
    ) -> None:
        if artifact.format != "tflite":
            raise RuntimeLoadError(
                f"The litert runtime loads .tflite artifacts; received {artifact.format}."
            )
        if device != "cpu":
            raise RuntimeLoadError(
                f"The litert runtime runs on the cpu; {device!r} was asked for. Use an .onnx or "
                ".keras artifact for a GPU."
            )
        engine, self._library = self.import_engine()
        self._threads = threads or available_cpus()
        self._classes = len(artifact.metadata.labels)
        self._lock = threading.Lock()
        try:
            self._interpreter: Any = engine.Interpreter(
                model_content=artifact.content, num_threads=self._threads
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as exc:
            raise RuntimeLoadError(f"{self._library} cannot load this model: {exc}") from exc
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]

    @staticmethod
    def import_engine() -> tuple[ModuleType, str]:
        """The first interpreter that is installed, with its distribution's name.

        Raises:
            MissingDependencyError: None is.
        """
        for module, distribution in _ENGINES:
            try:
                return importlib.import_module(module), distribution
            except ModuleNotFoundError:
                continue
        raise MissingDependencyError("ai_edge_litert", "litert", "Running a .tflite model")

    def run(self, images: UInt8Array) -> Float32Array:
        """See `Runtime.run`."""
        with self._lock:  # an interpreter is one state machine; two threads would mix their images
            interpreter = self._interpreter
            if interpreter is None:
                raise InferenceError("This runtime is closed. Load the model again.")
            rows = np.empty((len(images), self._classes), np.float32)
            try:
                for row, image in zip(rows, images, strict=True):
                    interpreter.set_tensor(self._input["index"], self._given(image))
                    interpreter.invoke()
                    row[:] = interpreter.get_tensor(self._output["index"])[0]
            except (ValueError, RuntimeError) as exc:
                raise InferenceError(f"{self._library} failed: {exc}") from exc
        return as_probabilities(self._scores(rows), len(images), self._classes)

    def _given(self, image: UInt8Array) -> Any:
        if self._input["dtype"] == np.int8:  # int8-full: the same values, counted from -128
            return (image ^ 0x80).view(np.int8)[np.newaxis]
        return image[np.newaxis]

    def _scores(self, rows: Float32Array) -> Float32Array:
        if self._output["dtype"] != np.int8:
            return rows
        scale, zero_point = self._output["quantization"]
        scores: Float32Array = (rows - zero_point) * np.float32(scale)
        # Each score is a multiple of 1/256, so they sum to 1 only nearly.
        scores /= np.maximum(scores.sum(axis=1, keepdims=True), np.float32(scale))
        return scores

    def describe(self) -> RuntimeInfo:
        """See `Runtime.describe`."""
        from importlib.metadata import version

        return RuntimeInfo(
            "litert", self._library, version(self._library), "cpu", "XNNPACK", self._threads
        )

    def close(self) -> None:
        """See `Runtime.close`."""
        with self._lock:
            self._interpreter = None
