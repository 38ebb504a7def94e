"""ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.converters.base import FileGraph
from edgeclf.converters.onnx_import import (
    in_float32,
    in_plain_operators,
    made_by_softmax,
    parameter_count,
    quantized_as,
)
from edgeclf.converters.onnx_weights import load_whole
from edgeclf.converters.readers.base import (
    ForeignModel,
    Output,
    answering,
    as_rows,
    check_output_type,
    choose_output,
    fits,
    in_type,
    only_input,
)
from edgeclf.converters.source_spec import SourceSpec
from edgeclf.errors import ArtifactError, ConversionError, mapped
from edgeclf.runtimes.onnxruntime import OnnxRuntime, open_session, session_options
from edgeclf.system.progress import log

_ENGINE = "onnxruntime"
_TYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(int32)": np.int32,
}  # fmt: skip


def read_onnx(path: Path, source_spec: SourceSpec) -> ForeignModel:
    """An ``.onnx`` with all its weights, in its own types; quantised ones as what they are."""
    model, files = load_whole(path)
    content = model.SerializeToString()
    session = _load(content, path)
    model = in_plain_operators(model)
    inputs = session.get_inputs()
    only_input([each.name for each in inputs], path)
    _check_input(session, path)
    chosen = choose_output(_outputs(session, model, path, source_spec), path, source_spec)
    (kind,) = (each.type for each in session.get_outputs() if each.name == chosen.name)
    check_output_type(kind[len("tensor(") : -1], chosen.name, path)
    graph = FileGraph(
        "onnx",
        model.SerializeToString(),
        source_spec.layout == "nchw",
        source_spec.scores == "logits",
        chosen.name,
        quantized_as(model, chosen.name),
    )
    return ForeignModel(
        graph,
        _predictor(session, inputs[0], chosen.name, path),
        _sizes(inputs[0].shape),
        parameter_count(model),
        "onnx",
        files,
        chosen.softmax,
    )


def _load(content: bytes, path: Path) -> Any:
    onnxruntime: Any = OnnxRuntime.import_engine()
    options = session_options()
    options.log_severity_level = 4  # errors are raised; what it warns of is the exporter's matter
    with mapped(ArtifactError, f"{_ENGINE} cannot load {path}"):
        try:
            return open_session(content, options)
        except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
            narrow = in_float32(content)
            if narrow == content:
                raise
            session = open_session(narrow, options)
    log(f"{path} is in float64 or bfloat16, which {_ENGINE} cannot run: it is read as float32")
    return session


def _predictor(session: Any, given: Any, output: str, path: Path) -> Callable[[Any], Any]:
    fixed = _sizes(given.shape)[0] or 0

    def predict(images: Any) -> Any:
        values = in_type(images, _TYPES[given.type], path)
        step = fixed or len(values)
        rows = []
        with answering(_ENGINE, path, given.name, values.shape):
            for start in range(0, len(values), step):
                part = values[start : start + step]
                # A batch that is fixed is filled up with the last image.
                full = np.concatenate([part, *[part[-1:]] * (step - len(part))])
                (scores,) = session.run([output], {given.name: full})
                rows.append(as_rows(scores, step)[: len(part)])
        return np.concatenate(rows)

    return predict


def _sizes(shape: Any) -> tuple[int | None, ...]:
    """The shape; None where a size is open: it has a name there, or, from PaddlePaddle, is -1."""
    return tuple(size if isinstance(size, int) and size > 0 else None for size in shape or ())


def _check_input(session: Any, path: Path) -> None:
    """Refuses images of types that no converter takes."""
    (given,) = session.get_inputs()
    if given.type not in _TYPES:
        raise ConversionError(
            f"{path} takes {given.type} as {given.name!r}; expected images of {', '.join(_TYPES)}."
        )


def _outputs(session: Any, model: Any, path: Path, source_spec: SourceSpec) -> list[Output]:
    """The outputs that are tensors; beside one that is none, one of them must hold scores."""
    answers = session.get_outputs()
    outputs = [
        Output(each.name, _sizes(each.shape), made_by_softmax(model, each.name))
        for each in answers
        if each.type.startswith("tensor(")
    ]
    if len(outputs) == len(answers) or any(fits(each, source_spec) for each in outputs):
        return outputs
    other = next(each for each in answers if not each.type.startswith("tensor("))
    raise ConversionError(
        f"{path} answers {other.type} as {other.name!r}; expected a tensor of scores. "
        "Of a model of scikit-learn, export it with options={'zipmap': False}."
    )
