"""`edgeclf fit` from photos to the files of the recommended student."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeclf
from edgeclf import cli
from edgeclf.artifact import Metadata, load_artifact, seal_artifact
from edgeclf.image import ImageSpec

pytest.importorskip("keras", reason="needs edgeclf[train]")
for package in ("optuna", "litert_quantizer", "jinja2", "matplotlib"):
    pytest.importorskip(package, reason="needs edgeclf[all]")

from edgeclf.measurement.latency_table import LatencyTable  # noqa: E402
from edgeclf.training import budget, budget_run  # noqa: E402
from edgeclf.training.budget import Budget, Cost  # noqa: E402
from edgeclf.training.budget_config import BudgetConfig  # noqa: E402
from support import shades  # noqa: E402
from support.budgets import MadeUpTable  # noqa: E402


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A device's file, and a family of designs so small that TensorFlow traces them in seconds."""
    monkeypatch.setattr(budget, "INPUT_SIZES", (32,))
    monkeypatch.setattr(budget, "BLOCKS", (2,))
    monkeypatch.setattr(budget, "EXPANSIONS", (2,))
    monkeypatch.setattr(budget, "HEADS", (16,))
    monkeypatch.setattr(budget, "WIDTHS", (0.75, 0.25))
    monkeypatch.setattr(LatencyTable, "load", lambda path: MadeUpTable())
    file = tmp_path / "pi.json"
    file.write_text("{}")
    return file


def words(folder: Path, teachers: Path, device: Path, *more: str) -> list[str]:
    return [
        "fit", f"{folder / 'photos' / 'train'}", "--teacher", f"{teachers / 'swapped.keras'}",
        "--device", f"{device}", "--out", f"{folder / 'out'}", "--trials", "1", "--finalists", "1",
        "--views", "1", "--epochs", "1", "--no-mirror", *more,
    ]  # fmt: skip


def test_a_network_is_not_judged_by_how_sure_it_is() -> None:
    from edgeclf.training.workshop import calibrated_loss

    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 400)
    right = np.eye(4, dtype=np.float32)[targets]
    few_wrong = right.copy()
    few_wrong[:20] = np.roll(right[:20], 1, axis=1)
    timid, sure = 0.4 * right + 0.15, 0.97 * few_wrong + 0.0075

    def own_loss(answers: Any) -> float:
        return float(-np.log(answers[np.arange(len(targets)), targets]).mean())

    assert own_loss(timid) > 2 * own_loss(sure)
    assert calibrated_loss(timid, targets) < calibrated_loss(sure, targets) / 2
    timid[3] = np.nan
    assert np.isnan(calibrated_loss(timid, targets))


