"""TFLite models through LiteRT, or an older interpreter where that is all there is."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

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
from edgeclf.runtimes.tap import with_features_output
from edgeclf.system.cpu import available_cpus
from edgeclf.system.quiet import first_words_of

# (module with an Interpreter, distribution), the current engine first.
_ENGINES = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
    ("tensorflow.lite", "tensorflow"),
)
_ACCELERATORS: dict[Device, str] = {"gpu": "GPU", "npu": "NPU"}


class LiteRTRuntime:
    """Runs ``.tflite`` artifacts image by image: their input has a static batch of one."""

    formats = ("tflite",)

    def __init__(
        self, artifact: Artifact, *, device: Device = "cpu", threads: int | None = None
    ) -> None:
        if artifact.format != "tflite":
            raise RuntimeLoadError(
                f"The litert runtime loads .tflite artifacts; received {artifact.format}."
            )
        if device != "cpu" and device not in _ACCELERATORS:
            raise RuntimeLoadError(
                f"The litert runtime runs on the cpu, or on LiteRT's accelerators gpu and npu; "
                f"{device!r} was asked for. Use an .onnx or .keras artifact for CUDA."
            )
        self._threads = threads or available_cpus()
        self._device: Device = device
        self._artifact = artifact
        self._features: Features | None = None  # once the engine has them as second output
        self._classes = len(artifact.metadata.labels)
        self._spec = artifact.metadata.image
        self._lock = threading.Lock()
        self._load: Callable[[bytes], _Interpreter | _CompiledModel]
        if device == "cpu":
            module, self._library = self.import_engine()
            self._load = partial(_Interpreter, module, self._library, self._threads)
        else:
            self._library = "ai-edge-litert"
            self._load = partial(_CompiledModel, _ACCELERATORS[device])
        self._engine: _Interpreter | _CompiledModel | None = self._load(artifact.content)

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
        check_images(images, self._spec)
        with self._lock:  # an interpreter is one state machine; two threads would mix their images
            return self._answers(images)

    def run_with_features(self, images: UInt8Array) -> tuple[Float32Array, Float32Array]:
        """See `edgeclf.runtimes.base.features_of`; from its first call on, `run` is of it too."""
        check_images(images, self._spec)
        maps: list[npt.NDArray[Any]] = []
        with self._lock:
            if self._features is None:
                features = self._artifact.features
                if self._engine is not None:
                    self._engine = self._load(with_features_output(self._artifact))
                self._features = features
            rows = self._answers(images, maps)
        return rows, as_features(maps, len(images), self._features)

    def _answers(self, images: UInt8Array, maps: list[Any] | None = None) -> Float32Array:
        """Probabilities, and the features into `maps` if it is given; the lock is held."""
        engine = self._engine
        if engine is None:
            raise InferenceError("This runtime is closed. Load the model again.")
        rows = np.empty((len(images), self._classes), np.float32)
        with mapped(InferenceError, f"{self._library} failed"):
            for row, image in zip(rows, images, strict=True):
                # int8-full takes the same values, counted from -128.
                given = (image ^ 0x80).view(np.int8) if engine.takes_int8 else image
                row[:] = engine.invoke(given[np.newaxis])
                if maps is not None:
                    maps.append(engine.features())
        return as_probabilities(self._scores(engine, rows), len(images), self._classes)

    @staticmethod
    def _scores(engine: _Interpreter | _CompiledModel, rows: Float32Array) -> Float32Array:
        if engine.output_scale is None:
            return rows
        scale, zero_point = engine.output_scale
        scores: Float32Array = (rows - zero_point) * np.float32(scale)
        # Each score is a multiple of 1/256, so they sum to 1 only nearly.
        scores /= np.maximum(scores.sum(axis=1, keepdims=True), np.float32(scale))
        return scores

    def describe(self) -> RuntimeInfo:
        """See `Runtime.describe`."""
        from importlib.metadata import PackageNotFoundError, version

        delegate = "XNNPACK" if self._device == "cpu" else _ACCELERATORS[self._device]
        try:
            number = version(self._library)
        except PackageNotFoundError:  # such as TensorFlow under another distribution's name
            number = "unknown"
        return RuntimeInfo("litert", self._library, number, self._device, delegate, self._threads)

    def close(self) -> None:
        """See `Runtime.close`."""
        with self._lock:
            self._engine = None


class _Interpreter:
    """The classic interpreter, on the CPU."""

    def __init__(self, module: ModuleType, library: str, threads: int, content: bytes) -> None:
        with mapped(RuntimeLoadError, f"{library} cannot load this model"), first_words_of(library):
            self._interpreter: Any = module.Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        (given, *_), (answer, *others) = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )
        self._input, self._output = given["index"], answer["index"]
        self._features: dict[str, Any] = others[-1] if others else {}
        self.takes_int8 = given["dtype"] == np.int8
        self.output_scale = answer["quantization"] if answer["dtype"] == np.int8 else None

    def invoke(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One image [1, H, W, 3] to the raw output [classes]."""
        self._interpreter.set_tensor(self._input, image)
        self._interpreter.invoke()
        output: npt.NDArray[Any] = self._interpreter.get_tensor(self._output)[0]
        return output

    def features(self) -> npt.NDArray[Any]:
        """The features of the image that was answered last, as the numbers they stand for."""
        values: npt.NDArray[Any] = self._interpreter.get_tensor(self._features["index"])
        scale, zero_point = self._features["quantization"]
        if not scale:
            return values
        found = values.astype(np.float32)
        found -= zero_point
        found *= np.float32(scale)
        return found


