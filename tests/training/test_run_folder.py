from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf.artifact import load_artifact
from edgeclf.errors import MissingDependencyError, OptionError, TrainingError
from edgeclf.image import ImageSpec
from edgeclf.train import train
from edgeclf.training.config import TrainingConfig

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
tf = pytest.importorskip("tensorflow", reason="needs edgeclf[train]")

from edgeclf.networks.builder import build_classifier, find_backbone  # noqa: E402
from edgeclf.training import run_lock  # noqa: E402
from edgeclf.training.batch_loader import BatchLoader  # noqa: E402
from edgeclf.training.fit import TrainingRun, fit_pretrained  # noqa: E402
from edgeclf.training.optimization import balanced_weights, classification_loss  # noqa: E402
from edgeclf.training.run_folder import COLUMNS, RunFolder, discard  # noqa: E402
from support.training_runs import going_wrong, interrupted, no_feed_left, weights_of  # noqa: E402

SMALL: dict[str, Any] = {"backbone": "student-xs", "weights": "none", "input_size": 32}
CONFIG = {"settings": {"epochs": 5, "seed": 0}}


def state(value: float) -> dict[str, np.ndarray]:
    return {"model/00000": np.full(3, value)}


def test_a_run_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = RunFolder(tmp_path, CONFIG)
    assert first.phase is None and first.features() is None
    row = {"phase": "head", "epoch": 1, "seconds": 2.0, "waiting_share": 0.25}
    first.rows.append(row)
    first.save("head", 1, state(7), best_epoch=1)
    first.save_features(np.ones((2, 3), np.float32))
    (tmp_path / ".half.npz").write_bytes(b"what a killed run was writing")

    second = RunFolder(tmp_path, CONFIG)
    assert (second.phase, second.epoch, second.rows) == ("head", 1, [row])
    assert second.extra == {"best_epoch": 1} and second.waiting_share() == 0.25
    assert np.array_equal(second.state()["model/00000"], np.full(3, 7))
    assert np.array_equal(second.features(), np.ones((2, 3)))  # type: ignore[arg-type]
    assert "resuming at epoch 2 of 'head'" in capsys.readouterr().err
    assert not list(tmp_path.glob(".*"))
    with (tmp_path / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS and lines[0]["waiting_share"] == "0.25"


def test_other_settings_start_anew_and_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RunFolder(tmp_path, CONFIG).save("head", 1, state(7))
    other = RunFolder(tmp_path, {"settings": {"epochs": 6, "seed": 0}})
    assert other.phase is None and not (tmp_path / "checkpoint.npz").exists()
    assert "training anew: epochs was 5, is 6\n" in capsys.readouterr().err


def test_a_finished_run_starts_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder(tmp_path, CONFIG)
    run.save("head", 1, state(7))
    run.finish(waiting_share=0.5)
    assert json.loads((tmp_path / "config.json").read_text())["result"] == {"waiting_share": 0.5}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "lock", "log.csv"]
    assert RunFolder(tmp_path, CONFIG).phase is None
    assert "holds a finished run" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short"])
def test_a_checkpoint_that_cannot_be_read_is_none(content: bytes, tmp_path: Path) -> None:
    RunFolder(tmp_path, CONFIG).save("head", 1, state(7))
    (tmp_path / "checkpoint.npz").write_bytes(content)
    assert RunFolder(tmp_path, CONFIG).phase is None


def test_a_checkpoint_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int]] = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        fsync(handle)
        done.append(("fsync", os.fstat(handle).st_ino))

    def replaced(self: Path, target: Path) -> Path:
        done.append((Path(target).name, self.stat().st_ino))
        return replace(self, target)

    folder = RunFolder(tmp_path, CONFIG)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    folder.save("head", 1, state(7))
    (named,) = [each for each in done if each[0] == "checkpoint.npz"]
    assert ("fsync", named[1]) in done[: done.index(named)]


