"""TFLite models run for what is inside of them, by the kernels that devices have."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgeclf.converters import flatbuffer
from edgeclf.runtimes.base import Float32Array
from edgeclf.system.quiet import first_words_of


def opened(model: bytes) -> Any:
    """An interpreter of a model, ready to be given an image."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=model)
        interpreter.allocate_tensors()
    return interpreter


def activations(
    model: bytes, images: Iterable[Float32Array], wanted: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    """See `edgeclf.converters.ptq.Engine.activations`."""
    interpreter = opened(flatbuffer.up_to(model, wanted))
    (given,) = interpreter.get_input_details()
    details = {d["name"]: d for d in interpreter.get_output_details()}
    for image in images:
        interpreter.set_tensor(given["index"], as_type(image[np.newaxis], given))
        interpreter.invoke()
        tensors: dict[str, Any] = {}
        if wanted is None or given["name"] in wanted:
            tensors[given["name"]] = image[np.newaxis]
        found = {name: interpreter.tensor(d["index"])() for name, d in details.items()}
        tensors |= {name: _as_float(v, details[name]) for name, v in found.items() if v.size}
        del found
        yield tensors
        tensors.clear()  # views, not copies: the interpreter does not go on while there are any


def as_type(values: Any, detail: Mapping[str, Any]) -> Any:
    """Normalised values as what an input takes, described by `Interpreter.get_input_details`."""
    if detail["dtype"] == np.float32:
        return values
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    steps = (np.rint(values / scale) + zero_point).clip(limits.min, limits.max)
    return steps.astype(detail["dtype"])


def _as_float(values: Any, detail: Mapping[str, Any]) -> Any:
    scale, zero_point = detail["quantization"]
    if values.dtype == np.float32 or not scale:
        return values.astype(np.float32, copy=False)
    return (values.astype(np.float32) - zero_point) * scale


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the quantiser's progress bars, and its interpreter's advice and debug warnings."""
    with (
        first_words_of("ai-edge-litert"),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", UserWarning)
        yield
