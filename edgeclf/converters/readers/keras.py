"""Keras's own files."""

from __future__ import annotations

from pathlib import Path

from edgeclf.converters.readers.base import ForeignModel
from edgeclf.converters.source_spec import SourceSpec


def read_keras(path: Path, source_spec: SourceSpec) -> ForeignModel:
    """Keras's own file, ``.keras`` or ``.h5``."""
    from edgeclf.converters import keras_source

    model = keras_source.load(path, trust=source_spec.trust)
    return ForeignModel(
        keras_source.graph_of(model),
        lambda images: model(images, training=False),
        model.input_shape if source_spec.input_size else keras_source.input_shape(model),
        int(model.count_params()),
        path.suffix.strip("."),
    )
