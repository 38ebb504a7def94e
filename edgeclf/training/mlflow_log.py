"""A finished training run in MLflow: what it was asked for, its curves, its files, its data."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.artifact import Artifact
from edgeclf.errors import MissingDependencyError, RegistryError, mapped
from edgeclf.system.sqlite import folder_beside
from edgeclf.training.run_folder import COLUMNS

if TYPE_CHECKING:
    from mlflow import MlflowClient

_EXPERIMENT = "edgeclf training"
_BATCH = 1000  # metrics in one call, MLflow's limit
_FILES = ("log.csv", "config.json")


def check_tracking(uri: str) -> None:
    """Refuses a place that cannot be logged to, before there is work to lose.

    Args:
        uri: Of a tracking server, or ``sqlite:///FILE``.

    Raises:
        MissingDependencyError: MLflow is not installed.
        RegistryError: Nobody answers there.
    """
    with _asking(uri):
        _experiment(_client(uri), uri)


def log_run(
    uri: str, artifact: Artifact, folder: Path, record: dict[str, Any], rows: list[dict[str, Any]]
) -> str:
    """Logs a run that is finished.

    Args:
        uri: Where to.
        artifact: What came out, stored.
        folder: The run's.
        record: What it was asked for, as plain JSON types.
        rows: Its log, one dictionary an epoch, see `edgeclf.training.run_folder.COLUMNS`.

    Returns:
        The id that MLflow gave the run.

    Raises:
        RegistryError: It could not be logged; the file is where it was written all the same.
    """
    from mlflow.entities import Metric, Param, RunTag

    path = artifact.path
    assert path is not None
    try:
        with _asking(uri):
            client = _client(uri)
            run = client.create_run(_experiment(client, uri), run_name=artifact.metadata.name)
            run_id, start_ms = str(run.info.run_id), int(run.info.start_time)
            training = artifact.metadata.training or {}
            tags = {
                "edgeclf.sha256": artifact.sha256,
                "edgeclf.data_sha256": training.get("data_sha256"),
            }
            client.log_batch(
                run_id,
                params=[Param(key, str(value)) for key, value in record.items()],
                tags=[RunTag(key, str(value)) for key, value in tags.items() if value],
            )
            metrics = [Metric(key, value, start_ms, step) for key, value, step in _points(rows)]
            measured = (artifact.metadata.accuracy or {}).get("source") or {}
            if "top1" in measured:
                metrics.append(Metric("evaluation_top1", measured["top1"], start_ms, 0))
            for first in range(0, len(metrics), _BATCH):
                client.log_batch(run_id, metrics=metrics[first : first + _BATCH])
            for file in (path, *(folder / name for name in _FILES)):
                client.log_artifact(run_id, str(file))
            client.set_terminated(run_id)
    except RegistryError as exc:
        raise RegistryError(f"{path} is trained and stored, but not logged. {exc}") from exc
    return run_id


def _points(rows: list[dict[str, Any]]) -> Iterator[tuple[str, float, int]]:
    """Name, value and epoch of each figure; epochs are counted over all phases."""
    for step, row in enumerate(rows, 1):
        for key in COLUMNS[2:]:
            value = row.get(key)
            if isinstance(value, int | float) and math.isfinite(value):
                yield key, float(value), step


def _client(uri: str) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody is told how it is used
    try:
        from mlflow import MlflowClient
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(
            exc.name or "mlflow", "registry", "Logging a run to MLflow"
        ) from exc
    # Two hundred lines of migrations for a new database are no news.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    return MlflowClient(uri, uri)


def _experiment(client: MlflowClient, uri: str) -> str:
    found = client.get_experiment_by_name(_EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(_EXPERIMENT, folder_beside(uri, "edgeclf-training")))


@contextmanager
def _asking(uri: str) -> Iterator[None]:
    advice = "See that a tracking server runs there, or give sqlite:///FILE, or leave --mlflow out."
    with mapped(RegistryError, f"MLflow at {uri} cannot be logged to", advice):
        yield
