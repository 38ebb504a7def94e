"""docs/runtimes.md followed to the letter, and the plugin that is an example, as installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeclf.runtimes import _RUNTIMES
from edgeclf.testing.runtime_contract import CHECKS
from support import REPOSITORY

TUTORIAL = REPOSITORY / "docs" / "runtimes.md"
HEADING = "## Write your own runtime\n"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (edgeclf-onnx-reference/\S+)\n")

pytest.importorskip("hatchling", reason="needs edgeclf[test]")


def tutorial() -> tuple[dict[str, str], list[str]]:
    """The tutorial's files by name, and its commands in order."""
    _, _, text = TUTORIAL.read_text().partition(HEADING)
    files, commands = {}, []
    for language, block in FENCE.findall(text):
        if language == "sh":
            commands += block.splitlines()
        elif name := FILE.match(block):
            files[name[1]] = block
        else:
            assert not language, f"a block of {language} that is no file: {block}"
    return files, commands


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Installs into a folder of this test, from nothing but what is here already."""
    site = str(tmp_path / "site")
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": site,
        "PIP_TARGET": site,
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "false",  # pip's word for: build without isolation
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "HOME": str(tmp_path / "home"),
    }


def shell(command: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_tutorial_works_to_the_letter(
    model_folder: Path, photo: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    pytest.importorskip("onnx", reason="needs edgeclf[convert]")
    pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
    files, commands = tutorial()
    assert len(files) == 3 and len(commands) == 5
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    shutil.copy(model_folder / "mugs.fp32.onnx", tmp_path / "photos.fp32.onnx")
    shutil.copy(photo, tmp_path / "photo.jpg")

    said = {command: shell(command, tmp_path, environment) for command in commands}
    (contract,) = (said[c] for c in commands if "edgeclf.testing.runtime_contract" in c)
    assert f"holds {len(CHECKS)} of {len(CHECKS)} checks" in contract
    (tests,) = (said[c] for c in commands if c.startswith("pytest"))
    assert f"{len(CHECKS)} passed" in tests

    classify = "edgeclf classify photos.fp32.onnx photo.jpg --json --runtime "
    reference, usual = (
        json.loads(shell(classify + name, tmp_path, environment))["scores"]
        for name in ("onnx-reference", "onnxruntime")
    )
    assert [s["label"] for s in reference] == [s["label"] for s in usual]
    assert [s["probability"] for s in reference] == pytest.approx(
        [s["probability"] for s in usual], abs=1e-5
    )
    missing = "edgeclf classify photos.fp32.onnx photo.jpg --device cuda --runtime onnx-reference"
    done = subprocess.run(
        missing.split(), cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and "'cuda' was asked for" in done.stderr


def test_the_page_names_every_built_in_runtime() -> None:
    table = TUTORIAL.read_text().partition(HEADING)[0]
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == set(_RUNTIMES._built_in)


def test_the_openvino_example_keeps_the_contract_as_installed(
    model_folder: Path, mugs: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    pytest.importorskip("openvino", reason="needs edgeclf[interop]")
    (tmp_path / "home").mkdir()
    shell(f"pip install '{REPOSITORY / 'examples' / 'openvino_runtime'}'", tmp_path, environment)
    environment["EDGECLF_TEST_ARTIFACTS"] = str(model_folder)
    suite = REPOSITORY / "tests" / "runtimes" / "test_contract.py"
    said = shell(f"pytest -p no:cacheprovider -k openvino '{suite}'", tmp_path, environment)
    assert f" {2 * len(CHECKS)} passed" in said, said
    assert "skipped" not in said
    # Importing OpenVINO writes there and reports to its maker, unless it is kept from it.
    assert not (tmp_path / "home" / "intel").exists()

    photos = sorted((mugs / "eval").rglob("*.jpg"))
    program = (
        "import sys, numpy as np; from edgeclf import Classifier; "
        "a, b = (Classifier(sys.argv[1], runtime=name).probabilities(sys.argv[2:]) "
        "for name in ('openvino', 'onnxruntime')); print(np.abs(a - b).max())"
    )
    for file, tolerance in (("mugs.fp32.onnx", 1e-4), ("mugs.int8.onnx", 0.05)):
        command = [sys.executable, "-c", program, str(model_folder / file), *map(str, photos)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert float(done.stdout) <= tolerance
    # Refused with a reason where there is no such device, never run on the CPU instead.
    model = model_folder / "mugs.fp32.onnx"
    done = subprocess.run(
        ["edgeclf", "classify", model, photos[0], "--runtime", "openvino", "--device", "npu"],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "expected one of ('cpu', 'gpu')" in done.stderr
