"""The interpreter for microcontrollers, on this machine: shows what firmware will answer.

It takes what a microcontroller takes, ``int8-full`` artifacts. A model that it does not like aborts
its whole process, so it runs in a child.
"""

from __future__ import annotations

import importlib.util
import re
from importlib.metadata import version
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact
from edgeclf.errors import InferenceError, MissingDependencyError, RuntimeLoadError
from edgeclf.image import UInt8Array
from edgeclf.runtimes.base import Device, Float32Array, RuntimeInfo, as_probabilities, check_images
from edgeclf.system.child_process import ChildError, function_command, last_lines, run_child

_PACKAGE, _EXTRA = "tflite_micro", "micro"
_ARENA_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")
_ARENA_LIMIT = 64 * 2**20  # enough for any model that a microcontroller could hold
_TIMEOUT_S = 600.0


class TFLiteMicroRuntime:
    """Runs ``int8-full`` TFLite artifacts as a microcontroller would, slowly."""

    formats = ()  # never chosen by itself: it shows what firmware will answer, slowly

    def __init__(
        self, artifact: Artifact, *, device: Device = "cpu", threads: int | None = None
    ) -> None:
        if artifact.format != "tflite" or artifact.metadata.precision != "int8-full":
            raise RuntimeLoadError(
                "The tflite-micro runtime loads int8-full .tflite artifacts; received "
                f"{artifact.metadata.precision} .{artifact.format}."
            )
        if device != "cpu":
            raise RuntimeLoadError(f"tflite-micro runs on the cpu; {device!r} was asked for.")
        self.import_engine()
        self._content: bytes | None = artifact.content
        self._classes = len(artifact.metadata.labels)
        self._spec = artifact.metadata.image
        black = np.zeros((1, self._spec.height, self._spec.width, 3), np.uint8)
        _, self.arena_bytes = _ask(artifact.content, black)

    @staticmethod
    def import_engine() -> None:
        """Only looks whether it is there: importing it here would let it end this process.

        Raises:
            MissingDependencyError: It is not installed.
        """
        if importlib.util.find_spec(_PACKAGE) is None:
            raise MissingDependencyError(_PACKAGE, _EXTRA, "Running a model as firmware would")

    def run(self, images: UInt8Array) -> Float32Array:
        """See `Runtime.run`."""
        if self._content is None:
            raise InferenceError("This runtime is closed. Load the model again.")
        check_images(images, self._spec)
        if not len(images):  # nothing to start a process for
            return np.empty((0, self._classes), np.float32)
        try:
            rows, _ = _ask(self._content, images)
        except RuntimeLoadError as exc:  # it did run when it was loaded
            raise InferenceError(str(exc)) from exc
        return as_probabilities(rows, len(images), self._classes)

    def describe(self) -> RuntimeInfo:
        """See `Runtime.describe`."""
        return RuntimeInfo(
            "tflite-micro", "tflite-micro", version("tflite-micro"), "cpu", "reference kernels", 1
        )

    def close(self) -> None:
        """See `Runtime.close`."""
        self._content = None


def arena_bytes(artifact: Artifact) -> int:
    """Working memory that an ``int8-full`` artifact needs beside the model itself.

    Measured on this machine, whose pointers may be twice as long as a microcontroller's, so it is
    a little more than firmware needs.

    Raises:
        RuntimeLoadError: tflite-micro cannot run it.
        MissingDependencyError: tflite-micro is not installed.
    """
    return TFLiteMicroRuntime(artifact).arena_bytes


def _ask(content: bytes, images: UInt8Array) -> tuple[Float32Array, int]:
    """Probabilities float32 [N, classes] and the arena's size in bytes, from a child."""
    job = {"model_bytes": len(content), "shape": images.shape}
    try:
        answer = run_child(
            function_command(f"{__name__}:answer"),
            job,
            content + images.tobytes(),
            timeout_s=_TIMEOUT_S,
        )
    except ChildError as exc:
        raise RuntimeLoadError(
            f"tflite-micro cannot run this model: {exc.reason}. {last_lines(exc.output, 3)}"
        ) from exc
    table = np.frombuffer(bytearray(answer.payload), np.float32).reshape(answer.document["shape"])
    found = _ARENA_TOTAL.search(answer.output)
    return table, int(found.group(1)) if found else 0


def answer(job: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """What the child does; see `edgeclf.system.child.serve`.

    Args:
        job: ``model_bytes`` and ``shape``, of the images.
        payload: The model and, behind it, uint8 images.
    """
    from tflite_micro.python.tflite_micro import runtime

    model, pixels = payload[: job["model_bytes"]], payload[job["model_bytes"] :]
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=_ARENA_LIMIT)
    scores = interpreter.get_output_details(0)["quantization_parameters"]
    rows = []
    for image in np.frombuffer(pixels, np.uint8).reshape(job["shape"]):
        interpreter.set_input((image ^ 0x80).view(np.int8)[np.newaxis], 0)
        interpreter.invoke()
        output = interpreter.get_output(0)[0].astype(np.float32)
        rows.append((output - scores["zero_points"][0]) * scores["scales"][0])
    interpreter.print_allocations()
    table = np.array(rows, np.float32)
    table /= table.sum(axis=1, keepdims=True)
    return {"shape": table.shape}, table.tobytes()
