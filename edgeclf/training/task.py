"""One training task: the photos, where its files go, and Keras models as artifacts."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from edgeclf.artifact import Artifact, Metadata, load_artifact, save_artifact, seal_artifact
from edgeclf.errors import ArtifactError
from edgeclf.image import ImageSpec, UInt8Array
from edgeclf.measurement.accuracy import accuracy_record
from edgeclf.measurement.environment import library_versions
from edgeclf.photo_cache import cache_photos
from edgeclf.photos import Photos, check_disjoint, find_photos, split_photos
from edgeclf.progress import say
from edgeclf.training.fit import predict_probabilities

_LIBRARIES = ("edgeclf", "tensorflow", "keras", "numpy", "pillow")
_HELD_OUT = 0.15
_SPLIT_NAMES = ("train", "training")


@dataclass(frozen=True)
class Task:
    """What to learn, what to judge it by, and where the files go.

    Attributes:
        name: The data set's name, and the artifacts'.
        folder: Where artifacts and the photo cache go.
        photos: To train on.
        evaluation: To judge by; no photo is in both.
    """

    name: str
    folder: Path
    photos: Photos
    evaluation: Photos

    def images(self, photos: Photos, spec: ImageSpec) -> UInt8Array:
        """The photos as uint8 [N, H, W, 3], decoded once and kept in the task's folder."""
        return cache_photos(photos, spec, self.folder / "cache")

    def save(
        self, name: str, model: keras.Model, spec: ImageSpec, settings: dict[str, Any]
    ) -> Artifact:
        """Evaluates a trained model and writes it as ``NAME.keras``.

        Args:
            name: The artifact's name.
            model: From `build_classifier`, trained.
            spec: How photos become its input.
            settings: What it was trained with, as plain JSON types.
        """
        probabilities = predict_probabilities(model, self.images(self.evaluation, spec))
        record = accuracy_record(probabilities, self.evaluation)
        metadata = Metadata(
            name=name,
            labels=self.photos.labels,
            image=spec,
            parameters=int(model.count_params()),
            training={
                "data_sha256": self.photos.sha256,
                "images": len(self.photos),
                "settings": settings,
                "libraries": library_versions(_LIBRARIES),
            },
            accuracy={"source": record},
        )
        artifact = save_artifact(_seal(model, metadata), self.folder / f"{name}.keras")
        say(
            f"{artifact.path}: top-1 {record['top1']:.1%} on {record['images']} evaluation photos, "
            f"{metadata.parameters:,} parameters"
        )
        return artifact


def open_task(
    data: str | os.PathLike[str],
    evaluation: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None,
    seed: int,
) -> Task:
    """Finds the photos of a task and says what was found.

    Args:
        data: A folder with one folder of photos a class.
        evaluation: Such a folder; by default ``eval`` beside `data`, else a part of `data`.
        out: Folder for the results; by default ``runs/NAME``.
        seed: Decides the split where one is made.

    Raises:
        DataError: The photos cannot be used.
    """
    root = Path(data)
    photos = find_photos(root)
    resolved = root.resolve()
    beside = resolved.parent / "eval"
    if evaluation is None and resolved.name in _SPLIT_NAMES and beside.is_dir():
        evaluation = root.parent / "eval" if root.name in _SPLIT_NAMES else beside
    if evaluation is not None:
        judged = find_photos(evaluation, photos.labels)
        origin = str(evaluation)
    else:
        photos, judged = split_photos(photos, _HELD_OUT, seed)
        origin = f"{_HELD_OUT:.0%} of it, set aside"
    check_disjoint(photos, judged, "the accuracy")
    name = resolved.parent.name if resolved.name in _SPLIT_NAMES else resolved.name
    folder = Path(out) if out is not None else Path("runs") / name
    say(
        f"{len(photos)} photos of {', '.join(photos.labels)} in {root}; "
        f"{len(judged)} for evaluation from {origin}"
    )
    return Task(name, folder, photos, judged)


def load_model(path: str | os.PathLike[str]) -> tuple[Artifact, keras.Model]:
    """Reads a ``.keras`` artifact and the model in it.

    Raises:
        ArtifactError: No such artifact, another format, or Keras cannot read it.
    """
    artifact = load_artifact(path)
    if artifact.format != "keras":
        raise ArtifactError(
            f"{path} is a .{artifact.format} artifact; expected the .keras one that "
            "'edgeclf train' or 'edgeclf distill' wrote."
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        file.write_bytes(artifact.content)
        try:
            return artifact, keras.saving.load_model(file, compile=False)
        except (ValueError, TypeError, OSError, KeyError) as exc:
            raise ArtifactError(f"Keras cannot load {path}: {exc}") from exc


def _seal(model: keras.Model, metadata: Metadata) -> Artifact:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return seal_artifact(path.read_bytes(), metadata)
