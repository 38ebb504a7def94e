"""The example that distils ResNet152, run as its readers run it: as a script."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.example_scripts import EXAMPLES

SCRIPT = EXAMPLES / "scenes_distillation" / "scenes.py"
RATIOS = ("size", "parameters", "multiply_adds", "latency_ms")


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


@pytest.mark.slow
def test_the_smoke_run_ends_in_the_table_of_ratios_and_is_not_repeated(tmp_path: Path) -> None:
    for package in ("tensorflow", "ai_edge_litert", "jinja2"):
        pytest.importorskip(package)
    done = scenes(tmp_path, "--smoke")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "runs" / "scenes-smoke"
    report = json.loads((out / "scenes-teacher.comparison.json").read_text())
    (student,) = report["students"]
    assert report["images"] == 24
    for name in RATIOS:
        assert math.isfinite(student[name]["value"]) and student[name]["value"] > 1
    assert student["size"]["value"] >= 400 and student["parameters"]["value"] >= 300
    for name in ("size, bytes", "parameters", "multiply-adds", "latency, ms", "top-1"):
        assert sum(line.startswith(name) for line in done.stdout.splitlines()) == 1
    for ending in ("json", "md", "html"):
        page = out / f"scenes-teacher.comparison.{ending}"
        assert page.is_file() and page.name in done.stdout

    again = scenes(tmp_path, "--smoke")
    assert again.returncode == 0 and again.stdout == done.stdout
    assert again.stderr.count("reused, its inputs have not changed") == 5
