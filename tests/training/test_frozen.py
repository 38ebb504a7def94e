"""What is not trained runs in the engine that is faster, where that computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.networks import engines  # noqa: E402
from edgeclf.networks.builder import build_classifier, find_backbone  # noqa: E402
from edgeclf.networks.engines import KerasEngine, OnnxEngine, fastest  # noqa: E402
from edgeclf.training import distillation  # noqa: E402
from edgeclf.training.config import TrainingConfig  # noqa: E402
from edgeclf.training.distillation import fit_student  # noqa: E402
from edgeclf.training.distillation_config import DistillationConfig  # noqa: E402
from edgeclf.training.fit import TrainingRun, fine_tune, fit_head, use_seed  # noqa: E402
from edgeclf.training.frozen import frozen_end  # noqa: E402
from edgeclf.training.online_distillation import OnlineSoftTargets  # noqa: E402
from edgeclf.training.run_folder import RunFolder  # noqa: E402
from edgeclf.training.soft_targets import PhotoPairs, SoftTargets  # noqa: E402
from edgeclf.training.teachers import KerasTeacher  # noqa: E402
from support.shades import LABELS, SPEC, by_brightness, pictures  # noqa: E402
from support.training_runs import interrupted  # noqa: E402

UPPER = "block1_expand_conv"


@pytest.fixture(autouse=True)
def _engines() -> None:
    pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
    pytest.importorskip("onnx", reason="needs edgeclf[convert]")


def network(trained_from: str | None = UPPER) -> keras.Model:
    use_seed(0)
    model = build_classifier(find_backbone("student-xs"), 2, SPEC)
    reached = trained_from is None
    for layer in model.layers:
        reached = reached or layer.name == trained_from
        layer.trainable = reached
    return model


def test_a_choice_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the folder of a run, whatever a later measurement would say."""
    for slower, expected in ((2.0, KerasEngine), (0.5, OnnxEngine)):
        folder = RunFolder(tmp_path / f"{slower}", {})
        for times in ([1.0, slower], [1.0, 1 / slower]):
            each = iter(times)
            monkeypatch.setattr(engines, "_timed", lambda call, each=each: (call(), next(each)))
            with folder.engines() as kept:
                engine = fastest(network(), ["logits"], pictures(8), "answers", engines=kept)
            assert isinstance(engine, expected)


def test_where_training_starts_is_found() -> None:
    assert frozen_end(network(UPPER)) == "block0_project_bn"
    assert frozen_end(network("logits")) == "features"
    assert frozen_end(network(None)) is None, "all is trained"
    # Block 2 adds what it was given to what it makes of it: nothing can be cut within.
    inner = build_classifier(find_backbone("student"), 2, SPEC)
    for layer in inner.layers:
        layer.trainable = layer.name in ("block2_project_conv", "logits")
    assert frozen_end(inner) is None


def soft_targets(count: int = 64) -> SoftTargets:
    images, targets = pictures(count), np.arange(count) % 2
    logits = by_brightness()
    answers = KerasTeacher(LABELS, SPEC, "", logits).answer(images)
    return SoftTargets(images, answers.logits, targets)


def taught(folder: RunFolder | None, given: Any, unfreeze_from: str | None = UPPER) -> keras.Model:
    model = network()
    fit_student(model, given, DistillationConfig(epochs=3), unfreeze_from=unfreeze_from,
                folder=folder)  # fmt: skip
    return model


def same(one: keras.Model, other: keras.Model, tolerance: float) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return max(np.abs(a - b).max() for a, b in pairs) <= tolerance


def test_a_student_on_frozen_layers_learns_the_same_by_either_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = soft_targets()
    start, by_onnx = network(), taught(None, given)
    monkeypatch.setattr(engines, "_barred", lambda model: "for a test")
    assert same(by_onnx, taught(None, given), 2e-3)
    moved = {layer.name for layer in start.layers if any(
        not np.array_equal(*pair) for pair in
        zip(layer.get_weights(), by_onnx.get_layer(layer.name).get_weights(), strict=True)
    )}  # fmt: skip
    assert "block1_project_bn" in moved and "logits" in moved
    assert not [name for name in moved if name.startswith(("stem", "block0"))]


def test_a_student_on_frozen_layers_goes_on_where_it_was(tmp_path: Path) -> None:
    given = soft_targets()
    whole = taught(RunFolder(tmp_path / "whole", {}), given)
    stopped = RunFolder(tmp_path / "stopped", {})
    with interrupted():
        taught(stopped, given)
    assert (stopped.path / "maps.npy").exists()
    stopped._lock.close()
    resumed = RunFolder(tmp_path / "stopped", {})
    assert resumed.epoch == 1
    model = taught(resumed, given)
    assert same(whole, model, 1e-4)
    resumed.finish()
    assert not (stopped.path / "maps.npy").exists()


def test_maps_that_are_too_large_are_made_in_every_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = soft_targets()
    at_once = taught(None, given)
    monkeypatch.setattr(distillation, "_MOST_BYTES", 0)
    assert same(at_once, taught(RunFolder(tmp_path, {}), given), 1e-4)
    assert not (tmp_path / "maps.npy").exists()


def test_a_teacher_that_answers_online_teaches_above_frozen_layers() -> None:
    images, targets = pictures(64), np.arange(64) % 2
    teacher = KerasTeacher(LABELS, SPEC, "", by_brightness())
    online = OnlineSoftTargets(teacher, PhotoPairs(images, images, targets), views=1)
    start, model = network(), taught(None, online)
    kernel = "stem_conv"
    assert np.array_equal(*(m.get_layer(kernel).get_weights()[0] for m in (start, model)))
    assert not np.array_equal(*(m.get_layer("logits").get_weights()[0] for m in (start, model)))


def test_upper_layers_are_fine_tuned_the_same_by_either_engine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def tuned(folder: RunFolder | None) -> keras.Model:
        model = network()
        run = TrainingRun((pictures(48), np.arange(48) % 2), TrainingConfig(epochs=2),
                          folder=folder)  # fmt: skip
        if folder is None or folder.phase is None:
            fit_head(model, run)
        fine_tune(model, run, unfreeze_from=UPPER)
        return model

    folder = RunFolder(tmp_path, {})
    by_onnx = tuned(folder)
    with folder.engines() as kept:
        assert set(kept.values()) == {"ONNX Runtime"}
    monkeypatch.setattr(engines, "_barred", lambda model: "for a test")
    assert same(by_onnx, tuned(None), 2e-3)
