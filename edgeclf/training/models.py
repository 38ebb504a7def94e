"""Keras models as artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeclf.artifact import Artifact, Metadata, save_artifact
from edgeclf.image import ImageSpec
from edgeclf.metrics.accuracy import accuracy_record
from edgeclf.networks.backend import keras
from edgeclf.networks.builder import normalization_of
from edgeclf.networks.features import keras_features
from edgeclf.networks.keras_model import answers_of, seal_model
from edgeclf.system.environment import library_versions
from edgeclf.system.progress import log
from edgeclf.training.data import TrainingData
from edgeclf.training.run_folder import LIBRARIES


def save_model(
    data: TrainingData,
    name: str,
    model: keras.Model,
    spec: ImageSpec,
    settings: dict[str, Any],
    *,
    folder: Path | None = None,
) -> Artifact:
    """Evaluates a trained model and writes it as ``NAME.keras``.

    Args:
        data: What it was trained on and is judged by.
        name: The artifact's name.
        model: From `build_classifier`, trained.
        spec: How photos become its input.
        settings: What it was trained with, as plain JSON types.
        folder: Where it goes; the task's by default.
    """
    probabilities = answers_of(model)(data.images(data.evaluation, spec))
    record = accuracy_record(probabilities, data.evaluation)
    metadata = Metadata(
        name=name,
        labels=data.photos.labels,
        image=spec,
        normalization=normalization_of(model),
        parameters=int(model.count_params()),
        training={
            "data_sha256": data.photos.sha256,
            "photos": data.photos.sketch,
            "images": len(data.photos),
            **({} if data.skipped is None else {"skipped_unreadable": data.skipped}),
            "settings": settings,
            "libraries": library_versions(LIBRARIES),
        },
        accuracy={"source": record},
        features=keras_features(model),
    )
    artifact = save_artifact(seal_model(model, metadata), (folder or data.folder) / f"{name}.keras")
    log(
        f"{artifact.path}: top-1 {record['top1']:.1%} on {record['images']} evaluation photos, "
        f"{metadata.parameters:,} parameters"
    )
    return artifact