HOLDER = """
import importlib.util, pathlib, sys, time
spec = importlib.util.spec_from_file_location("run_lock", sys.argv[1])  # without TensorFlow
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
lock = module.acquire(pathlib.Path(sys.argv[2]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_kept_out_until_the_first_is_gone(tmp_path: Path) -> None:
    RunFolder(tmp_path, CONFIG).save("head", 1, state(7))
    command = [sys.executable, "-c", HOLDER, run_lock.__file__, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        for use in (lambda: RunFolder(tmp_path, CONFIG), lambda: discard(tmp_path)):
            with pytest.raises(TrainingError, match=rf"process, {child.pid} on .*--out"):
                use()
        child.send_signal(signal.SIGKILL)
    assert RunFolder(tmp_path, CONFIG).epoch == 1, "nothing was removed"
    assert discard(tmp_path) and not discard(tmp_path)


def test_a_finished_run_lets_go_of_its_folder(tmp_path: Path) -> None:
    first = RunFolder(tmp_path, CONFIG)
    second = RunFolder(tmp_path, CONFIG)  # the same process may
    second.finish()
    command = [sys.executable, "-c", HOLDER, run_lock.__file__, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        child.kill()
    assert first.path == second.path


def test_the_order_of_an_epoch_depends_on_its_number_alone() -> None:
    def epochs(first: int, count: int) -> list[list[int]]:
        feed = BatchLoader((np.arange(50)[:, None],), np.arange(50), 3, 8, first_epoch=first)
        return [[t for _, y in feed.dataset for t in y.numpy().tolist()] for _ in range(count)]

    whole = epochs(0, 3)
    assert epochs(2, 1) == whole[2:] and whole[0] != whole[1]
    assert all(sorted(epoch) == list(range(50)) for epoch in whole)


def test_a_feed_leaves_no_thread_and_counts_the_wait() -> None:
    class Slow(np.ndarray):
        def __getitem__(self, key: Any) -> Any:
            time.sleep(0.02)
            return np.asarray(self)[key]

    with no_feed_left():
        feed = BatchLoader((np.zeros((64, 2)).view(Slow),), np.arange(64), None, 8)
        assert feed.dataset.options().autotune.enabled is False, "its end would wait for the tuner"
        start = time.perf_counter()
        assert len(list(feed.dataset)) == 8
        assert 0.1 < feed.waited_s <= time.perf_counter() - start
        next(iter(feed.dataset))
        feed.close()


def test_a_run_that_is_interrupted_ends_as_one_that_is_not(
    make_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = make_folder(cat=20, dog=20)
    options = {**SMALL, "epochs": 3, "batch_size": 16, "early_stopping": 9}
    whole = weights_of(train(photos, out=tmp_path / "whole", **options))
    other = weights_of(train(photos, out=tmp_path / "other", seed=1, **options))

    with interrupted(kept=1):
        train(photos, out=tmp_path / "stopped", **options)
    assert "the same command goes on" in capsys.readouterr().err
    stopped = weights_of(train(photos, out=tmp_path / "stopped", **options))
    said = capsys.readouterr().err
    assert "resuming at epoch 2 of 'train from scratch'" in said and "waited for data" in said
    assert np.abs(stopped - whole).mean() < 0.01 * np.abs(other - whole).mean()
    with (tmp_path / "stopped" / "data-teacher.run" / "log.csv").open() as file:
        assert [line["epoch"] for line in csv.DictReader(file)] == ["1", "2", "3"]


def test_features_are_computed_once_over_all_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)

    def go_on() -> RunFolder:
        folder = RunFolder(tmp_path, CONFIG)
        keras.utils.set_random_seed(0)
        model = build_classifier(find_backbone("student-xs"), 2, ImageSpec(32, 32))
        run = TrainingRun((images, np.arange(12) % 2), TrainingConfig(epochs=1), folder=folder)
        fit_pretrained(model, run, unfreeze_from="block1_expand_conv")
        return folder

    with interrupted(kept=3):
        go_on()
    monkeypatch.delattr("edgeclf.training.fit._features")
    rows = go_on().rows
    assert [row["epoch"] for row in rows] == [*range(1, 41), 1]
    assert rows[-1]["phase"] == "fine-tune the upper layers"
    said = capsys.readouterr().err
    assert "resuming at epoch 4 of 'new head'" in said
    assert "features of 24 views computed once instead of 40 times" in said


def test_a_killed_run_is_finished_by_the_same_command(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_folder(cat=12, dog=12)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "edgeclf", "train", str(photos), "--out", str(out),
               "--backbone", "student-xs", "--weights", "none", "--input-size", "32",
               "--batch-size", "8", "--epochs", "40"]  # fmt: skip
    log = out / "data-teacher.run" / "log.csv"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        while child.poll() is None and (not log.exists() or len(log.read_text().split()) < 6):
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL, "it was too fast to be killed"
    assert not list(out.glob("*.keras"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming at epoch" in done.stderr
    assert (out / "data-teacher.keras").exists()


def test_a_loss_that_is_no_number_leaves_the_last_good_weights(
    make_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = make_folder(cat=12, dog=12), tmp_path / "out"

    def fail(message: str, **changed: Any) -> str:
        with going_wrong(), pytest.raises(TrainingError, match=message) as caught:
            train(photos, out=out, epochs=3, **SMALL, **changed)
        return str(caught.value)

    fail(r"became nan in epoch 2.*after epoch 1 of.*last-good")
    last_good = load_artifact(out / "data-teacher-last-good.keras")
    assert np.isfinite(weights_of(last_good)).all()
    assert not (out / "data-teacher.keras").exists()

    # The same again comes to the same end, and is told what to change; that starts anew.
    told = fail("after epoch 1 of.*last-good")
    assert "with the same settings it always will. Change them, first of all the" in told
    capsys.readouterr()
    assert "before" not in fail("after epoch 1 of.*last-good", learning_rate=1e-4)
    assert "training anew: learning_rate was None, is 0.0001" in capsys.readouterr().err
    train(photos, out=out, epochs=3, **SMALL, learning_rate=1e-4)
    assert "resuming at epoch 2" in capsys.readouterr().err
    assert not (out / "data-teacher.run" / "failed.json").exists()


def test_tensorboard_is_given_its_events(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs edgeclf[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(
        make_folder(cat=12, dog=12), out=tmp_path / "out", epochs=2, batch_size=16,
        tensorboard=True, **SMALL,
    )  # fmt: skip
    folder = tmp_path / "out" / "data-teacher.run"
    events = EventAccumulator(str(folder / "tensorboard" / "train"))
    events.Reload()
    with (folder / "log.csv").open() as file:
        losses = [float(line["loss"]) for line in csv.DictReader(file)]
    written = [tensor.tensor_proto for tensor in events.Tensors("epoch_loss")]
    assert [tf.make_ndarray(each) for each in written] == pytest.approx(losses, rel=1e-4)


def test_without_tensorboard_its_extra_is_named_before_training(
    make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name)
    )
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeclf\[tensorboard\]'"):
        train(
            make_folder(cat=8, dog=8),
            out=tmp_path / "out",
            tensorboard=True,
        )
    assert not list((tmp_path / "out").glob("*.run"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"learning_rate": -1.0}, r"learning_rate is -1\.0; expected more than 0"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0; expected at least 0, less than 1"),
        ({"early_stopping": 0}, "early_stopping is 0; expected at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TrainingConfig(**options)


def test_balanced_weights_make_rare_classes_count_the_same() -> None:
    targets = np.array([0, 0, 0, 1])
    weights = balanced_weights(targets, 2)
    assert weights[targets].sum() == pytest.approx(4)
    assert weights[0] * 3 == pytest.approx(weights[1])
    logits = np.zeros((4, 2), np.float32)
    logits[3] = (5, -5)  # the rare one is wrong
    plain, balanced = (
        float(classification_loss(2, 0.0, w)(targets, logits)) for w in (None, weights)
    )
    assert balanced == pytest.approx((3 * weights[0] * np.log(2) + weights[1] * 10) / 4, rel=1e-3)
    assert balanced > plain


def test_mixed_precision_needs_a_gpu_and_leaves_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeclf.training import precision

    config, spec = TrainingConfig(mixed_precision=True), ImageSpec(32, 32)
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    with pytest.raises(OptionError, match="TensorFlow sees no GPU"):
        precision.prepare(config)
    backbone = find_backbone("student-xs")
    with precision.computing_in(config):
        model = build_classifier(backbone, 2, spec)
    assert model.get_layer("stem_conv").compute_dtype == "float16"
    plain = precision.as_float32(model, backbone, spec)
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}
    for ours, given in zip(plain.get_weights(), model.get_weights(), strict=True):
        assert ours.dtype == np.float32 and np.array_equal(ours, given)
