"""TFLite files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.converters.base import FileGraph
from edgeclf.converters.readers.base import ForeignModel
from edgeclf.converters.source_spec import SourceSpec
from edgeclf.errors import ArtifactError, mapped
from edgeclf.system.quiet import first_words_of


def read_tflite(path: Path, source_spec: SourceSpec) -> ForeignModel:
    """A float ``.tflite``."""
    from edgeclf.converters.flatbuffer import constant_tensors
    from edgeclf.runtimes.litert import LiteRTRuntime

    engine, library = LiteRTRuntime.import_engine()
    content = path.read_bytes()
    with mapped(ArtifactError, f"{library} cannot load {path}"), first_words_of(library):
        interpreter: Any = engine.Interpreter(model_content=content)
        interpreter.allocate_tensors()
    image_tensor = interpreter.get_input_details()[0]
    score_tensor = interpreter.get_output_details()[0]

    def predict(images: Any) -> Any:
        rows = []
        for image in images:
            interpreter.set_tensor(
                image_tensor["index"], image[np.newaxis].astype(image_tensor["dtype"])
            )
            interpreter.invoke()
            rows.append(interpreter.get_tensor(score_tensor["index"]).reshape(1, -1).copy())
        return np.concatenate(rows)

    stored = constant_tensors(content)
    parameters = sum(int(np.prod(detail["shape"])) for detail in interpreter.get_tensor_details()
                     if detail["index"] in stored and detail["dtype"] == np.float32)  # fmt: skip
    logits = source_spec.scores == "logits"
    graph = FileGraph("tflite", content, source_spec.layout == "nchw", logits)
    return ForeignModel(graph, predict, image_tensor["shape"].tolist(), parameters, "tflite")
