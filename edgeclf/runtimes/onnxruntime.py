"""ONNX models through ONNX Runtime, on the CPU or on CUDA, whichever was asked for."""

from __future__ import annotations

import importlib
import os
import threading
from types import ModuleType
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
from edgeclf.runtimes.tap import with_features_output
from edgeclf.system.cpu import available_cpus

_PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_ERRORS_ONLY = 3
_MUCH_LARGER = 8  # times this call's batch is one whose memory is not kept


def session_options(threads: int | None = None, *, spins: bool = False) -> Any:
    """What every session of edgeclf is made with.

    Args:
        threads: For one call; by default what this process may use. Left to itself, ONNX Runtime
            also takes CPUs that this process was told to leave alone.
        spins: Whether threads without work watch for it while a call lasts, which takes a CPU
            each, or sleep. Left to itself, ONNX Runtime also spins between calls.
    """
    options: Any = OnnxRuntime.import_engine().SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    rule = ("force_spinning_stop", "1") if spins else ("intra_op.allow_spinning", "0")
    options.add_session_config_entry(f"session.{rule[0]}", rule[1])
    return options


def open_session(content: bytes, options: Any = None) -> Any:
    """A session on the CPU, for whoever needs no more than that; raises what the engine raises."""
    onnxruntime: Any = OnnxRuntime.import_engine()
    return onnxruntime.InferenceSession(
        content, options or session_options(), providers=[_PROVIDERS["cpu"]]
    )


class OnnxRuntime:
    """Runs ``.onnx`` artifacts in batches of any size; sessions are safe to share by threads."""

    formats = ("onnx",)
    _name, _spins = "onnxruntime", False

    def __init__(
        self, artifact: Artifact, *, device: Device = "cpu", threads: int | None = None
    ) -> None:
        if artifact.format != "onnx":
            raise RuntimeLoadError(
                f"The {self._name} runtime loads .onnx artifacts; received {artifact.format}."
            )
        if device not in _PROVIDERS:
            raise RuntimeLoadError(f"Device is {device!r}; expected one of {tuple(_PROVIDERS)}.")
        onnxruntime: Any = self.import_engine()
        provider = _PROVIDERS[device]
        if provider not in onnxruntime.get_available_providers():
            raise RuntimeLoadError(
                f"The installed onnxruntime has no {provider}, only "
                f"{onnxruntime.get_available_providers()}. Remove it, then: "
                "pip install 'edgeclf[onnxruntime-gpu]' (on a Jetson, the wheel of its maker)."
            )
        self._onnxruntime: Any = onnxruntime
        self._artifact = artifact
        self._threads = threads or available_cpus()
        self._classes = len(artifact.metadata.labels)
        self._spec = artifact.metadata.image
        self._device: Device = device
        self._session: Any = self._create_session(artifact.content)
        self._lock = threading.Lock()
        self._features: Features | None = None  # once the session has them as second output
        image_input = self._session.get_inputs()[0]
        self._input = image_input.name
        self._output = self._session.get_outputs()[0].name
        self._one_by_one = image_input.shape[0] == 1  # a model from elsewhere with a fixed batch
        self._batch = 0  # the largest since memory was given back

    @staticmethod
    def import_engine() -> ModuleType:
        """The onnxruntime module, with its telemetry off unless the user has set it.

        From 1.29 on, official builds report every session to their maker. That is read at the
        first import. The uploader's thread also makes a forked child hang as it ends.

        Raises:
            MissingDependencyError: It is not installed.
        """
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            return importlib.import_module("onnxruntime")
        except ModuleNotFoundError:
            raise MissingDependencyError(
                "onnxruntime", "onnxruntime", "Running an .onnx model"
            ) from None

    @staticmethod
    def accelerators() -> tuple[str, ...]:
        """What the installed onnxruntime was built for; whether that loads, a model shows."""
        built = OnnxRuntime.import_engine().get_available_providers()
        return tuple(d for d, provider in _PROVIDERS.items() if d != "cpu" and provider in built)

    def _create_session(self, content: bytes) -> Any:
        provider = _PROVIDERS[self._device]
        options = session_options(self._threads, spins=self._spins)
        if provider != _PROVIDERS["cpu"]:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        with mapped(RuntimeLoadError, "onnxruntime cannot load this model"):
            session = self._onnxruntime.InferenceSession(content, options, providers=[provider])
        if session.get_providers()[0] != provider:
            raise RuntimeLoadError(
                f"{provider} was asked for, but onnxruntime runs on {session.get_providers()}. "
                "The usual cause is a CUDA or cuDNN library that it could not load."
            )
        return session

    def run(self, images: UInt8Array) -> Float32Array:
        """See `Runtime.run`."""
        return self._run(self._session, images, [self._output])[0]

    def run_with_features(self, images: UInt8Array) -> tuple[Float32Array, Float32Array]:
        """See `edgeclf.runtimes.base.features_of`; from its first call on, `run` is of it too."""
        with self._lock:
            if self._features is None:
                features = self._artifact.features
                if self._session is not None:
                    self._session = self._create_session(with_features_output(self._artifact))
                self._features = features
            session, features = self._session, self._features
        rows, maps = self._run(session, images, [self._output, features.tensor])
        return rows, as_features(maps, len(images), features)

    def _run(
        self, session: Any, images: UInt8Array, outputs: list[str]
    ) -> tuple[Float32Array, list[Any]]:
        """Probabilities, and what the last output gave for each part of the images."""
        if session is None:
            raise InferenceError("This runtime is closed. Load the model again.")
        check_images(images, self._spec)
        parts = [i[np.newaxis] for i in images] if self._one_by_one else [images]
        with mapped(InferenceError, "onnxruntime failed"):
            rule = self._memory_rule(len(parts[0])) if parts else None
            answers = [session.run(outputs, {self._input: part}, rule) for part in parts]
        rows = [answer[0] for answer in answers] or [np.empty((0, self._classes))]
        probabilities = as_probabilities(np.concatenate(rows), len(images), self._classes)
        return probabilities, [answer[-1] for answer in answers]

    def _memory_rule(self, count: int) -> Any:
        """For a call of `count` pictures: gives back what a much larger one took, or None.

        It keeps as much as it ever needed: 45 MB after a batch of 64. Given back after
        every call, a batch takes 1.7 times as long (benchmarks/idle_threads.py).
        """
        if self._device != "cpu" or count * _MUCH_LARGER > self._batch:
            self._batch = max(self._batch, count)
            return None
        self._batch = count
        rule = self._onnxruntime.RunOptions()
        rule.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return rule

    def describe(self) -> RuntimeInfo:
        """See `Runtime.describe`."""
        return RuntimeInfo(
            self._name,
            "onnxruntime",
            self._onnxruntime.__version__,
            self._device,
            _PROVIDERS[self._device],
            self._threads,
            waiting="spinning within a call" if self._spins else "sleeping",
        )

    def close(self) -> None:
        """See `Runtime.close`."""
        with self._lock:
            self._session = None


class SpinningOnnxRuntime(OnnxRuntime):
    """The same with threads that spin while a call lasts, where `edgeclf autotune` sees it pay."""

    _name, _spins = "onnxruntime-spinning", True
