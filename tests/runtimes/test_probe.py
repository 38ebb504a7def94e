"""Models from strangers: tried and verified in a child, which they may kill."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf import errors
from edgeclf.artifact import Artifact, load_artifact, save_artifact, seal_artifact
from edgeclf.cli import main
from edgeclf.errors import (
    IntegrityError,
    OptionError,
    RuntimeLoadError,
    VerificationError,
)
from edgeclf.inference.classifier import Classifier
from edgeclf.verify import verify
from support.third_party import bring_runtime

KILLER = """
import os, signal
from edgeclf.runtimes.fake import FakeRuntime

class Runtime(FakeRuntime):
    def run(self, images):
        os.kill(os.getpid(), signal.SIGSEGV)
"""
GOOD = ("mugs.int8.tflite", "mugs.fp32.tflite", "mugs.int8.onnx")


# --- hostile models, with an intact seal -------------------------------------------------------


def without_weights(tree: Any) -> None:
    """The last layer gets nothing but its input: LiteRT raises."""
    operator = tree.subgraphs[0].operators[-2]
    operator.inputs = operator.inputs[:1]


def huge(tree: Any) -> None:
    """The input has 1.2 GB, and each layer several more."""
    graph = tree.subgraphs[0]
    graph.tensors[graph.inputs[0]].shape = np.array([1, 20_000, 20_000, 3], np.int32)


def damaged(path: Path, edit: Callable[[Any], None]) -> Artifact:
    """An artifact that is sealed, with metadata and certificate of a good one."""
    from edgeclf.converters.flatbuffer import pack, unpack

    artifact = load_artifact(path)
    tree = unpack(artifact.model_content)
    edit(tree)
    return seal_artifact(pack(tree), artifact.metadata)


def of_an_unknown_operation(path: Path) -> Artifact:
    artifact = load_artifact(path)
    content = artifact.model_content
    assert b"Conv" in content
    return seal_artifact(content.replace(b"Conv", b"Conw"), artifact.metadata)


@pytest.fixture
def killer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A runtime that ends its process whatever it is asked, as a broken model's engine may."""
    for name, value in bring_runtime(tmp_path / "installed", "killer", KILLER).items():
        monkeypatch.setenv(name, value)
    return "killer"


@pytest.mark.parametrize("file", GOOD)
def test_a_model_that_kills_its_engine(model_folder: Path, killer: str, file: str) -> None:
    path = model_folder / file
    with pytest.raises(RuntimeLoadError, match=rf"{file} was tried in a child.* ended by SIGSEGV"):
        Classifier(path, runtime=killer, probe=True)
    with pytest.raises(VerificationError, match=rf"{file}.*verified in a child.* ended by SIGSEGV"):
        verify(path, runtime=killer, isolated=True)
    done = subprocess.run(
        [sys.executable, "-m", "edgeclf", "verify", "--isolated", "--runtime", killer, path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "SIGSEGV" in done.stderr
    assert "broken or hostile" in done.stderr


@pytest.mark.parametrize("file", ["mugs.fp32.tflite", "mugs.int8.onnx"])
def test_a_model_that_only_raises(model_folder: Path, tmp_path: Path, file: str) -> None:
    if file.endswith("onnx"):
        artifact = of_an_unknown_operation(model_folder / file)
    else:
        artifact = damaged(model_folder / file, without_weights)
    path = save_artifact(artifact, tmp_path / file).path
    assert path is not None
    with pytest.raises(RuntimeLoadError, match="cannot load this model"):
        Classifier(path)
    with pytest.raises(RuntimeLoadError, match=r"Tried in a child process: .*cannot load this"):
        Classifier(path, probe=True)
    with pytest.raises(RuntimeLoadError, match="cannot load this model"):
        verify(path, isolated=True)


def test_a_model_that_wants_too_much_memory(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_artifact(
        damaged(model_folder / "mugs.int8.tflite", huge), tmp_path / "huge.tflite"
    ).path
    assert path is not None
    monkeypatch.setattr("edgeclf.system.limits.MEMORY_BYTES", 2**30)
    with pytest.raises(RuntimeLoadError, match="child process"):
        Classifier(path, probe=True)
    with pytest.raises((RuntimeLoadError, VerificationError)):
        verify(path, isolated=True)


def test_a_model_that_never_ends(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "edgeclf.system.child_process.TIMEOUT_S", 0.02
    )  # no child is as fast as that
    with pytest.raises(RuntimeLoadError, match=r"it had not ended after 0\.02 s"):
        Classifier(model_folder / GOOD[0], probe=True)
    with pytest.raises(VerificationError, match=r"it had not ended after 0\.02 s"):
        verify(model_folder / GOOD[0], isolated=True)


# --- good models -------------------------------------------------------------------------------


@pytest.mark.parametrize("file", GOOD)
def test_a_good_model_passes_as_without(model_folder: Path, photo: Path, file: str) -> None:
    with (
        Classifier(model_folder / file) as bare,
        Classifier(model_folder / file, probe=True) as probed,
    ):
        assert probed.classify(photo).probabilities == bare.classify(photo).probabilities
    assert verify(model_folder / file, isolated=True) == verify(model_folder / file)


def test_photos_are_measured_in_the_child_too(model_folder: Path, mugs: Path) -> None:
    model, data = model_folder / "mugs.int8.tflite", mugs / "eval"
    inside = verify(model, data=data, isolated=True)
    assert inside == verify(model, data=data) and inside.accuracy is not None
    with pytest.raises(errors.DataError, match="is not a folder"):
        verify(model, data=mugs / "gone", isolated=True)


def test_verify_prints_json(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(model_folder / "mugs.int8.tflite")
    for words in ([], ["--isolated"]):
        assert main(["verify", "--json", *words, model]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document.pop("model") == model
        assert document == dataclasses.asdict(verify(model))
    assert main(["verify", "--json", "--runtime", "onnxruntime", model]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["error"] == "RuntimeLoadError" and "loads .onnx" in document["message"]


def test_errors_of_the_child_are_errors_of_the_caller(model_folder: Path, tmp_path: Path) -> None:
    changed = bytearray((model_folder / "mugs.int8.tflite").read_bytes())
    changed[1000] ^= 1
    (tmp_path / "changed.tflite").write_bytes(changed)
    with pytest.raises(IntegrityError, match="its bytes have changed"):
        verify(tmp_path / "changed.tflite", isolated=True)
    with pytest.raises(errors.ArtifactError, match="No such file"):
        verify(tmp_path / "gone.tflite", isolated=True)
    with pytest.raises(RuntimeLoadError, match="There is no runtime 'warp'"):
        verify(model_folder / "mugs.int8.tflite", runtime="warp", isolated=True)
    with pytest.raises(OptionError, match="needs a runtime's name"):
        Classifier(model_folder / "mugs.int8.tflite", runtime=object(), probe=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["os._exit(0)", "print('out of order'); sys.exit(1)"])
def test_a_child_without_an_answer(
    code: str, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [sys.executable, "-c", f"import os, sys; {code}"]
    monkeypatch.setattr("edgeclf.system.child_process.function_command", lambda _: broken)
    monkeypatch.setattr("edgeclf.runtimes.probe.function_command", lambda _: broken)
    words = r"code 0 without a result|code 1 without a result.*: out of order"
    with pytest.raises(VerificationError, match=words):
        verify(model_folder / "mugs.int8.tflite", isolated=True)
    with pytest.raises(RuntimeLoadError, match=words):
        Classifier(model_folder / "mugs.int8.tflite", probe=True)
