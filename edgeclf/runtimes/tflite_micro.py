"""The interpreter for microcontrollers, on this machine: shows what firmware will answer.

It takes what a microcontroller takes, ``int8-full`` artifacts. A model that it does not like aborts
its whole process, so it runs in a child.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from edgeclf.artifact import Artifact
from edgeclf.errors import InferenceError, MissingDependencyError, RuntimeLoadError
from edgeclf.image import UInt8Array
from edgeclf.runtimes.base import Device, Float32Array, RuntimeInfo, as_probabilities, check_images

_PACKAGE, _EXTRA = "tflite_micro", "micro"
_ARENA_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")
_ARENA_LIMIT = 64 * 2**20  # enough for any model that a microcontroller could hold
_TIMEOUT_S = 600


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
    with tempfile.TemporaryDirectory() as folder:
        model, given, answers = (Path(folder) / n for n in ("m.tflite", "in.npy", "out.npy"))
        model.write_bytes(content)
        np.save(given, images)
        done = subprocess.run(
            [sys.executable, "-m", __name__, model, given, answers],
            capture_output=True, text=True, errors="replace", check=False, timeout=_TIMEOUT_S,
        )  # fmt: skip
        if done.returncode != 0 or not answers.exists():
            words = done.stderr.strip().splitlines()[-3:]
            raise RuntimeLoadError(
                f"tflite-micro cannot run this model (exit code {done.returncode}): "
                f"{' '.join(words)}"
            )
        found = _ARENA_TOTAL.search(done.stdout + done.stderr)
        return np.load(answers), int(found.group(1)) if found else 0


def _serve(model: str, given: str, answers: str) -> None:
    """The child: classifies the images in `given`."""
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(Path(model).read_bytes(), arena_size=_ARENA_LIMIT)
    scores = interpreter.get_output_details(0)["quantization_parameters"]
    rows = []
    for image in np.load(given):
        interpreter.set_input((image ^ 0x80).view(np.int8)[np.newaxis], 0)
        interpreter.invoke()
        output = interpreter.get_output(0)[0].astype(np.float32)
        rows.append((output - scores["zero_points"][0]) * scores["scales"][0])
    interpreter.print_allocations()
    table = np.array(rows, np.float32)
    np.save(answers, table / table.sum(axis=1, keepdims=True))


if __name__ == "__main__":
    _serve(*sys.argv[1:])
