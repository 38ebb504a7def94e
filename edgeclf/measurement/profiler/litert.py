"""LiteRT's own profiler, reached through the C interface of the library in its wheel.

ai-edge-litert has a profiler but no Python name for it. The functions called here are declared in
litert/c of the LiteRT sources; versions 2.2 and 2.3 have them with these arguments, which the
presence of ``LiteRtGetProfileSummary`` tells apart from older ones. A wrong call would end the
process, so this belongs in one of its own (`edgeclf.measurement.harness.process`).
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.errors import MeasurementError, MissingDependencyError
from edgeclf.measurement.profiler.trace import Arithmetic, Step, Trace, random_tensor
from edgeclf.metrics.multiply_adds import tflite_multiply_adds
from edgeclf.metrics.tflite_graph import TFLiteOperator, read_operators

_OWN = "LiteRT's own kernels"
_CPU = 1
_WRITE = 1  # how a tensor buffer is locked
_INVOKE, _OPERATOR, _DELEGATED = 1, 2, 8  # tflite::Profiler::EventType
_TYPE_BYTES = 4  # in front of the layout in a LiteRtRankedTensorType
_LAYOUT_BYTES = 68
# What XNNPACK calls the operators that multiply; the first types in brackets are the layout's and
# the activations'.
_MULTIPLIES = ("Convolution", "Deconvolution", "Fully Connected", "Batch Matrix Multiply")
_XNNPACK_TYPES = re.compile(r"\((?:\w+, )?(Q[SUDC]U?8|F32|F16)\b")
_XNNPACK_ARITHMETIC: dict[str, Arithmetic] = {"F32": "fp32", "F16": "fp16"}


class _Event(ctypes.Structure):
    """ProfiledEventData of litert_profiler_event.h."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_int64 * 6),
        ("node", ctypes.c_uint64),
        ("graph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


class LiteRTProfiler:
    """A ``.tflite`` model in LiteRT; see `edgeclf.measurement.profiler.trace.Profiler`.

    Args:
        content: The file.
        threads: Threads for one call.

    Raises:
        MissingDependencyError: ai-edge-litert is not installed.
        MeasurementError: It is one without this profiler, or cannot load the model.
    """

    library = "ai-edge-litert"
    fast_path = "XNNPACK"

    def __init__(self, content: bytes, threads: int) -> None:
        self._c = _CInterface()
        self._operators = read_operators(content)
        if any(operator.graph for operator in self._operators):
            raise MeasurementError(
                "The model has several graphs (control flow), whose times would count twice; "
                "expected one."
            )
        self._load(content, threads)
        self._load_profiled(content, threads)

    def _load(self, content: bytes, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter: Any = Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as exc:
            raise MeasurementError(f"LiteRT cannot load this model: {exc}") from exc
        details = self._interpreter.get_input_details()
        if len(details) != 1:
            raise MeasurementError(f"The model has {len(details)} inputs; expected one.")
        self._image = random_tensor(details[0]["shape"], details[0]["dtype"])
        self._interpreter.set_tensor(details[0]["index"], self._image)

    def _load_profiled(self, content: bytes, threads: int) -> None:
        c = self._c
        self._content = np.frombuffer(content, np.uint8).copy()  # LiteRT reads it while it runs
        environment = c.make("CreateEnvironment", ctypes.c_int(0), None)
        start, size = ctypes.c_void_p(self._content.ctypes.data), ctypes.c_size_t(len(content))
        model = c.make("CreateModelFromBuffer", environment, start, size)
        options = c.make("CreateOptions")
        c.call("SetOptionsHardwareAccelerators", options, ctypes.c_int(_CPU))
        self._texts = [
            c.add_option(options, b"runtime_options_string", b"enable_profiling = true\n"),
            c.add_option(options, b"xnnpack", b"num_threads = %d\n" % threads),
        ]
        self._model = c.make("CreateCompiledModel", environment, model, options)
        self._profiler = c.make("CompiledModelGetProfiler", self._model)
        signature = c.make("GetModelSignature", model, ctypes.c_size_t(0))
        self._inputs = self._buffers(environment, signature, "Input")
        self._outputs = self._buffers(environment, signature, "Output")
        buffer = ctypes.c_void_p(self._inputs[0])
        target = c.make("LockTensorBuffer", buffer, after=[ctypes.c_int(_WRITE)])
        ctypes.memmove(target, self._image.ctypes.data, self._image.nbytes)
        c.call("UnlockTensorBuffer", buffer)
        c.call("StartProfiler", self._profiler)  # a second start would drop what was recorded
        self._calls = 0

    def _buffers(self, environment: Any, signature: Any, role: str) -> Any:
        """An array of tensor buffers for the signature's inputs or outputs."""
        c, first = self._c, ctypes.c_size_t(0)
        count = ctypes.c_size_t()
        c.call(f"GetNumSignature{role}s", signature, ctypes.byref(count))
        layouts = (ctypes.c_byte * _LAYOUT_BYTES * count.value)()
        if role == "Output":
            c.call("GetCompiledModelOutputTensorLayouts", self._model, first, count, layouts,
                   ctypes.c_bool(True))  # fmt: skip
        buffers = (ctypes.c_void_p * count.value)()
        for index in range(count.value):
            number = ctypes.c_size_t(index)
            if role == "Input":
                c.call("GetCompiledModelInputTensorLayout", self._model, first, number,
                       ctypes.byref(layouts[index]))  # fmt: skip
            tensor = c.make(f"GetSignature{role}TensorByIndex", signature, number)
            type_ = (ctypes.c_byte * (_TYPE_BYTES + _LAYOUT_BYTES))()
            c.call("GetRankedTensorType", tensor, type_)
            # The file may leave the batch open; the loaded model has it.
            ctypes.memmove(ctypes.byref(type_, _TYPE_BYTES), layouts[index], _LAYOUT_BYTES)
            needs = c.make(f"GetCompiledModel{role}BufferRequirements", self._model, first, number)
            buffers[index] = c.make(
                "CreateManagedTensorBufferFromRequirements", environment, type_, needs
            ).value
        return buffers

    def call(self) -> None:
        """See `Profiler.call`."""
        self._interpreter.invoke()

    def call_profiled(self) -> None:
        """See `Profiler.call_profiled`."""
        c, inputs, outputs = self._c, self._inputs, self._outputs
        c.call("RunCompiledModel", self._model, ctypes.c_size_t(0), ctypes.c_size_t(len(inputs)),
               inputs, ctypes.c_size_t(len(outputs)), outputs)  # fmt: skip
        self._calls += 1

    def trace(self) -> Trace:
        """See `Profiler.trace`."""
        c, count = self._c, ctypes.c_int()
        c.call("StopProfiler", self._profiler)
        c.call("GetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * count.value)()
        c.call("GetProfilerEvents", self._profiler, count, events)
        calls = [list(call) for call in _calls(list(events))]
        ran = [[(e.tag, e.type, e.node) for e in call] for call in calls]
        if len(calls) != self._calls or any(a != b for a, b in pairwise(ran)) or not ran[0]:
            raise MeasurementError(
                f"LiteRT recorded {len(calls)} calls of {self._calls}, or not the same operators "
                "in each; nothing can be told from that."
            )
        steps = self._steps([(tag.decode(), type_, node) for tag, type_, node in ran[0]])
        times = np.array([[event.elapsed_us for event in call] for call in calls], np.float64)
        return Trace(tuple(steps), times)

    def _steps(self, ran: Sequence[tuple[str, int, int]]) -> Iterator[Step]:
        """What ran, as (name, kind of event, number in the graph), with what the file says."""
        beside = {node for _, type_, node in ran if type_ == _OPERATOR}
        delegated = [o for i, o in enumerate(self._operators) if i not in beside]
        sources = _match([tag for tag, type_, _ in ran if type_ == _DELEGATED], delegated)
        for tag, type_, node in ran:
            if type_ == _OPERATOR:
                operator = self._operators[node]
                yield Step(tag, operator.name, _arithmetic(operator), _count(operator), _OWN)
            elif not tag.startswith(_MULTIPLIES):
                yield Step(tag, "", None, 0, self.fast_path)
            elif sources is None:
                yield Step(tag, "", _xnnpack_arithmetic(tag), None, self.fast_path)
            else:
                source = next(sources)
                yield Step(tag, source.name, _xnnpack_arithmetic(tag), _count(source),
                           self.fast_path)  # fmt: skip


def _calls(events: Sequence[Any]) -> Iterator[Iterator[Any]]:
    """The events of operators, call by call; each call begins with an event of its own."""
    starts = [i for i, e in enumerate(events) if e.type == _INVOKE and e.tag == b"Invoke"]
    for start, end in pairwise([*starts, len(events)]):
        yield (e for e in events[start:end] if e.type in (_OPERATOR, _DELEGATED))


def _match(
    tags: Sequence[str], operators: Sequence[TFLiteOperator]
) -> Iterator[TFLiteOperator] | None:
    """The file's operators behind XNNPACK's that multiply, in turn; None where they do not fit.

    XNNPACK keeps their order and names neither tensor nor number. It fuses what follows them and
    adds operators that multiply nothing, so those that do must be as many, and the depthwise ones
    in the same places.
    """
    ours = [o for o in operators if _count(o) != 0]
    theirs = [tag for tag in tags if tag.startswith(_MULTIPLIES)]
    fits = len(ours) == len(theirs) and all(
        _count(operator) and (operator.kind == "DEPTHWISE_CONV_2D") >= ("DWConv" in tag)
        for operator, tag in zip(ours, theirs, strict=True)
    )
    return iter(ours) if fits else None


def _count(operator: TFLiteOperator) -> int | None:
    try:
        return tflite_multiply_adds(operator.kind, operator.inputs, operator.outputs)
    except MeasurementError:
        return None


def _arithmetic(operator: TFLiteOperator) -> Arithmetic | None:
    """Of LiteRT's own kernels: float with int8 weights is quantised as it runs."""
    if _count(operator) == 0:
        return None
    return "int8" if {"INT8", "UINT8"} & set(operator.types[:2]) else "fp32"


def _xnnpack_arithmetic(tag: str) -> Arithmetic | None:
    found = _XNNPACK_TYPES.search(tag)
    return _XNNPACK_ARITHMETIC.get(found[1], "int8") if found else None


class _CInterface:
    """Calls into libLiteRt.so; every function returns 0 or an error's number."""

    def __init__(self) -> None:
        found = find_spec("ai_edge_litert")
        if found is None or not found.submodule_search_locations:
            raise MissingDependencyError("ai_edge_litert", "litert", "Profiling a .tflite model")
        (library,) = (Path(f) / "libLiteRt.so" for f in found.submodule_search_locations)
        try:
            self._library = ctypes.CDLL(str(library))
            _ = self._library.LiteRtGetProfileSummary
        except (OSError, AttributeError):
            from importlib.metadata import version

            raise MeasurementError(
                f"ai-edge-litert {version('ai-edge-litert')} has no profiler that can be reached; "
                "expected 2.2 or later: pip install -U 'edgeclf[litert]'"
            ) from None

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, f"LiteRt{name}")(*arguments)
        if status:
            raise MeasurementError(f"LiteRT's {name} failed with status {status}.")

    def make(self, name: str, *arguments: Any, after: Sequence[Any] = ()) -> ctypes.c_void_p:
        """Calls a function that hands its result out through its last argument but `after`."""
        result = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(result), *after)
        return result

    def add_option(self, options: Any, name: bytes, text: bytes) -> tuple[Any, Any]:
        """Gives options in LiteRT's text form; what it returns must live as long as they do."""
        content = ctypes.create_string_buffer(text)
        keep = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
        address = ctypes.cast(content, ctypes.c_void_p)
        option = self.make("CreateOpaqueOptions", name, address, keep)
        self.call("AddOpaqueOptions", options, option)
        return content, keep
