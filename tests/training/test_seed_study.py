"""`edgeclf distill --seeds`: whether distillation helps, over several seeds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import edgeclf
from edgeclf.artifact import load_artifact
from edgeclf.metrics.statistics import paired_t_interval
from edgeclf.reporting.distillation_page import describe
from edgeclf.training.distillation_config import DistillationConfig

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.training import distillation  # noqa: E402
from edgeclf.training.soft_targets import SoftTargets  # noqa: E402


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """Training that only notes seed and label weight; a student alone always answers class 1."""
    calls: list[tuple[int, float]] = []

    def fit(
        student: keras.Model,
        soft_targets: SoftTargets,
        config: DistillationConfig,
        **rest: object,
    ) -> None:
        calls.append((config.seed, config.label_weight))
        logits = student.get_layer("logits")
        kernel, _ = logits.get_weights()
        bias = np.array([0.0, 1.0] if config.label_weight == 1 else [1.0, 0.0], np.float32)
        logits.set_weights([0 * kernel, bias])

    monkeypatch.setattr(distillation, "fit_student", fit)
    return calls


def test_a_study_tells_the_difference_and_goes_on_where_it_was(
    teachers: Path,
    shades: Path,
    tmp_path: Path,
    taught: list[tuple[int, float]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    one_sided = tmp_path / "one-sided"
    shutil.copytree(shades, one_sided)
    for picture in sorted((one_sided / "eval" / "dark").iterdir())[:9]:
        picture.unlink()

    def study(seeds: int = 3, **changed: float) -> edgeclf.Artifact:
        return edgeclf.distill(
            teachers / "swapped.keras", one_sided / "train", out=tmp_path / "out", seeds=seeds,
            student="student-xs", views=1, epochs=1, **changed,
        )  # type: ignore[arg-type]  # fmt: skip

    artifact = study()
    assert taught == [(seed, weight) for seed in range(3) for weight in (0.2, 1.0)]
    path = tmp_path / "out" / "one-sided.distillation.json"
    record = json.loads(path.read_text())
    assert record["schema"] == "edgeclf.distillation/1" and record["images"] == 15
    assert record["teacher"]["top1"] == 0, "it swaps the classes"
    assert record["difference"]["mean"] == pytest.approx(9 / 15)
    assert artifact.path == tmp_path / "out" / "one-sided.keras"
    assert record["runs"]["0"]["distilled"]["sha256"] == artifact.sha256
    assert artifact.metadata.training is not None
    assert artifact.metadata.training["settings"]["label_weight"] == 0.2
    sentence = "all 3 gave the same difference of +60.0 points"
    for ending in (".md", ".html"):
        page = path.with_suffix(ending).read_text()
        assert sentence in page.replace("\u00a0", " ") and "Seed by seed" in page

    capsys.readouterr()
    again = study()
    assert again == artifact and len(taught) == 6
    told = capsys.readouterr().err
    assert "3 of 3 seeds were trained before" in told and "teacher's answers reused" in told
    study(seeds=4)
    assert taught[6:] == [(3, 0.2), (3, 1.0)]
    study(temperature=2.0)
    assert len(taught) == 14 and "begins anew" in capsys.readouterr().err


def test_a_study_that_was_interrupted_keeps_what_was_done(
    teachers: Path, shades: Path, tmp_path: Path, taught: list[tuple[int, float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fit, left = distillation.fit_student, [3]

    def interrupted(*args: object, **how: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        fit(*args, **how)  # type: ignore[arg-type]

    def study() -> edgeclf.Artifact:
        return edgeclf.distill(
            teachers / "swapped.keras", shades / "train", out=tmp_path, seeds=3,
            student="student-xs", views=1, epochs=1,
        )  # fmt: skip

    monkeypatch.setattr(distillation, "fit_student", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study()
    left[0] = 99
    study()
    assert taught == [(seed, weight) for seed in range(3) for weight in (0.2, 1.0)]


@pytest.mark.usefixtures("taught")
def test_a_study_compares_the_int8_files_too(
    teachers: Path, shades: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("litert_quantizer", reason="needs edgeclf[convert]")

    def study(**more: bool) -> None:
        edgeclf.distill(
            teachers / "swapped.keras", shades / "train", out=tmp_path, seeds=3,
            student="student-xs", views=1, epochs=1, **more,
        )  # type: ignore[arg-type]  # fmt: skip

    study()
    capsys.readouterr()
    study(int8=True)
    told = capsys.readouterr().err
    assert "3 of 3 seeds were trained before" in told and "seed 1, alone" not in told
    path = tmp_path / f"{shades.name}.distillation.json"
    record = json.loads(path.read_text())
    files = sorted((tmp_path / f"{shades.name}.students").glob("*.int8.tflite"))
    assert len(files) == 5 and (tmp_path / f"{shades.name}.int8.tflite").is_file()
    shown = {load_artifact(file).sha256 for file in files}
    runs = [record["runs"][str(seed)][kind] for seed in range(3) for kind in ("alone", "distilled")]
    assert shown < {run["int8"]["sha256"] for run in runs}
    first = record["int8_difference"]["per_seed"][0]
    assert first == pytest.approx(runs[1]["int8"]["top1"] - runs[0]["int8"]["top1"])
    for ending in (".md", ".html"):
        page = path.with_suffix(ending).read_text().replace("\u00a0", " ")
        assert "Student distilled, int8" in page and "As int8 it is right on" in page


def record(per_seed: list[float], over_photos: tuple[float, float]) -> dict[str, object]:
    runs = {
        str(i): {"alone": {"top1": 0.5}, "distilled": {"top1": 0.5 + d}}
        for i, d in enumerate(per_seed)
    }
    return {
        "seeds": list(range(len(per_seed))),
        "runs": runs,
        "images": 100,
        "teacher": {"top1": 0.9},
        "int8_difference": None,
        "difference": {
            "mean": float(np.mean(per_seed)),
            "per_seed": per_seed,
            "interval_95_over_seeds": list(paired_t_interval(per_seed)),
            "interval_95_over_photos": list(over_photos),
        },
    }


@pytest.mark.parametrize(
    ("per_seed", "words"),
    [
        ([0.04, 0.05, 0.06], "Distillation helped the student by 5.0 points of top-1, "
         "95 % interval over 3 seeds [+2.5, +7.5]."),
        ([-0.04, -0.05, -0.06], "Distillation harmed the student by 5.0 points of top-1, "
         "95 % interval over 3 seeds [+2.5, +7.5]."),
        ([0.10, 0.01, -0.02], "No difference shown between the student distilled and alone: "
         "+3.0 points"),
        ([0.0, 0.0, 0.0], "No difference shown between the student distilled and alone: ±0.0"),
        ([0.05, 0.05, 0.05], "No difference shown over seeds between the student "
         "distilled and alone: all 3 gave the same"),
    ],
)  # fmt: skip
def test_the_report_claims_only_what_was_shown(per_seed: list[float], words: str) -> None:
    told = " ".join(describe(record(per_seed, (-0.01, 0.1))))
    assert words in told and "other photos could show the opposite" in told
    assert "excludes zero" in " ".join(describe(record(per_seed, (0.01, 0.1))))
