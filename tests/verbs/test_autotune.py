"""Tuning: which runtime and how many threads are fastest for a file on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edgeclf
from edgeclf.artifact import load_artifact
from edgeclf.errors import MeasurementError, OptionError
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.choice import choose_runtime


def test_the_runtime_file_machine_and_tuning_agree_on(model_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mugs.int8.onnx"
    path.write_bytes((model_folder / path.name).read_bytes())
    tuning = edgeclf.autotune(path, threads=[1])
    # Spinning or not is the same with one thread: chance, or the machine, tells which is faster.
    assert tuning.runtime in ("onnxruntime", "onnxruntime-spinning") and tuning.threads == 1
    assert tuning.path == tmp_path / "mugs.int8.onnx.tuning.json"
    assert tuning.candidates[0].p50_ms is not None and tuning.candidates[0].p50_ms > 0
    with Classifier(path) as classifier:
        info = classifier.describe()
        assert info.threads == 1 and info.reason == tuning.reason
    with Classifier(path, threads=2) as classifier:
        assert classifier.describe().threads == 2, "what the caller says goes before the tuning"
    record = json.loads(tuning.path.read_text())
    each = {int(count): ms for count, ms in record["ms_per_picture"].items()}
    assert set(each) == {1, 4, 16} and record["batch"] == tuning.batch
    assert tuning.batch == (min(each, key=each.get) if min(each.values()) < 0.95 * each[1] else 1)
    assert choose_runtime(load_artifact(path), "cpu").batch == tuning.batch
    path.write_bytes((model_folder / "mugs.fp32.onnx").read_bytes())
    with Classifier(path) as classifier:
        assert "is of another file" in classifier.describe().reason
    tuning.path.write_text("{")
    with Classifier(path) as classifier:
        assert "cannot be read" in classifier.describe().reason


def test_tuning_keeps_the_usual_runtime_unless_another_is_clearly_faster() -> None:
    from edgeclf.autotune import Candidate, _choose

    usual = Candidate("litert", 4)
    one, four = Candidate("litert", 1, 0.98), Candidate("litert", 4, 1.0)
    assert _choose([one, four], usual)[0] is four
    faster = Candidate("other", 1, 0.5)
    chosen, reason = _choose([faster, four], usual)
    assert chosen is faster and "0.50 ms" in reason and "1.00 ms" in reason


def test_tuning_without_a_candidate_says_why(model_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mugs.int8.onnx"
    path.write_bytes((model_folder / path.name).read_bytes())
    with pytest.raises(MeasurementError, match=r"litert: .*loads \.tflite"):
        edgeclf.autotune(path, runtimes=["litert"], threads=[1])
    with pytest.raises(OptionError, match="Nothing to try"):
        edgeclf.autotune(path, threads=[0])
    assert not list(tmp_path.glob("*.json"))
