"""ONNX Runtime's own profiler."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edgeclf.errors import MeasurementError, mapped
from edgeclf.measurement.profiler.trace import Arithmetic, Step, Trace, random_tensor
from edgeclf.metrics.multiply_adds import onnx_multiply_adds
from edgeclf.runtimes.onnxruntime import OnnxRuntime, open_session, session_options

_SUFFIX = "_kernel_time"
_BLOCKED = f"_nchwc{_SUFFIX}"
_Shapes: TypeAlias = tuple[list[list[int]], list[list[int]]]
_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
_FLOATS: dict[str, Arithmetic] = {"float": "fp32", "float16": "fp16"}


class OnnxRuntimeProfiler:
    """An ``.onnx`` model in ONNX Runtime; see `edgeclf.measurement.profiler.trace.Profiler`.

    Args:
        content: The file.
        threads: Threads for one call.
        counts: Whether multiply-adds are of interest, which take two more sessions to find out.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
        MeasurementError: It cannot load the model.
    """

    library = "onnxruntime"
    fast_path = "CPUExecutionProvider"

    def __init__(self, content: bytes, threads: int, *, counts: bool = True) -> None:
        self._content, self._threads = content, threads
        self._session = self._load()
        self._images = {given.name: self._image(given) for given in self._session.get_inputs()}
        self._shapes = self._read_shapes() if counts else {}
        self._folder = tempfile.TemporaryDirectory()
        self._profiled = self._load(self._folder.name)
        self._calls = 0

    def _load(
        self, folder: str | None = None, *, prepack: bool = True, layouts: bool = True
    ) -> Any:
        """A session that profiles to a file in a folder, or one that does not."""
        options = session_options(self._threads)
        if folder is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder, "profile"))
        if not prepack:
            options.add_session_config_entry("session.disable_prepacking", "1")
        if not layouts:
            engine: Any = OnnxRuntime.import_engine()
            extended = engine.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.graph_optimization_level = extended
        with mapped(MeasurementError, "onnxruntime cannot load this model"):
            return open_session(self._content, options)

    @staticmethod
    def _image(given: Any) -> Any:
        if given.type not in _TYPES:
            raise MeasurementError(
                f"The model's input {given.name!r} is {given.type}; expected one of "
                f"{', '.join(_TYPES)}."
            )
        shape = [size if isinstance(size, int) else 1 for size in given.shape]
        return random_tensor(shape, _TYPES[given.type])

    def _read_shapes(self) -> dict[str, _Shapes]:
        """The shapes of every node's inputs and outputs.

        A profile leaves out weights that the session has packed for itself, so that this takes
        one call of a session that packs nothing. Where ONNX Runtime lays channels in blocks, it
        shows them rounded up to whole ones (24 are 32 with AVX-512): the model's own come from
        a session that leaves the layout alone.
        """
        nodes = self._nodes_unpacked(layouts=True)
        found = {node["name"]: _shapes(node) for node in nodes}
        blocks = [node["name"] for node in nodes if _is_convolution(node)]
        if any(name.endswith(_BLOCKED) for name in blocks):
            plain = [_shapes(n) for n in self._nodes_unpacked(layouts=False) if _is_convolution(n)]
            same = len(plain) == len(blocks) and all(
                one[0][2:] == other[0][2:]
                for name, own in zip(blocks, plain, strict=True)
                for one, other in zip(found[name], own, strict=True)
            )
            found |= zip(blocks, plain, strict=True) if same else dict.fromkeys(blocks, ([], []))
        return found

    def _nodes_unpacked(self, *, layouts: bool) -> Sequence[dict[str, Any]]:
        with tempfile.TemporaryDirectory() as folder:
            session = self._load(folder, prepack=False, layouts=layouts)
            session.run(None, self._images)
            return _nodes(session.end_profiling())

    def call(self) -> None:
        """See `Profiler.call`."""
        self._session.run(None, self._images)

    def call_profiled(self) -> None:
        """See `Profiler.call_profiled`."""
        self._profiled.run(None, self._images)
        self._calls += 1

    def trace(self) -> Trace:
        """See `Profiler.trace`."""
        nodes, calls = _nodes(self._profiled.end_profiling()), self._calls
        self._folder.cleanup()
        per_call, rest = divmod(len(nodes), calls)
        names = [node["name"] for node in nodes]
        if rest or not nodes or names != names[:per_call] * calls:
            raise MeasurementError(
                f"onnxruntime recorded {len(nodes)} operators in {calls} calls, not the same ones "
                "in each; nothing can be told from that."
            )
        steps = tuple(self._step(node) for node in nodes[:per_call])
        times = np.array([node["dur"] for node in nodes], np.float64).reshape(calls, per_call)
        return Trace(steps, times)

    def _step(self, node: Mapping[str, Any]) -> Step:
        kind, given = node["args"]["op_name"], node["args"]
        try:
            count: int | None = onnx_multiply_adds(kind, *self._shapes.get(node["name"], ([], [])))
        except MeasurementError:
            count = None
        first = next(iter(given["input_type_shape"][0])) if given["input_type_shape"] else ""
        arithmetic: Arithmetic | None = None
        if count != 0:
            arithmetic = "int8" if kind.startswith("DynamicQuantize") else \
                _FLOATS.get(first, "int8")  # fmt: skip
        return Step(kind, node["name"].removesuffix(_SUFFIX), arithmetic, count, given["provider"])


def _is_convolution(node: Mapping[str, Any]) -> bool:
    return node["args"]["op_name"] in ("Conv", "FusedConv")


def _shapes(node: Mapping[str, Any]) -> _Shapes:
    """Of a node's inputs and outputs."""
    inputs, outputs = (
        [next(iter(shape.values())) for shape in node["args"][f"{side}_type_shape"]]
        for side in ("input", "output")
    )
    return inputs, outputs


def _nodes(path: str) -> Sequence[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(Path(path).read_text())
    return [e for e in events if e["cat"] == "Node" and e["name"].endswith(_SUFFIX)]
