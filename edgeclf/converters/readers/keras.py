"""Keras's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeclf.converters.readers.base import ForeignModel, tensorflow_graph
from edgeclf.converters.source_spec import SourceSpec
from edgeclf.errors import ArtifactError, ConversionError, mapped


def read_keras(path: Path, source_spec: SourceSpec) -> ForeignModel:
    """Keras's own file, ``.keras`` or ``.h5``."""
    from edgeclf.networks.backend import keras

    with mapped(ArtifactError, f"Keras cannot load {path}"):
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=not source_spec.trust)
        except ValueError as exc:
            if "Lambda" not in str(exc) and "safe_mode" not in str(exc):
                raise
            raise ConversionError(
                f"{path} holds code (a Lambda layer or the like), which loading it would run. "
                "If you know where it comes from, add --trust."
            ) from exc
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ConversionError(
            f"{path} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; an image "
            "classifier has one of each."
        )

    def function(image: Any) -> Any:
        return model(image, training=False)

    variables = [variable.value for variable in model.variables]
    graph = tensorflow_graph(function, variables, source_spec)
    return ForeignModel(
        graph, function, model.input_shape, int(model.count_params()), path.suffix.strip(".")
    )