def test_the_recommended_student_is_written_with_a_report(
    tmp_path: Path, teachers: Path, device: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shades.write_photos(tmp_path / "photos")
    asked = words(tmp_path, teachers, device, "--max-latency-ms", "1", "--max-size-kb", "100")
    assert cli.main(asked) == 0
    printed, said = capsys.readouterr()
    out = tmp_path / "out"
    assert printed.split() == [f"{out / 'photos.keras'}", f"{out / 'photos.int8.tflite'}"]
    assert "2 of 2 designs are predicted to keep to the budget: latency at most 1 ms" in said
    assert "figures stay predicted: CPU is yours here, one that nobody has there" in said
    record = json.loads((out / "photos.fit.json").read_text())
    (finalist,) = record["finalists"]
    assert record["schema"] == "edgeclf.fit/1" and record["recommended"] == finalist["name"]
    assert f"Recommended: {finalist['name']} as int8.tflite" in said
    file = load_artifact(out / "photos.int8.tflite")
    assert file.metadata.name == "photos" and file.metadata.certificate is not None
    found = finalist["targets"]["int8.tflite"]
    accuracy: dict[str, Any] = file.metadata.accuracy or {}
    assert found["accuracy"]["top1"] == accuracy["artifact"]["top1"]
    assert found["cost"]["latency_ms"] == found["predicted"]["latency_ms"], "not measured here"
    assert 0 < found["cost"]["size_kb"] <= 100 and found["load"] <= 1
    assert record["photos"]["training"] == 48 and 0 < record["photos"]["judges"] < 12
    edgeclf.verify(out / "photos.int8.tflite")  # which raises where it fails
    page = (out / "photos.fit.html").read_text()
    assert finalist["name"] in page and "<svg" in page and "http" not in page.split("<svg")[0]
    assert finalist["name"] in (out / "photos.fit.md").read_text()

    def nothing_is_trained(*_: object, **__: object) -> None:
        raise AssertionError("it was trained before")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeclf.training.workshop.fit_student", nothing_is_trained)
        patch.setattr("edgeclf.training.workshop.distill_student", nothing_is_trained)
        assert cli.main(asked) == 0
    assert "was trained before with equal settings: reused" in capsys.readouterr().err


def test_a_budget_that_nothing_meets_ends_it_before_any_training(
    tmp_path: Path, teachers: Path, device: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shades.write_photos(tmp_path / "photos")
    assert cli.main(words(tmp_path, teachers, device, "--max-size-kb", "3")) == 1
    said = capsys.readouterr().err
    assert "None of 2 designs is predicted to keep to the budget: size at most 3 kB." in said
    assert "Nothing was trained." in said and "trial" not in said
    assert not list((tmp_path / "out").glob("photos.fit.*"))


def test_a_device_file_that_is_none_is_refused_before_the_photos_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pi.json"
    file.write_text('{"schema": "edgeclf.latency-table/0"}')
    given = ["--teacher", "T.keras", "--device", f"{file}", "--max-size-kb", "9"]
    assert cli.main(["fit", "no photos here", *given]) == 2
    said = capsys.readouterr().err
    assert "edgeclf profile --table" in said and "no photos here" not in said


def test_without_its_packages_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "optuna" else 1)
    with pytest.raises(edgeclf.MissingDependencyError, match=r"pip install 'edgeclf\[search\]'"):
        edgeclf.fit("no photos", teacher="T.keras", device="pi.json", max_size_kb=9.0)


def finalist(name: str, latency_ms: float, recipe: str = "int8, mse calibration") -> Any:
    """One whose file was predicted to take so long, and was converted by a recipe."""
    metadata = Metadata("photos", ("a", "b"), ImageSpec(32, 32), quantization={"recipe": recipe})
    cost = {"latency_ms": latency_ms, "size_kb": 9.0, "memory_mb": 20.0}
    trial: dict[str, Any] = {"name": name, "predicted": {"int8.tflite": cost}, "design": {},
                             "multiply_adds": 9}  # fmt: skip
    report = {"results": {"photos.int8.tflite": {"error": None}}}
    file = seal_artifact(b"", metadata)
    return budget_run._Finalist(trial, file, {"int8.tflite": file}, report)


def half_a_millisecond() -> Budget:
    config = BudgetConfig(teacher="T.keras", device="pi.json", max_latency_ms=0.5)
    return Budget(config, MadeUpTable(), 2)


def test_times_are_not_predicted_of_int16_activations() -> None:
    limits = half_a_millisecond()
    slow, good = (
        finalist("slow", 0.3, "int8, mse calibration, int16 activations"),
        finalist("b", 0.4),
    )
    assert budget_run._recommended([slow, good], {}, limits) is good
    found = budget_run._described(slow, {}, limits)["targets"]["int8.tflite"]
    assert found["cost"] is None and "int16 activations only" in found["error"]
    measured = {"slow": {"int8.tflite": Cost(latency_ms=0.45, size_kb=9.0, memory_mb=20.0)}}
    assert budget_run._recommended([slow], measured, limits) is slow, (
        "it is known how long it takes"
    )


def test_where_no_finalist_keeps_to_the_budget_the_nearest_is_told() -> None:
    limits = half_a_millisecond()
    far, near = finalist("far", 2.0), finalist("near", 0.50000001)
    said = budget_run._nearest([far, near], {}, limits)
    assert said == "The nearest is near: as int8.tflite, latency 0.50000001 ms (at most 0.5 ms). "
    assert budget_run._nearest([], {}, limits) == ""
