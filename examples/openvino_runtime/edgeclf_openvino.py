"""ONNX artifacts through OpenVINO, on the CPU or on an Intel GPU."""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact
from edgeclf.errors import InferenceError, RuntimeLoadError
from edgeclf.image import UInt8Array
from edgeclf.runtimes import Device, RuntimeInfo
from edgeclf.runtimes.base import Float32Array, as_probabilities, check_images
from edgeclf.system.cpu import available_cpus

_DEVICES: dict[Device, str] = {"cpu": "CPU", "gpu": "GPU"}
_TELEMETRY = "openvino_telemetry"


class OpenVINORuntime:
    """Runs ``.onnx`` artifacts in batches of any size, one call after the other."""

    formats = ("onnx",)

    def __init__(
        self, artifact: Artifact, *, device: Device = "cpu", threads: int | None = None
    ) -> None:
        if artifact.format not in self.formats:
            raise RuntimeLoadError(
                f"The openvino runtime loads .onnx artifacts; received {artifact.format}."
            )
        if device not in _DEVICES:
            raise RuntimeLoadError(f"Device is {device!r}; expected one of {tuple(_DEVICES)}.")
        self._openvino: Any = self.import_engine()
        self._device: Device = device
        self._spec = artifact.metadata.image
        self._classes = len(artifact.metadata.labels)
        # One request, as the latency hint makes one stream: more would wait for each other.
        self._lock = threading.Lock()
        try:
            core = self._openvino.Core()
            model = core.read_model(artifact.content)
            self._one_by_one = model.input().partial_shape[0] == 1  # from elsewhere, fixed batch
            compiled = core.compile_model(
                model, _DEVICES[device], _properties(device, threads or available_cpus())
            )
            self._executes_on: list[str] = compiled.get_property("EXECUTION_DEVICES")
            self._threads = (
                int(compiled.get_property("INFERENCE_NUM_THREADS")) if device == "cpu" else 1
            )
            self._request: Any = compiled.create_infer_request()
        except RuntimeError as exc:
            raise RuntimeLoadError(
                f"OpenVINO cannot load this model on the {device}: {_in_one_line(exc)}"
            ) from exc
        # "GPU" may be executed by "GPU.0"; anything else is not what was asked for.
        if {name.partition(".")[0] for name in self._executes_on} != {_DEVICES[device]}:
            raise RuntimeLoadError(
                f"{device!r} was asked for, but OpenVINO runs on {self._executes_on}."
            )

    @staticmethod
    def import_engine() -> ModuleType:
        """The openvino module, without the package that reports its import to its maker.

        With that package, `import openvino` also writes into the home folder. Where it is missing,
        OpenVINO does without, so it is hidden while OpenVINO is imported for the first time.

        Raises:
            RuntimeLoadError: It is not installed; names the pip line.
        """
        hidden = _TELEMETRY not in sys.modules
        if hidden:
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # makes its import fail
        try:
            return importlib.import_module("openvino")
        except ModuleNotFoundError as exc:
            raise RuntimeLoadError(
                f"Running a model with OpenVINO needs the package {exc.name!r}, which is not "
                "installed. Install it with: pip install 'openvino>=2026.0'"
            ) from None
        finally:
            if hidden:
                del sys.modules[_TELEMETRY]

    @staticmethod
    def accelerators() -> tuple[str, ...]:
        """``gpu`` where OpenVINO sees one that it can use."""
        openvino: Any = OpenVINORuntime.import_engine()
        seen = {name.partition(".")[0] for name in openvino.Core().available_devices}
        return tuple(d for d, name in _DEVICES.items() if d != "cpu" and name in seen)

    def run(self, images: UInt8Array) -> Float32Array:
        """See `edgeclf.runtimes.Runtime.run`."""
        check_images(images, self._spec)  # OpenVINO would take float32 and not say a word
        parts = [i[np.newaxis] for i in images] if self._one_by_one else [images]
        with self._lock:
            if self._request is None:
                raise InferenceError("This runtime is closed. Load the model again.")
            try:
                outputs = [self._request.infer({0: part})[0] for part in parts]
            except RuntimeError as exc:
                raise InferenceError(f"OpenVINO failed: {_in_one_line(exc)}") from exc
        output = np.concatenate(outputs) if outputs else np.empty((0, self._classes))
        return as_probabilities(output, len(images), self._classes)

    def describe(self) -> RuntimeInfo:
        """See `edgeclf.runtimes.Runtime.describe`."""
        return RuntimeInfo(
            "openvino",
            "openvino",
            self._openvino.__version__.partition("-")[0],  # without the build's name
            self._device,
            ", ".join(self._executes_on),
            self._threads,
        )

    def close(self) -> None:
        """See `edgeclf.runtimes.Runtime.close`."""
        with self._lock:
            self._request = None


def _properties(device: Device, threads: int) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        # Without it, float32 models are computed in bfloat16 or float16 where the hardware can,
        # and the certificate's tolerance is no longer met.
        "EXECUTION_MODE_HINT": "ACCURACY",
    }
    if device == "cpu":
        properties["INFERENCE_NUM_THREADS"] = threads
    return properties


def _in_one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())
