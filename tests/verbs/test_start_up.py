"""Verbs that need no TensorFlow do not wait for it: it takes seconds and 500 MB to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeclf.artifact import Metadata, save_artifact, seal_artifact
from edgeclf.image import ImageSpec
from edgeclf.verbs import VERBS
from support.benchmark_results import make_results
from support.reports import write

PROGRAM = """
import sys
from edgeclf.cli import main
from edgeclf.comparison import paired_latency
paired_latency.ROUNDS, paired_latency.SECONDS = 6, 0.02  # of `compare`
code = main(sys.argv[1:])
frameworks = sorted({"tensorflow", "keras", "torch", "jax"} & sys.modules.keys())
sys.exit(f"{sys.argv[1]} imported {frameworks}" if frameworks else code)
"""
TRAINING = {"train", "backbones", "distill", "demo", "zoo"}


def run(*words: object) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *map(str, words)], capture_output=True,
                          text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_no_verb_but_those_that_train_imports_a_framework_to_start() -> None:
    """Those whose extra is not installed here say so, which is not the question."""
    names = [VERBS[name].module or name for name in VERBS if name not in TRAINING]
    program = (
        "import contextlib, importlib, sys\n"
        f"for name in {names}:\n"
        "    with contextlib.suppress(ImportError):\n"
        "        importlib.import_module(f'edgeclf.{name}')\n"
        "    if {'tensorflow', 'keras'} & sys.modules.keys():\n"
        "        sys.exit(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_onnx_file_becomes_artifacts_without_tensorflow(tmp_path: Path) -> None:
    onnx_models = pytest.importorskip("support.onnx_models", reason="needs edgeclf[convert]")
    pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
    (tmp_path / "m.onnx").write_bytes(onnx_models.model().SerializeToString())
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    rng = np.random.default_rng(0)
    for folder in ("calibration", "evaluation"):
        (tmp_path / folder).mkdir()
        for index in range(4):
            pixels = rng.integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{index}.png")
    run("convert", tmp_path / "m.onnx", "--labels", tmp_path / "labels.txt", "--layout", "nchw",
        "--calibration", tmp_path / "calibration", "--evaluation", tmp_path / "evaluation",
        "--to", "fp32.onnx", "int8.onnx", "--tolerance", "1",
        "--out", tmp_path / "out")  # fmt: skip
    assert (tmp_path / "out" / "m.int8.onnx").exists()
    run("verify", tmp_path / "out" / "m.int8.onnx")
    run("inspect", tmp_path / "out" / "m.fp32.onnx")
    run("classify", tmp_path / "out" / "m.int8.onnx", tmp_path / "evaluation" / "0.png")


def test_converted_files_are_compared_and_reported_without_tensorflow(tmp_path: Path) -> None:
    onnx_models = pytest.importorskip("support.onnx_models", reason="needs edgeclf[convert]")
    tflite_models = pytest.importorskip("support.tflite_models", reason="needs edgeclf[convert]")
    pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
    pytest.importorskip("jinja2", reason="needs edgeclf[report]")
    labels = ("a", "b", "c")
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    (tmp_path / "m.onnx").write_bytes(onnx_models.model().SerializeToString())
    metadata = Metadata("t", labels, ImageSpec(*tflite_models.SIZE))
    save_artifact(seal_artifact(tflite_models.model(), metadata), tmp_path / "t.fp32.tflite")
    for index, label in enumerate(labels):
        (tmp_path / "photos" / label).mkdir(parents=True)
        Image.new("RGB", (24, 24), (90 * index, 80, 70)).save(tmp_path / f"photos/{label}/0.png")
    run("convert", tmp_path / "m.onnx", "--labels", tmp_path / "labels.txt", "--layout", "nchw",
        "--to", "fp32.onnx")  # fmt: skip
    run("compare", tmp_path / "m.fp32.onnx", tmp_path / "t.fp32.tflite",
        "--data", tmp_path / "photos", "--out", tmp_path / "out", "--threads", "1")  # fmt: skip
    assert list((tmp_path / "out").glob("*.html"))
    run("report", write(make_results(), tmp_path), "--out", tmp_path / "out")
    assert (tmp_path / "out" / "report.html").exists()
