"""Keras's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.converters.readers.base import (
    ForeignModel,
    as_rows,
    check_input_type,
    check_output_type,
    choose_output,
    in_type,
)
from edgeclf.converters.source_spec import SourceSpec


def read_keras(path: Path, source_spec: SourceSpec) -> ForeignModel:
    """Keras's own file, ``.keras`` or ``.h5``."""
    from edgeclf.converters import keras_source

    model = keras_source.load(path, trust=source_spec.trust)
    outputs = keras_source.outputs_of(model)
    output = choose_output(outputs, path, source_spec)
    chosen = outputs.index(output)
    (given,) = model.inputs
    check_output_type(model.outputs[chosen].dtype, output.name, path)
    check_input_type(given.dtype, given.name, path)

    answers = keras_source.ModelAnswers(model, chosen, path.name)

    def predict(images: Any) -> Any:
        values = in_type(images, np.dtype(given.dtype), path)
        return as_rows(answers.of(values), len(values))

    return ForeignModel(
        keras_source.graph_of(model, chosen, answers.known),
        predict,
        model.input_shape if source_spec.input_size else keras_source.input_shape(model),
        int(model.count_params()),
        path.suffix.strip("."),
        softmax=output.softmax,
    )
