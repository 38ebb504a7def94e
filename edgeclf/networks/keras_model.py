"""The Keras model in an artifact, and its answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Artifact, Metadata, seal_artifact
from edgeclf.errors import ArtifactError, mapped
from edgeclf.image import UInt8Array
from edgeclf.networks.backend import keras, tf

BATCH_SIZE = 32


def load_model(artifact: Artifact) -> keras.Model:
    """The Keras model in a ``.keras`` artifact.

    Raises:
        ArtifactError: The artifact has another format, or Keras cannot read it.
    """
    name = artifact.path or "The model"
    if artifact.format != "keras":
        raise ArtifactError(
            f"{name} is a .{artifact.format} artifact; expected the .keras one that "
            "'edgeclf train' or 'edgeclf distill' wrote."
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        file.write_bytes(artifact.content)
        with mapped(ArtifactError, f"Keras cannot load {name}"):
            return keras.saving.load_model(file, compile=False)


def seal_model(model: keras.Model, metadata: Metadata) -> Artifact:
    """The ``.keras`` artifact of a model from `edgeclf.networks.builder.build_classifier`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return seal_artifact(path.read_bytes(), metadata)


def predict_probabilities(model: keras.Model, images: UInt8Array) -> npt.NDArray[np.float32]:
    """Probabilities float32 [N, classes] for uint8 [N, H, W, 3]."""
    return np.concatenate([model.predict_on_batch(batch) for batch in in_batches(images)])


def answers_of(model: keras.Model) -> Callable[[UInt8Array], npt.NDArray[np.float32]]:
    """`predict_probabilities` of a model that is asked again and again.

    It is traced once for batches of any size; `predict_on_batch` is traced anew for a last batch
    that is smaller, which takes as long as a hundred pictures.
    """
    (given,) = model.inputs
    signature = tf.TensorSpec((None, *given.shape[1:]), given.dtype)
    traced = tf.function(lambda images: model(images, training=False), input_signature=[signature])

    def answers(images: UInt8Array) -> npt.NDArray[np.float32]:
        return np.concatenate([traced(tf.constant(batch)).numpy() for batch in in_batches(images)])

    return answers


def in_batches(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Slices of `BATCH_SIZE` rows in order."""
    for start in range(0, len(array), BATCH_SIZE):
        yield array[start : start + BATCH_SIZE]
