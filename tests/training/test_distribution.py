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
from PIL import Image

import edgeclf
from edgeclf.errors import OptionError
from edgeclf.image import ImageSpec

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.networks.builder import build_classifier, find_backbone  # noqa: E402
from edgeclf.networks.keras_model import load_model  # noqa: E402

# Each of the runs is (out, weights, settings).
PROGRAM = """
import dataclasses, json, sys
import tensorflow as tf
import edgeclf
from edgeclf.networks.student import STUDENTS
STUDENTS["student-xs"] = dataclasses.replace(STUDENTS["student-xs"], blocks=2)  # as conftest.py
data, devices, runs = sys.argv[1:]
if devices == "2":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
for out, weights, settings in json.loads(runs):
    edgeclf.train(data, edgeclf.TrainingConfig(
        out=out, backbone="student-xs", weights=weights, input_size=32, epochs=2,
        deterministic=True, batch_size=16, **settings,
    ))
"""


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


@pytest.fixture(scope="module")
def knowing() -> keras.Model:
    model = build_classifier(find_backbone("student-xs"), 2, ImageSpec(32, 32))
    rng = np.random.default_rng(0)
    for _ in range(60):  # BatchNorm gets to know pictures, or all features would be near 0
        model(rng.integers(0, 256, (32, 32, 32, 3), np.uint8), training=True)
    return model


@pytest.fixture(scope="module")
def runs(knowing: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained from given weights, and from scratch: on one device, on two, by two processes."""
    folder = tmp_path_factory.mktemp("runs")
    data, given = folder / "data", folder / "given.weights.h5"
    rng = np.random.default_rng(0)
    for index in range(48):
        path = data / ("cat", "dog")[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(path)
    knowing.save_weights(given)

    def start(way: str, tf_config: str = "{}") -> subprocess.Popen[str]:
        both = [(f"{way}-given", str(given), {"distribute": way, "augmentation": 0}),
                (f"{way}-scratch", "none", {"distribute": way})]  # fmt: skip
        devices = "2" if way == "mirrored" else "1"
        one = [("one-given", str(given), {"augmentation": 0})] if devices == "2" else []
        words = [(str(folder / out), weights, settings) for out, weights, settings in one + both]
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(data), devices, json.dumps(words)], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "TF_CONFIG": tf_config},
        )  # fmt: skip

    children = [start("mirrored"), *(start("multi-worker", each) for each in configs(2))]
    for child in children:
        printed, _ = child.communicate(timeout=600)
        assert child.returncode == 0, printed
    return folder


def losses(out: Path) -> np.ndarray:
    log = np.genfromtxt(out / "data-teacher.run" / "log.csv", delimiter=",", names=True)
    return log["loss"]


def trained(out: Path) -> keras.Model:
    artifact = edgeclf.load_artifact(out / "data-teacher.keras")
    assert artifact.metadata.labels == ("cat", "dog")
    return load_model(artifact)


def assert_alike(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_two_devices_and_two_processes_learn_as_one(runs: Path, knowing: keras.Model) -> None:
    """From given weights, whose BatchNorm does not learn, only the order of sums may differ."""
    log = (runs / "multi-worker-given" / "data-teacher.run" / "log.csv").read_text()
    assert log.count("new head") == 40 and log.count("fine-tune the upper layers") == 2
    one = runs / "one-given"
    weights = trained(one).get_weights()
    assert any(np.abs(ours - theirs).max() > 1e-4
               for ours, theirs in zip(weights, knowing.get_weights(), strict=True))  # fmt: skip
    for name in ("mirrored-given", "multi-worker-given", "multi-worker-given/worker-1"):
        np.testing.assert_allclose(losses(runs / name), losses(one), rtol=1e-5)
        assert_alike(trained(runs / name).get_weights(), weights)


@pytest.mark.slow
def test_two_devices_and_two_processes_learn_from_scratch(runs: Path) -> None:
    """Here each has variations and, in training, BatchNorm statistics of its own."""
    first, second = runs / "multi-worker-scratch", runs / "multi-worker-scratch" / "worker-1"
    mirrored = runs / "mirrored-scratch"
    np.testing.assert_allclose(losses(first), losses(second), rtol=1e-5)
    ours, theirs = (
        [weight.numpy() for weight in trained(out).trainable_weights] for out in (first, second)
    )
    assert_alike(ours, theirs)
    np.testing.assert_allclose(losses(mirrored), losses(first), rtol=0.1)
    assert len(trained(mirrored).trainable_weights) == len(ours) > 0


def test_what_is_not_there_is_said(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = make_folder(cat=8, dog=8)

    def train(**settings: object) -> None:
        edgeclf.train(data, out=tmp_path, weights="none", **settings)  # type: ignore[call-overload]

    with pytest.raises(
        OptionError, match="distribute is 'horovod'; expected none, mirrored or multi"
    ):
        train(distribute="horovod")
    with pytest.raises(OptionError, match="'multi-worker' and early_stopping 2; expected none"):
        train(distribute="multi-worker", early_stopping=2)
    with pytest.raises(OptionError, match=r"needs two devices; .*CPU:0 only"):
        train(distribute="mirrored")
    for text in ("", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}'):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(OptionError, match=r'expected TF_CONFIG=\{"cluster"'):
            train(distribute="multi-worker")
    assert not list(tmp_path.glob("*.keras"))
