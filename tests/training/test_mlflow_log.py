from __future__ import annotations

import dataclasses
import socket
from pathlib import Path
from typing import Any

import pytest

from edgeclf.artifact import Artifact
from edgeclf.errors import OptionError, RegistryError
from edgeclf.runtimes.fake import fake_artifact
from edgeclf.training.config import TrainingConfig
from edgeclf.training.mlflow_log import check_tracking, log_run

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own are not ours to repair

ROWS: list[dict[str, Any]] = [
    {"phase": "head", "epoch": 1, "loss": 1.5, "accuracy": 0.5, "seconds": 2.0},
    {"phase": "all", "epoch": 1, "loss": 0.5, "accuracy": 0.75, "validation_loss": float("nan")},
]


@pytest.fixture
def run(tmp_path: Path) -> tuple[Artifact, Path]:
    folder = tmp_path / "mugs-teacher.run"
    folder.mkdir()
    for name in ("log.csv", "config.json"):
        (folder / name).write_text(name)
    plain = fake_artifact(["a", "b"])
    metadata = dataclasses.replace(
        plain.metadata, training={"data_sha256": "ab12"}, accuracy={"source": {"top1": 0.9}}
    )
    path = tmp_path / "mugs-teacher.keras"
    path.write_bytes(b"weights")
    return Artifact("keras", metadata, b"weights", path), folder


def test_a_run_is_logged_with_curves_files_and_data(
    run: tuple[Artifact, Path], tmp_path: Path
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs edgeclf[registry]")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(uri, uri)
    check_tracking(uri)
    artifact, folder = run
    run_id = log_run(uri, artifact, folder, TrainingConfig(epochs=3).record(), ROWS)
    logged = client.get_run(run_id)
    assert logged.info.status == "FINISHED" and logged.data.params["epochs"] == "3"
    assert logged.data.tags["edgeclf.data_sha256"] == "ab12"
    assert logged.data.tags["edgeclf.sha256"] == artifact.sha256
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "loss")] == [
        (1, 1.5), (2, 0.5)
    ]  # fmt: skip
    assert logged.data.metrics["evaluation_top1"] == 0.9
    assert "validation_loss" not in logged.data.metrics
    names = {each.path for each in client.list_artifacts(run_id)}
    assert names == {"mugs-teacher.keras", "log.csv", "config.json"}
    beside = tmp_path / "mlruns" / "edgeclf-training"  # the database, not where the tests run
    assert [p.name for p in beside.rglob("*.keras")] == ["mugs-teacher.keras"]


def test_a_server_that_is_away_is_named_before_and_after(
    run: tuple[Artifact, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="needs edgeclf[registry]")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(RegistryError, match=r"cannot be logged to: .*leave --mlflow out"):
        check_tracking(uri)
    artifact, folder = run
    with pytest.raises(RegistryError, match=r"mugs-teacher\.keras is trained and stored, but not"):
        log_run(uri, artifact, folder, {}, ROWS)


def test_machines_that_train_together_log_nothing() -> None:
    with pytest.raises(OptionError, match="each machine would log"):
        TrainingConfig(distribute="multi-worker", mlflow="sqlite:///mlflow.db")
    assert "mlflow" not in TrainingConfig(mlflow="sqlite:///a.db").record()
