"""From a file to engines that have proven themselves here, in a thread that serves no request."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from edgeclf.artifact import Artifact, load_artifact
from edgeclf.errors import ArtifactError, EdgeclfError, ServiceError
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.choice import choose_runtime
from edgeclf.service.catalog import Proof, Version
from edgeclf.service.config import ServiceConfig
from edgeclf.trust.certificate import replay

SUFFIXES = (".tflite", ".onnx", ".keras")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")


def read_version(source: str | os.PathLike[str] | bytes, model: str | None = None,
                 number: str | None = None) -> Version:  # fmt: skip
    """Reads an artifact and names it; loads nothing yet.

    Args:
        source: The artifact's path, or its bytes.
        model: Its name; by default what the file says.
        number: Its version's; likewise.

    Raises:
        ArtifactError: It is no artifact, or damaged.
        ServiceError: A name cannot be part of an address.
    """
    artifact = load_artifact(source)
    whose = "The artifact" if isinstance(source, bytes) else source
    name = model or artifact.metadata.name
    version = number or artifact.metadata.version
    for word, what in ((name, "model"), (version, "version")):
        if not _NAME.fullmatch(word) or not word.strip("."):
            raise ServiceError(
                f"{whose} would be served as {what} {word!r}; expected up to 128 letters, digits, "
                "'.', '_' and '-', as it becomes part of an address. Give it a name: NAME=FILE or "
                "NAME:VERSION=FILE."
            )
    return Version(name, version, artifact)


def load_engines(version: Version, config: ServiceConfig) -> None:
    """Gives a version an engine for each worker, and lets each replay the certificate.

    Raises:
        EdgeclfError: An engine cannot load it, does not answer as certified, or there is no
            certificate and the config wants one; or its file, which is read again if need be, is
            another one by now. Nothing stays loaded then.
    """
    if not version.artifact.content and version.artifact.path is not None:
        artifact = load_artifact(version.artifact.path)
        if artifact.sha256 != version.sha256:
            raise ServiceError(
                f"{artifact.path} is not version {version.number} of {version.model} any more: "
                f"its SHA-256 was {version.sha256}. Put the file back, or load what is there now."
            )
        version.artifact = artifact
    engines: list[Classifier] = []
    try:
        # One after another: what is loaded already is in the list when one fails.
        engines.extend(_engine(version.artifact, config) for _ in range(config.worker_count))
        version.proof = prove(version.artifact, engines, config)
    except BaseException:
        close_engines(engines)
        raise
    version.engines = engines
    version.runtime = engines[0].describe()
    if config.runtime == "auto":  # what was measured is of the runtime that it chose
        version.batch = choose_runtime(version.artifact, config.device).batch


def close_engines(engines: Iterable[Classifier]) -> None:
    """Frees engines; one that fails to does not keep the others."""
    for engine in engines:
        with suppress(EdgeclfError):
            engine.close()


def _engine(artifact: Artifact, config: ServiceConfig) -> Classifier:
    return Classifier(
        artifact, runtime=config.runtime, device=config.device, threads=config.threads
    )


def prove(artifact: Artifact, engines: Iterable[Classifier], config: ServiceConfig) -> Proof:
    """Replays the certificate by each engine, which warms it up as well.

    Raises:
        VerificationError: An engine does not answer as certified.
        ArtifactError: There is nothing to replay, and the config wants it.
    """
    certificate = artifact.metadata.certificate or {}
    if not certificate.get("images") and config.unverified:
        return Proof(None, "the file has no certificate; served because of --unverified",
                     time.time())  # fmt: skip
    results = [replay(engine) for engine in engines]
    worst = max(results, key=lambda result: result.max_change)
    return Proof(
        True,
        f"{worst.images} golden images and a JPEG are answered as certified",
        time.time(),
        worst.max_change,
        worst.tolerance,
        worst.photo,
    )


def artifacts_in(folder: str | os.PathLike[str]) -> list[tuple[Path, str | None, str | None]]:
    """The artifacts of a folder of models, with what their places say of them.

    Args:
        folder: Holds artifacts, or a folder for each model with a folder for each version in it,
            as other servers have it: ``MODEL/VERSION/FILE``.

    Returns:
        Path, model and version of each; the last two None for files that lie there directly.

    Raises:
        ServiceError: It cannot be read.
    """
    root = Path(folder)
    try:
        found: list[tuple[Path, str | None, str | None]] = [
            (path, None, None) for path in sorted(root.iterdir()) if _is_artifact(path)
        ]
        for path in sorted(root.glob("*/*/*")):
            number, model = path.parent.name, path.parent.parent.name
            if _is_artifact(path) and not number.startswith(".") and not model.startswith("."):
                found.append((path, model, number))
    except OSError as exc:
        raise ServiceError(
            f"Cannot read the folder of models {folder}: {exc.strerror}. Expected artifacts in it, "
            "or MODEL/VERSION/FILE."
        ) from exc
    return found


def _is_artifact(path: Path) -> bool:
    return path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file()


def named(word: str) -> tuple[str, str | None, str | None]:
    """Reads ``FILE``, ``NAME=FILE`` or ``NAME:VERSION=FILE``.

    Returns:
        Path, model and version; the last two None where nobody said.
    """
    name, separator, path = word.partition("=")
    if not separator or os.sep in name:
        return word, None, None
    model, _, number = name.partition(":")
    if not model or not path:
        raise ArtifactError(
            f"{word!r} names no file; expected FILE, NAME=FILE or NAME:VERSION=FILE."
        )
    return path, model, number or None
