"""What is not trained runs in the engine that is faster, where that computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.networks.builder import build_classifier, find_backbone  # noqa: E402
from edgeclf.training import distillation, frozen  # noqa: E402
from edgeclf.training.config import TrainingConfig  # noqa: E402
from edgeclf.training.distillation import fit_student  # noqa: E402
from edgeclf.training.distillation_config import DistillationConfig  # noqa: E402
from edgeclf.training.fit import TrainingRun, fine_tune, fit_head, use_seed  # noqa: E402
from edgeclf.training.frozen import KerasEngine, OnnxEngine, fastest, frozen_end  # noqa: E402
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


def test_onnx_runtime_answers_as_keras_does(capsys: pytest.CaptureFixture[str]) -> None:
    model, images = network(), pictures(12)
    engine = fastest(model, ["block0_project_bn", "logits"], images, "answers")
    assert isinstance(engine, OnnxEngine)
    assert "answers by ONNX Runtime: " in capsys.readouterr().err
    for given in (images, images + np.float32(0.25)):  # bytes, and varied ones
        for found, expected in zip(
            engine(given), KerasEngine(model, ["block0_project_bn", "logits"])(given), strict=True
        ):
            assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-5


def test_an_engine_that_answers_otherwise_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = OnnxEngine.__call__
    for wrong in (2e-4, np.nan):

        def answer(self: OnnxEngine, images: Any, wrong: float = wrong) -> Any:
            return [each + np.float32(wrong) for each in right(self, images)]

        monkeypatch.setattr(OnnxEngine, "__call__", answer)
        engine = fastest(network(), ["logits"], pictures(8), "answers")
        assert isinstance(engine, KerasEngine)
        assert "answers by Keras: ONNX Runtime's answers differ by" in capsys.readouterr().err


def test_an_engine_that_is_slower_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter([1.0, 2.0])
    monkeypatch.setattr(frozen, "_least_s", lambda call: next(times))
    assert isinstance(fastest(network(), ["logits"], pictures(8), "answers"), KerasEngine)
    assert "takes 2.0 times as long" in capsys.readouterr().err


@pytest.mark.parametrize("missing", [["onnx"], ["onnxruntime"], ["onnx", "onnxruntime"]])
def test_without_an_engine_it_is_keras(
    missing: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = frozen.importlib.util.find_spec
    monkeypatch.setattr(
        frozen.importlib.util, "find_spec", lambda name: None if name in missing else find(name)
    )
    assert isinstance(fastest(network(), ["logits"], pictures(8), "answers"), KerasEngine)
    assert f"answers by Keras: {' and '.join(missing)} would be" in capsys.readouterr().err


def test_an_engine_that_fails_or_lacks_a_layer_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = keras.Input((32, 32, 3), dtype="uint8")
    x = keras.layers.MaxPooling2D(name="pool")(keras.layers.Rescaling(1.0, name="normalize")(image))
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(x))
    assert isinstance(fastest(model, ["logits"], pictures(8), "answers"), KerasEngine)
    assert "is not given the layer pool (MaxPooling2D)" in capsys.readouterr().err
    monkeypatch.setattr(frozen, "write_onnx", lambda model, ends: b"no graph")
    assert isinstance(fastest(network(), ["logits"], pictures(8), "answers"), KerasEngine)
    assert "ONNX Runtime failed" in capsys.readouterr().err


def test_a_choice_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the folder of a run, whatever a later measurement would say."""
    for slower, expected in ((2.0, KerasEngine), (0.5, OnnxEngine)):
        folder = RunFolder(tmp_path / f"{slower}", {})
        for times in ([1.0, slower], [1.0, 1 / slower]):
            each = iter(times)
            monkeypatch.setattr(frozen, "_least_s", lambda call, each=each: next(each))
            with folder.engines() as engines:
                engine = fastest(network(), ["logits"], pictures(8), "answers", engines=engines)
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
    monkeypatch.setattr(frozen, "_barred", lambda model: "for a test")
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
    with folder.engines() as engines:
        assert set(engines.values()) == {"ONNX Runtime"}
    monkeypatch.setattr(frozen, "_barred", lambda model: "for a test")
    assert same(by_onnx, tuned(None), 2e-3)
