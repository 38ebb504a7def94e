"""A model whose weights are in another order: a map that stays the same does not show the model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgeclf.artifact import seal_artifact
from edgeclf.errors import RuntimeLoadError, mapped
from edgeclf.inference.classifier import Classifier


@contextmanager
def shuffled(classifier: Classifier, seed: int) -> Iterator[Classifier | None]:
    """The same network with the values of each weight shuffled; None for a converted file.

    Raises:
        MissingDependencyError: Keras is not installed.
    """
    artifact = classifier.artifact
    if artifact.format != "keras":
        yield None
        return
    from edgeclf.runtimes.tensorflow import TensorFlowRuntime

    _, keras = TensorFlowRuntime.import_engine()
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(artifact.content)
        with mapped(RuntimeLoadError, "Keras cannot load and save this model"):
            model = keras.saving.load_model(path, compile=False)
            for weight in model.weights:
                values = np.asarray(weight)
                if np.issubdtype(values.dtype, np.floating):
                    weight.assign(rng.permutation(values.ravel()).reshape(values.shape))
            model.save(path)
        changed = seal_artifact(path.read_bytes(), artifact.metadata)
    with Classifier(changed) as other:
        yield other
