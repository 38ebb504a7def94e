"""One model file that knows itself: model, labels, preprocessing, provenance, certificate."""

from __future__ import annotations

from edgeclf.artifact.features import Features
from edgeclf.artifact.file import (
    Artifact,
    is_artifact,
    load_artifact,
    save_artifact,
    seal_artifact,
)
from edgeclf.artifact.metadata import FORMAT_VERSION, Format, Metadata, Normalization, Precision

__all__ = [
    "FORMAT_VERSION",
    "Artifact",
    "Features",
    "Format",
    "Metadata",
    "Normalization",
    "Precision",
    "is_artifact",
    "load_artifact",
    "save_artifact",
    "seal_artifact",
]
