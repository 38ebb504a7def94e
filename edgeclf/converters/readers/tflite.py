"""TFLite files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.converters import flatbuffer
from edgeclf.converters.base import FileGraph
from edgeclf.converters.channels import count_of
from edgeclf.converters.readers.base import (
    ForeignModel,
    Output,
    answering,
    as_rows,
    check_input_type,
    choose_output,
    in_type,
    only_input,
)
from edgeclf.converters.readers.tflite_graph import check_graph, check_rank, check_scores
from edgeclf.converters.source_spec import SourceSpec
from edgeclf.errors import ArtifactError, OptionError, mapped
from edgeclf.runtimes.litert import LiteRTRuntime
from edgeclf.system.quiet import first_words_of

_DAMAGED = "If it came by a download, compare its size: it may be cut short."
_OUTSIDE = 0.25  # share of an input's own range that the values given may leave out or exceed
_ROUNDED = 1.01  # steps that its ends may be off: one, as its zero point is a whole number


def read_tflite(path: Path, source_spec: SourceSpec) -> ForeignModel:
    """A ``.tflite`` in its own types; quantised ones as what they are."""
    engine, library = LiteRTRuntime.import_engine()
    with mapped(ArtifactError, f"{library} cannot load {path}", _DAMAGED), first_words_of(library):
        engine.Interpreter(model_content=path.read_bytes())  # before anything else parses it
        check_graph(path.read_bytes(), path)
        content = flatbuffer.with_own_names(path.read_bytes())
        interpreter: Any = engine.Interpreter(model_content=content)
    inputs, answers = interpreter.get_input_details(), interpreter.get_output_details()
    only_input([detail["name"] for detail in inputs], path)
    (given,) = inputs
    check_input_type(np.dtype(given["dtype"]).name, given["name"], path)
    outputs = [
        Output(detail["name"], _sizes(detail), flatbuffer.made_by_softmax(content, index))
        for index, detail in enumerate(answers)
    ]
    output = choose_output(outputs, path, source_spec)
    chosen = outputs.index(output)
    check_scores(answers[chosen], path)
    shape = _sizes(given)
    check_rank(shape, path)
    input_range = _range_of_bytes(given, path, source_spec)
    resized = _run_shape(shape, source_spec)
    batch = resized[0] or 1
    if None not in resized:  # else it is about to be asked for
        with answering(library, path, given["name"], resized), first_words_of(library):
            if resized != tuple(given["shape"]):
                interpreter.resize_tensor_input(given["index"], resized)
            interpreter.allocate_tensors()
    graph = FileGraph(
        "tflite",
        content,
        source_spec.layout == "nchw",
        source_spec.scores == "logits",
        answers[chosen]["name"],
        flatbuffer.quantized_as(content, chosen),
    )
    predict = _predictor(interpreter, library, given, answers[chosen], path, batch)
    parameters = flatbuffer.parameter_count(content)
    return ForeignModel(
        graph, predict, shape, parameters, "tflite", softmax=output.softmax, input_range=input_range
    )


def _run_shape(shape: Sequence[int | None], source_spec: SourceSpec) -> tuple[int | None, ...]:
    """The shape to run with, where a size is open the one that was said; None without."""
    rows, columns = source_spec.input_size or (None, None)
    depth = count_of(source_spec.channels)
    said = (1, depth, rows, columns) if source_spec.layout == "nchw" else (1, rows, columns, depth)
    return tuple(own or size for own, size in zip(shape, said, strict=True))


def _range_of_bytes(
    given: Mapping[str, Any], path: Path, source_spec: SourceSpec
) -> tuple[float, float] | None:
    """The range of a quantised input of bytes, if it is the one that was said but for rounding.

    A scale of 1/127.5 and the zero point 127 are -0.996 to 1.004; said as -1 to 1, each byte falls
    between two steps and one in two is rounded to that of its neighbour.

    Raises:
        OptionError: The input would clip what is given, or tell it apart by a few of its steps.
    """
    scale, zero_point = given["quantization"]
    if not scale:
        return None
    limits = np.iinfo(given["dtype"])
    low, high = (float((limit - zero_point) * scale) for limit in (limits.min, limits.max))
    ends = source_spec.normalization().apply(np.array([[0] * 3, [255] * 3], np.uint8))
    allowed = _OUTSIDE * (high - low)
    beyond = max(low - ends.min(), ends.max() - high) > allowed
    if beyond or (limits.bits == 8 and ends.max() - ends.min() < 2 * allowed):
        raise OptionError(
            f"{path} is quantised for values from {low:.4g} to {high:.4g}, but the input range, "
            f"mean and std make {ends.min():.4g} to {ends.max():.4g} of the bytes. Add "
            f"--input-range {low:.3g} {high:.3g}, or the mean and std that it was trained with."
        )
    off = np.abs(ends - np.array([[low], [high]])).max() / scale
    return (low, high) if limits.bits == 8 and off <= _ROUNDED else None


def _predictor(
    interpreter: Any, library: str, given: Mapping[str, Any], answer: Mapping[str, Any],
    path: Path, batch: int,
) -> Callable[[Any], Any]:  # fmt: skip
    def predict(images: Any) -> Any:
        rows = []
        for image in images:
            # A batch that is fixed is filled up with the same image.
            full = np.repeat(image[np.newaxis], batch, axis=0)
            values = in_type(*_in_steps(full, given), path)
            with answering(library, path, given["name"], values.shape):
                interpreter.set_tensor(given["index"], values)
                interpreter.invoke()
                scores = interpreter.get_tensor(answer["index"]).copy()
            scale, zero_point = answer["quantization"]
            scores = scores.astype(np.float32)
            scores = (scores - zero_point) * scale if scale else scores
            rows.append(as_rows(scores, batch)[:1])
        return np.concatenate(rows)

    return predict


def _in_steps(values: Any, given: Mapping[str, Any]) -> tuple[Any, Any]:
    """Values in the steps of a quantised input, clipped as engines do, and their type."""
    scale, zero_point = given["quantization"]
    if not scale:
        return values, given["dtype"]
    limits = np.iinfo(given["dtype"])
    return np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max), given["dtype"]


def _sizes(detail: Mapping[str, Any]) -> tuple[int | None, ...]:
    """A tensor's shape; None where the file leaves a size open."""
    signature = detail["shape_signature"]
    sizes = signature if len(signature) else detail["shape"]
    return tuple(None if size < 0 else int(size) for size in sizes)


def shapes_at(model: bytes, wanted: tuple[int, ...]) -> dict[int, Any]:
    """The shapes of all tensors when the input has the shape wanted; none if it has it already."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with first_words_of("ai-edge-litert"):
        interpreter = Interpreter(  # a delegate would not tell the shapes inside of it
            model_content=model,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        (given,) = interpreter.get_input_details()
        if tuple(given["shape"]) == wanted:
            return {}
        interpreter.resize_tensor_input(given["index"], wanted)
        interpreter.allocate_tensors()
    return {detail["index"]: detail["shape"] for detail in interpreter.get_tensor_details()}
