"""The file that a teacher is read from, before anything of a framework is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.converters.source_spec import SourceSpec

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact
    from edgeclf.converters.sources import SourceModel

_CONVERTIBLE = (".keras", ".h5", ".hdf5", ".tflite", ".onnx")


def read_teacher(path: Path, source: SourceSpec) -> Artifact | SourceModel:
    """An artifact; or a model from elsewhere, of which must be said what its file does not.

    Args:
        path: Of the file, or of the folder of a SavedModel.
        source: What a model from elsewhere expects and answers.

    Raises:
        ArtifactError: It cannot be read.
        ConversionError: It is from elsewhere and no image classifier, or not trusted.
    """
    from edgeclf.artifact import is_artifact, load_artifact

    foreign = path.is_dir() or (path.suffix.lower() in _CONVERTIBLE and path.is_file())
    if foreign and (path.is_dir() or not is_artifact(path.read_bytes())):
        from edgeclf.converters.sources import open_model

        return open_model(path, source)
    return load_artifact(path)
