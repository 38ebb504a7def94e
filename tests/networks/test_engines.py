"""What does not learn runs in the engine that is faster, where that computes the same."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
pytest.importorskip("onnx", reason="needs edgeclf[convert]")

from edgeclf.networks import engines  # noqa: E402
from edgeclf.networks.builder import build_classifier, find_backbone  # noqa: E402
from edgeclf.networks.engines import KerasEngine, OnnxEngine, fastest  # noqa: E402
from edgeclf.networks.onnx_parts import Part  # noqa: E402
from support.shades import SPEC, pictures  # noqa: E402


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_classifier(find_backbone("student-xs"), 2, SPEC)


def test_onnx_runtime_answers_as_keras_does(capsys: pytest.CaptureFixture[str]) -> None:
    model, images = network(), pictures(12)
    engine = fastest(model, ["block0_project_bn", "logits"], images, "answers")
    assert isinstance(engine, OnnxEngine)
    said = capsys.readouterr().err
    assert re.search(r"^answers by ONNX Runtime: as Keras does, but for \de-0\d of the ", said)
    for given in (images, images + np.float32(0.25)):  # bytes, and varied ones
        for found, expected in zip(
            engine(given), KerasEngine(model, ["block0_project_bn", "logits"])(given), strict=True
        ):
            assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-5


def test_an_engine_that_answers_otherwise_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = OnnxEngine.__call__
    monkeypatch.setattr(OnnxEngine, "__call__", lambda self, images: [
        each[:, :1] for each in right(self, images)
    ])  # fmt: skip
    assert isinstance(fastest(network(), ["logits"], pictures(8), "answers"), KerasEngine)
    assert "answers differ by inf" in capsys.readouterr().err
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
    monkeypatch.setattr(engines, "_timed", lambda call: (call(), next(times)))
    assert isinstance(fastest(network(), ["logits"], pictures(8), "answers"), KerasEngine)
    assert "takes 2.0 times as long" in capsys.readouterr().err


@pytest.mark.parametrize("missing", [["onnx"], ["onnxruntime"], ["onnx", "onnxruntime"]])
def test_without_an_engine_it_is_keras(
    missing: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = engines.importlib.util.find_spec
    monkeypatch.setattr(
        engines.importlib.util, "find_spec", lambda name: None if name in missing else find(name)
    )
    assert isinstance(fastest(network(), ["logits"], pictures(8), "answers"), KerasEngine)
    assert f"answers by Keras: {' and '.join(missing)} would be" in capsys.readouterr().err


def test_an_engine_that_fails_or_lacks_a_layer_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = keras.Input((32, 32, 3), dtype="uint8")
    x = keras.layers.UpSampling2D(name="larger")(
        keras.layers.Rescaling(1.0, name="normalize")(image)
    )
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(x))
    assert isinstance(fastest(model, ["logits"], pictures(8), "answers"), KerasEngine)
    assert "is not given the layer larger (UpSampling2D)" in capsys.readouterr().err
    monkeypatch.setattr(engines, "parts_of", lambda network: [Part(b"no graph", 2)])
    assert isinstance(fastest(network(), ["logits"], pictures(8), "answers"), KerasEngine)
    assert "ONNX Runtime failed" in capsys.readouterr().err
