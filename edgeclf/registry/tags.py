"""What a version of a registered model says of its file: read from the file, typed by nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeclf.errors import RegistryError

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact
    from edgeclf.trust.certificate import Verification

SHA256 = "edgeclf.sha256"
FILE = "edgeclf.file"
PROMOTED, REFUSED = "edgeclf.promoted", "edgeclf.refused"  # with '.ALIAS' behind
_FOLDER = "artifacts"  # where MLflow's pyfunc flavour puts what belongs to a model
_FILE = re.compile(rf"{_FOLDER}/[A-Za-z0-9_-][A-Za-z0-9._-]{{0,199}}\.(tflite|onnx|keras)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """A version in a registry.

    Attributes:
        name: The registered model's name.
        version: The version's number, as text.
        sha256: What its tag says of the file.
        file: Where the file is among the version's own, relative to them.
    """

    name: str
    version: str
    sha256: str
    file: str

    @property
    def file_name(self) -> str:
        """The file's own name."""
        return self.file.rpartition("/")[2]


def file_name(artifact: Artifact, name: str) -> str:
    """What the file is called in the registry: a plain name, whatever it is called here."""
    return f"{name}.{artifact.metadata.precision}.{artifact.format}"


def file_facts(artifact: Artifact, name: str, result: Verification | None) -> dict[str, str]:
    """The tags of an artifact.

    Args:
        artifact: The file.
        name: The registered model's.
        result: Of its certificate's replay on this machine; None where it has none.
    """
    metadata = artifact.metadata
    facts: dict[str, Any] = {
        SHA256: artifact.sha256,
        FILE: f"{_FOLDER}/{file_name(artifact, name)}",
        "edgeclf.format": artifact.format,
        "edgeclf.precision": metadata.precision,
        "edgeclf.size_bytes": artifact.size_bytes,
        "edgeclf.model_version": metadata.version,
        "edgeclf.labels": len(metadata.labels),
        "edgeclf.data_sha256": (metadata.training or {}).get("data_sha256"),
        "edgeclf.certificate": "none",
    }
    measured = (metadata.accuracy or {}).get("artifact") or {}
    facts |= {
        "edgeclf.top1": measured.get("top1"),
        "edgeclf.top1_images": measured.get("images"),
        "edgeclf.evaluation_sha256": measured.get("data_sha256"),
    }
    if result is not None:
        facts["edgeclf.certificate"] = certificate_text(result)
    return {name: str(value) for name, value in facts.items() if value is not None}


def certificate_text(result: Verification) -> str:
    """What a replay gave, in a line."""
    return (
        f"held: {result.images} golden images, largest change of a probability "
        f"{result.max_change:.6f} (allowed {result.tolerance}), JPEG {result.photo}, on "
        f"{result.runtime.library} {result.runtime.library_version}"
    )


def entry_of(name: str, version: str, tags: Mapping[str, str]) -> Entry:
    """Reads what `file_facts` wrote.

    Raises:
        RegistryError: The version was registered by something else, or its tags were changed.
    """
    sha256, file = tags.get(SHA256, ""), tags.get(FILE, "")
    if not _SHA256.fullmatch(sha256) or not _FILE.fullmatch(file):
        raise RegistryError(
            f"Version {version} of {name!r} has {SHA256}={sha256!r} and {FILE}={file!r} as tags; "
            "expected a file's SHA-256 and where it is, as 'edgeclf register' writes them. "
            "Register the file with it."
        )
    return Entry(name, version, sha256, file)
