"""From an artifact to a version of a registered model, which MLflow itself can load and serve."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.artifact import Artifact
from edgeclf.errors import RegistryError
from edgeclf.registry import model_code_path
from edgeclf.registry.client import as_default, asking, open_client
from edgeclf.registry.tags import file_facts, file_name
from edgeclf.system.sqlite import folder_beside

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from edgeclf.trust.certificate import Verification

_EXPERIMENT = "edgeclf"
_CODE = "edgeclf_model.py"
_EXTRAS = {"tflite": "litert", "onnx": "onnxruntime", "keras": "tensorflow"}


@dataclass(frozen=True)
class Registration:
    """A version that a registry has taken.

    Attributes:
        name: The registered model's name.
        version: The number that the registry gave it, as text.
        sha256: The file's.
        tags: What the registry says of it, read from the file.
        tracking_uri: Where the registry is.
    """

    name: str
    version: str
    sha256: str
    tags: dict[str, str]
    tracking_uri: str


def register_artifact(
    artifact: Artifact, name: str, tracking_uri: str, result: Verification | None
) -> Registration:
    """Logs an artifact as a model that MLflow runs, and registers it as the next version.

    Args:
        artifact: The file, sealed.
        name: The registered model's, which is made if there is none.
        tracking_uri: Where the registry is.
        result: Of the certificate's replay here; None where there is no certificate.

    Raises:
        MissingDependencyError: MLflow is not installed.
        RegistryError: The registry is away, or refuses it; then no version was made.
    """
    client = open_client(tracking_uri)
    tags = file_facts(artifact, name, result)
    with tempfile.TemporaryDirectory(prefix="edgeclf-") as folder:
        model_folder = Path(folder, "model")
        with asking(tracking_uri):
            _make_model(client, name)
            experiment = _experiment(client, tracking_uri)
            logged = client.create_logged_model(experiment, name, tags=tags)
        try:
            _save(artifact, name, model_folder, logged.model_id)
            with asking(tracking_uri), as_default(tracking_uri):
                client.log_model_artifacts(logged.model_id, str(model_folder))
                client.finalize_logged_model(logged.model_id, "READY")
                made = client.create_model_version(
                    name,
                    logged.artifact_location,
                    tags=tags,
                    model_id=logged.model_id,
                    await_creation_for=0,
                )
        except BaseException:
            with suppress(RegistryError), asking(tracking_uri):  # the first error says more
                client.delete_logged_model(logged.model_id)
            raise
    return Registration(name, str(made.version), artifact.sha256, tags, tracking_uri)


def _make_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as exc:
        if exc.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _experiment(client: MlflowClient, tracking_uri: str) -> str:
    found = client.get_experiment_by_name(_EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(_EXPERIMENT, folder_beside(tracking_uri, "edgeclf")))
    except Exception:  # another process was faster
        found = client.get_experiment_by_name(_EXPERIMENT)
        if found is None:
            raise
        return str(found.experiment_id)


def _save(artifact: Artifact, name: str, folder: Path, model_id: str) -> None:
    """Writes a model's folder as MLflow reads it, with nothing of this machine in it."""
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    with tempfile.TemporaryDirectory(prefix="edgeclf-") as source:
        file = Path(source, file_name(artifact, name))
        file.write_bytes(artifact.content)
        code = Path(source, _CODE)
        shutil.copyfile(model_code_path(), code)
        model = Model(model_id=model_id)
        with _quietly():
            pyfunc.save_model(
                str(folder),
                python_model=str(code),
                artifacts={"artifact": str(file)},
                signature=ModelSignature(
                    inputs=Schema([ColSpec(DataType.binary, "image")]),
                    outputs=Schema([
                        ColSpec(DataType.string, "label"),
                        ColSpec(DataType.double, "probability"),
                        ColSpec(DataType.double, "confidence", required=False),
                        ColSpec(DataType.boolean, "unknown", required=False),
                        ColSpec(DataType.string, "sha256"),
                    ]),
                ),
                pip_requirements=[_requirement(artifact)],
                mlflow_model=model,
            )  # fmt: skip
    # Where the files lay that the model was made of is nobody's business, and names this machine.
    flavour: dict[str, Any] = model.flavors["python_function"]
    for each in flavour["artifacts"].values():
        each["uri"] = each["path"]
    flavour["model_code_path"] = _CODE
    model.save(str(folder / "MLmodel"))


@contextmanager
def _quietly() -> Iterator[None]:
    """Keeps MLflow from advising type hints and an example; its own filters undo ours."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda *_, **__: None
        yield


def _requirement(artifact: Artifact) -> str:
    try:
        return f"edgeclf[{_EXTRAS[artifact.format]}]=={version('edgeclf')}"
    except PackageNotFoundError as exc:
        raise RegistryError(
            "The version of edgeclf, which the model is to need, is not known: it runs from a "
            "folder. Install it: pip install edgeclf"
        ) from exc
