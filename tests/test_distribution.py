"""Training over two virtual devices and over two processes, each in children of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgeclf
from edgeclf.errors import OptionError

pytest.importorskip("keras", reason="needs edgeclf[train]")

PROGRAM = """
import sys
import tensorflow as tf
import edgeclf
cpu = tf.config.list_physical_devices("CPU")[0]
if sys.argv[3] == "mirrored":
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
edgeclf.train(
    sys.argv[1], out=sys.argv[2], backbone="student-xs", weights=sys.argv[4], input_size=32,
    epochs=2, recipe=edgeclf.Recipe(distribute=sys.argv[3], batch_size=16, deterministic=True),
)
"""


def start(
    data: Path, out: Path, distribute: str, weights: str | Path = "none", **environment: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, data, out, distribute, weights], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **environment},
    )  # fmt: skip


def finish(children: list[subprocess.Popen[str]]) -> None:
    for child in children:
        printed, _ = child.communicate(timeout=300)
        assert child.returncode == 0, printed


def configs(count: int) -> list[str]:
    """TF_CONFIG of each of that many processes on this machine."""
    workers = [f"127.0.0.1:{free_port()}" for _ in range(count)]
    return [
        json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        for index in range(count)
    ]


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@pytest.mark.slow
def test_two_devices_and_two_processes_learn_as_one(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_folder(cat=24, dog=24)
    children = [
        start(data, tmp_path / "one", "none"),
        start(data, tmp_path / "mirrored", "mirrored"),
        *(start(data, tmp_path / "two", "multi-worker", TF_CONFIG=text) for text in configs(2)),
    ]
    finish(children)
    losses = {}
    for name in ("one", "mirrored", "two", "two/worker-1"):
        log = np.genfromtxt(
            tmp_path / name / "data-teacher.run" / "log.csv", delimiter=",", names=True
        )
        losses[name] = log["loss"]
        artifact = edgeclf.load_artifact(tmp_path / name / "data-teacher.keras")
        assert artifact.metadata.labels == ("cat", "dog")
    np.testing.assert_allclose(losses["two"], losses["two/worker-1"], rtol=1e-5)
    # Each replica draws its own variations, and its BatchNorm sees its own half of a batch.
    for name in ("mirrored", "two"):
        np.testing.assert_allclose(losses[name], losses["one"], rtol=0.2)


@pytest.mark.slow
def test_two_processes_go_on_from_the_same_weights(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """Each fits the new head for itself; from there on they share every step."""
    from edgeclf.image import ImageSpec
    from edgeclf.training.backbones import build_classifier, find_backbone
    from edgeclf.training.models import load_model

    given = tmp_path / "given.weights.h5"
    build_classifier(find_backbone("student-xs"), 2, ImageSpec(32, 32)).save_weights(given)
    data, out = make_folder(cat=24, dog=24), tmp_path / "out"
    finish([start(data, out, "multi-worker", given, TF_CONFIG=text) for text in configs(2)])
    folders = [out, out / "worker-1"]
    logs = [(each / "data-teacher.run" / "log.csv").read_text() for each in folders]
    assert [log.count("new head") for log in logs] == [40, 40]
    assert [log.count("fine-tune the upper layers") for log in logs] == [2, 2]
    first, second = (
        load_model(edgeclf.load_artifact(each / "data-teacher.keras")).get_weights()
        for each in folders
    )
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_what_is_not_there_is_said(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = make_folder(cat=8, dog=8)

    def train(**settings: object) -> None:
        edgeclf.train(data, out=tmp_path, weights="none", recipe=edgeclf.Recipe(**settings))

    with pytest.raises(OptionError, match="way to distribute is horovod"):
        train(distribute="horovod")
    with pytest.raises(OptionError, match="beside early stopping"):
        train(distribute="multi-worker", early_stopping=2)
    with pytest.raises(OptionError, match=r"needs two devices; .*CPU:0 only"):
        train(distribute="mirrored")
    for text in ("", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}'):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(OptionError, match=r'expected TF_CONFIG=\{"cluster"'):
            train(distribute="multi-worker")
    assert not list(tmp_path.glob("*.keras"))
