"""The example that distils ResNet152, run as its readers run it: as a script."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import edgeclf
from edgeclf.comparison.students import Model as ModelFigures
from edgeclf.comparison.students import Ratio
from edgeclf.comparison.students import Student as StudentFigures
from support.example_scripts import EXAMPLES
from support.stand_ins import stand_in

SCRIPT = EXAMPLES / "scenes_distillation" / "scenes.py"


def scenes(folder: Path, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)], cwd=folder, capture_output=True,
        text=True, check=False, timeout=1200, env={**os.environ, **env},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_weights_that_are_not_here_are_missed_at_once_and_the_choices_named(tmp_path: Path) -> None:
    pytest.importorskip("edgeclf.networks", reason="needs edgeclf[train]")
    done = scenes(tmp_path, KERAS_HOME=str(tmp_path))
    assert done.returncode == 2 and done.stdout == ""
    first, *choices = done.stderr.splitlines()
    assert first.startswith("scenes.py: the ImageNet weights of ResNet152 are not on this machine")
    for choice in ("imagenet", "FILE", "none"):
        assert any(line.startswith(f"  --teacher-weights {choice}") for line in choices)
    assert "resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5" in done.stderr
    assert list(tmp_path.iterdir()) == []

    done = scenes(tmp_path, "--teacher-weights", "nosuch.h5")
    assert done.returncode == 2 and "'nosuch.h5' is no file. Choose one:" in done.stderr


def test_photos_that_are_not_here_are_named_with_what_to_do(tmp_path: Path) -> None:
    done = scenes(tmp_path, "--teacher-weights", "none", "--data", "nosuch")
    assert done.returncode == 2
    assert "There is no .jpg in nosuch/seg_train/seg_train/buildings" in done.stderr
    assert "README.md" in done.stderr and "--smoke" in done.stderr


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with a teacher that takes seconds instead of minutes."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("scenes", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "scenes", module)  # for its dataclass
    spec.loader.exec_module(module)
    assert module.TEACHER == "resnet152"
    monkeypatch.setattr(module, "TEACHER", "student-xs")
    return module


def comparison(teacher: str, student: str) -> dict[str, Any]:
    """What `edgeclf.compare` writes, as far as the script reads it."""
    half = ModelFigures(
        "scenes", teacher, "tflite", "fp32", "", 500_000, None, None, None, (150, 150), "litert",
        None, None, 0.5, (0.25, 0.75), (),
    )  # fmt: skip
    known = Ratio(500.0, 500_000.0, 1000.0)
    latency = Ratio(500.0, 50.0, 0.1, (90.0, 600.0), "both on litert")
    figures = StudentFigures(
        dataclasses.replace(half, file=student), known, known, Ratio(None, note="not counted"),
        latency, 0.25, (0.1, 0.5), 0, 0, 0, (),
    )  # fmt: skip
    return {"images": 24, "teacher": asdict(half), "students": [asdict(figures)]}


@pytest.mark.slow
def test_the_smoke_run_ends_in_the_table_of_ratios_and_is_not_repeated(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """With its own stages and teacher; `make bench` runs the verbs for real, on ResNet152."""
    pytest.importorskip("tensorflow", reason="needs edgeclf[train]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scenes.py", "--smoke"])
    out = Path("runs") / "scenes-smoke"

    def leave_artifacts(given: dict[str, Any]) -> None:
        for ending in given["to"]:
            given["model"].with_suffix(f".{ending}").write_text(ending)

    def leave_comparison(given: dict[str, Any]) -> None:
        teacher, (student,) = given["teacher"], given["students"]
        stem = given["out"] / f"{Path(teacher.stem).stem}.comparison"
        record = comparison(teacher.name, student.name)
        stem.with_name(f"{stem.name}.json").write_text(json.dumps(record))

    calls = {
        verb: stand_in(monkeypatch, verb, leave)
        for verb, leave in {
            "distill": lambda given: (given["out"] / "scenes.keras").touch(),
            "convert": leave_artifacts,
            "compare": leave_comparison,
        }.items()
    }
    assert script.main() == 0
    printed = capsys.readouterr().out
    (distill,), (of_teacher, of_student), (compare,) = calls.values()
    teacher, student = out / "scenes-teacher.keras", out / "scenes.keras"
    photos, evaluation = out / "scenes.csv", out / "scenes-eval.csv"
    assert (distill["teacher"], distill["student"]) == (teacher, "student")
    assert (distill["data"], distill["evaluation"]) == (photos, evaluation)
    assert (of_teacher["model"], list(of_teacher["to"])) == (teacher, ["fp32.tflite"])
    assert (of_student["model"], list(of_student["to"])) == (student, ["int8.tflite"])
    assert (of_student["calibration"], of_student["evaluation"]) == (photos, evaluation)
    assert compare["teacher"] == out / "scenes-teacher.fp32.tflite"
    assert list(compare["students"]) == [out / "scenes.int8.tflite"]
    assert compare["data"] == evaluation
    assert len(photos.read_text().splitlines()) == 1 + 6 * 8
    assert len(evaluation.read_text().splitlines()) == 1 + 6 * 4
    metadata = edgeclf.load_artifact(teacher).metadata
    assert metadata.labels == script.CLASSES and metadata.training is not None
    assert metadata.accuracy is not None and metadata.accuracy["source"]["images"] == 24

    rows = {line.split("  ")[0]: line.split() for line in printed.splitlines() if line}
    for name, last in (("size, bytes", "yes"), ("parameters", "yes"), ("multiply-adds", "unknown"),
                       ("latency, ms", "missed"), ("top-1", "75.0%]")):  # fmt: skip
        assert rows[name][-1] == last, rows[name]
    for ending in ("json", "md", "html"):
        assert str(out / f"scenes-teacher.comparison.{ending}") in printed

    assert script.main() == 0
    again = capsys.readouterr()
    assert again.out == printed
    assert again.err.count("reused, its inputs have not changed") == 5
    assert [len(made) for made in calls.values()] == [1, 2, 1]


def test_what_is_wanted_of_the_student_can_be_had() -> None:
    """By the table of the networks; an int8 file is a quarter of a float one, or a little more."""
    pytest.importorskip("keras", reason="needs edgeclf[train]")
    teacher, student = edgeclf.backbones(["resnet152", "student"])
    assert teacher.parameters / student.parameters > 500
