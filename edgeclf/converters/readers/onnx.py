"""ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.converters.base import FileGraph
from edgeclf.converters.readers.base import ForeignModel
from edgeclf.converters.source_spec import SourceSpec
from edgeclf.errors import ArtifactError, mapped


def read_onnx(path: Path, source_spec: SourceSpec) -> ForeignModel:
    """A float ``.onnx``."""
    import onnx

    from edgeclf.runtimes.onnxruntime import OnnxRuntime

    onnxruntime: Any = OnnxRuntime.import_engine()
    content = path.read_bytes()
    with mapped(ArtifactError, f"onnxruntime cannot load {path}"):
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    fixed_batch = isinstance(given.shape[0], int)

    def predict(images: Any) -> Any:
        parts = [image[np.newaxis] for image in images] if fixed_batch else [images]
        return np.concatenate([session.run(None, {given.name: part})[0] for part in parts])

    stored = onnx.load_from_string(content).graph.initializer
    parameters = sum(int(np.prod(t.dims)) for t in stored if t.data_type == onnx.TensorProto.FLOAT)
    shape = [size if isinstance(size, int) else None for size in given.shape]
    graph = FileGraph("onnx", content, source_spec.layout == "nchw", source_spec.scores == "logits")
    return ForeignModel(graph, predict, shape, parameters, "onnx")
