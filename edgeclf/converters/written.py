"""Files of Keras networks that no exporter makes: written layer by layer, and proved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Format
from edgeclf.converters.base import FileGraph
from edgeclf.converters.tflite_network import write_tflite
from edgeclf.converters.tflite_running import opened
from edgeclf.networks.backend import keras
from edgeclf.networks.engines import TOLERANCE, difference
from edgeclf.networks.layer_writer import UnknownLayerError
from edgeclf.networks.onnx_network import write_onnx
from edgeclf.runtimes.onnxruntime import open_session
from edgeclf.system.progress import log

# Images [N, H, W, C] as a network takes them, and what it answers them.
Known: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Written:
    """Writes a network's files, as long as these answer as it does.

    Within milliseconds, where the exporters of TensorFlow and tf2onnx take seconds each; and layers
    keep their names.

    Attributes:
        model: The network, of one image of floats.
        output: Which of its tensors is wanted.
        known: Gives what the files must answer, within 1e-4 of the largest number.
    """

    model: keras.Model
    output: int
    known: Callable[[], Known]

    def __call__(self, format_: Format) -> FileGraph | None:
        """The file, or None where an exporter is needed; the log says why."""
        write, run = _WAYS[format_]
        images, expected = self.known()
        try:
            if (dtype := self.model.inputs[0].dtype) != "float32":
                raise UnknownLayerError(f"{self.model.name} (its input, {dtype})")
            content = write(self.model, self.model.outputs[self.output])
            worst = difference(run(content, np.asarray(images, np.float32)), expected)
            if worst <= TOLERANCE:  # not where it is no number
                return FileGraph(format_, content)
            reason = f"written directly, its answers differ by {worst:.1g}"
        except UnknownLayerError as exc:
            reason = f"the layer {exc} is not written directly"
        except Exception as exc:  # of a network from elsewhere, which an exporter may know
            reason = f"written directly, {type(exc).__name__}: {exc}"
        log(f"  {format_} by an exporter: {reason}")
        return None


def _run_onnx(content: bytes, images: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    session = open_session(content)
    (scores,) = session.run(None, {session.get_inputs()[0].name: images})
    return np.asarray(scores)


def _run_tflite(content: bytes, images: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    interpreter = opened(content)
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in images:
        interpreter.set_tensor(given["index"], image[np.newaxis])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(answer["index"]))
    return np.concatenate(rows)


# How a format's file is written, and what it answers images.
_WAYS: dict[Format, tuple[Callable[..., bytes], Callable[..., npt.NDArray[Any]]]] = {
    "onnx": (lambda model, output: write_onnx(model, [output]), _run_onnx),
    "tflite": (write_tflite, _run_tflite),
}
