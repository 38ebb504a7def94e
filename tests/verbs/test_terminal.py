"""What reaches the terminal: the answers, and nothing of what engines print on their way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

OWN = "  "  # edgeclf's progress and results are set in


def run(*words: object) -> subprocess.CompletedProcess[str]:
    # As a user's shell has it: the tests' own choice of a log level is not theirs.
    variables = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-m", "edgeclf", *map(str, words)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "file", ["mugs.int8.tflite", "mugs.int8-full.tflite", "mugs.int8.onnx", "mugs.keras"]
)
def test_classify_prints_nothing_but_its_answer(file: str, model_folder: Path, photo: Path) -> None:
    done = run("classify", model_folder / file, photo)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_convert_prints_nothing_but_its_own_lines(
    model_folder: Path, mugs: Path, tmp_path: Path
) -> None:
    done = run(
        "convert", model_folder / "mugs.keras", "--calibration", mugs / "train", "--evaluation",
        mugs / "eval", "--tolerance", "0.5", "--out", tmp_path, "--to", "fp32.tflite",
        "int8.tflite", "fp32.onnx", "int8.onnx",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith(OWN)] == []
    elsewhere = tmp_path / "mugs.fp32.tflite"
    done = run("classify", elsewhere, *(mugs / "eval" / "blue").iterdir())
    assert (done.returncode, done.stderr) == (0, "")