class _CompiledModel:
    """LiteRT's newer interface, which is the one with accelerators; all on it, or an error."""

    takes_int8 = False
    output_scale = None

    def __init__(self, accelerator: str, content: bytes) -> None:
        try:
            module = importlib.import_module("ai_edge_litert.compiled_model")
        except ModuleNotFoundError:
            raise MissingDependencyError(
                "ai_edge_litert", "litert", f"Running on a {accelerator}"
            ) from None
        with mapped(
            RuntimeLoadError,
            f"LiteRT cannot run this model on a {accelerator} here",
            "Such an accelerator or its driver is missing, or does not take all of the model's "
            "operations; use device='cpu'.",
        ):
            self._model: Any = module.CompiledModel.from_buffer(
                content, hardware_accel=module.HardwareAccelerator[accelerator]
            )
            self._inputs = self._model.create_input_buffers(0)
            self._outputs = self._model.create_output_buffers(0)
            self._shapes = self._output_shapes(self._model)
            accelerated = accelerator == "CPU" or self._model.is_fully_accelerated()
        if not accelerated:
            raise RuntimeLoadError(
                f"LiteRT would run a part of this model beside the {accelerator}. What was asked "
                "for is what runs: use device='cpu', or an fp16 artifact for a GPU."
            )

    @staticmethod
    def _output_shapes(model: Any) -> list[list[int]]:
        (key,) = model.get_signature_list()
        outputs = model.get_output_tensor_details(key)
        for name, output in outputs.items():
            if output["dtype"] not in ("float32", np.float32):  # and no scale comes with it
                raise ValueError(f"its {name} are {output['dtype']}, expected float32 (not int8)")
        return [output["shape"] for output in outputs.values()]

    def invoke(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One image uint8 [1, H, W, 3] to probabilities [classes]."""
        self._inputs[0].write(np.ascontiguousarray(image))
        self._model.run_by_index(0, self._inputs, self._outputs)
        output: Float32Array = self._read(0)[0]
        return output

    def features(self) -> Float32Array:
        """The features of the image that was answered last."""
        return self._read(-1)

    def _read(self, number: int) -> Float32Array:
        shape = self._shapes[number]
        values = self._outputs[number].read(int(np.prod(shape)), np.float32)
        found: Float32Array = np.reshape(values, shape)
        return found
