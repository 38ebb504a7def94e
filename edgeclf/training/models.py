"""Keras models as artifacts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras

from edgeclf.artifact import Artifact, Metadata, save_artifact, seal_artifact
from edgeclf.errors import ArtifactError
from edgeclf.image import ImageSpec
from edgeclf.measurement.accuracy import accuracy_record
from edgeclf.measurement.environment import library_versions
from edgeclf.progress import say
from edgeclf.task import Task
from edgeclf.training.backbones import normalization_of
from edgeclf.training.fit import predict_probabilities
from edgeclf.training.run_folder import LIBRARIES


def save_model(
    task: Task,
    name: str,
    model: keras.Model,
    spec: ImageSpec,
    settings: dict[str, Any],
    *,
    folder: Path | None = None,
) -> Artifact:
    """Evaluates a trained model and writes it as ``NAME.keras``.

    Args:
        task: What it was trained on and is judged by.
        name: The artifact's name.
        model: From `build_classifier`, trained.
        spec: How photos become its input.
        settings: What it was trained with, as plain JSON types.
        folder: Where it goes; the task's by default.
    """
    probabilities = predict_probabilities(model, task.images(task.evaluation, spec))
    record = accuracy_record(probabilities, task.evaluation)
    metadata = Metadata(
        name=name,
        labels=task.photos.labels,
        image=spec,
        normalization=normalization_of(model),
        parameters=int(model.count_params()),
        training={
            "data_sha256": task.photos.sha256,
            "images": len(task.photos),
            **({} if task.skipped is None else {"skipped_unreadable": task.skipped}),
            "settings": settings,
            "libraries": library_versions(LIBRARIES),
        },
        accuracy={"source": record},
    )
    artifact = save_artifact(_seal(model, metadata), (folder or task.folder) / f"{name}.keras")
    say(
        f"{artifact.path}: top-1 {record['top1']:.1%} on {record['images']} evaluation photos, "
        f"{metadata.parameters:,} parameters"
    )
    return artifact


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
        try:
            return keras.saving.load_model(file, compile=False)
        except (ValueError, TypeError, OSError, KeyError) as exc:
            raise ArtifactError(f"Keras cannot load {name}: {exc}") from exc


def _seal(model: keras.Model, metadata: Metadata) -> Artifact:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return seal_artifact(path.read_bytes(), metadata)
