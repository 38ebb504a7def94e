"""Networks written as ONNX answer as Keras does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
onnx = pytest.importorskip("onnx", reason="needs edgeclf[convert]")

from onnx.reference import ReferenceEvaluator  # noqa: E402

from edgeclf.image import ImageSpec  # noqa: E402
from edgeclf.networks.builder import build_classifier, find_backbone  # noqa: E402
from edgeclf.networks.layer_writer import UnknownLayerError  # noqa: E402
from edgeclf.networks.onnx_network import write_onnx  # noqa: E402
from support.layer_networks import gated, many_kinds, nested, with_statistics  # noqa: E402

layers = keras.layers


def answers(model: keras.Model, ends: list[str], images: np.ndarray) -> tuple[list, list]:
    outputs = [model.get_layer(name).output for name in ends]
    session = onnxruntime.InferenceSession(
        write_onnx(model, outputs), providers=["CPUExecutionProvider"]
    )
    told = session.run(None, {"image": images.astype(np.float32)})
    part = keras.Model(model.input, outputs)
    return told, [np.asarray(each) for each in keras.tree.flatten(part(images, training=False))]


@pytest.mark.parametrize("network", [many_kinds, gated, nested])
def test_every_kind_of_layer_answers_as_in_keras(network: Callable[[], keras.Model]) -> None:
    model = with_statistics(network())
    images = np.random.default_rng(1).integers(0, 256, (3, 19, 22, 3), np.uint8)
    found, expected = answers(model, ["maps", "features", "logits", "probabilities"], images)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and other.std() > 0.01
        assert np.abs(one - other).max() < 1e-5 * max(1, np.abs(other).max())


@pytest.mark.parametrize("network", [gated, nested])
def test_no_images_have_no_answers(network: Callable[[], keras.Model]) -> None:
    model = network()
    content = write_onnx(model, model.outputs)
    images = np.zeros((0, 19, 22, 3), np.float32)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for engine in (session, ReferenceEvaluator(onnx.load_from_string(content))):
        (answers,) = engine.run(None, {"image": images})
        assert answers.shape == (0, 5)


def test_a_network_of_ours_answers_as_in_keras() -> None:
    model = with_statistics(build_classifier(find_backbone("student"), 3, ImageSpec(64, 48)))
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 48, 3), np.uint8)
    found, expected = answers(model, ["block2_add", "block2_add", "logits"], images)
    assert found[0].shape == (2, 16, 12, 24) and np.array_equal(found[0], found[1])
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() < 1e-5 * max(1, np.abs(other).max())


def test_a_network_from_elsewhere_answers_as_in_keras() -> None:
    """Without our frame: numbers of any range, grey, no size that divides evenly, a softmax."""
    image = keras.Input((21, 17, 1), name="grey")
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D(padding="same")(layers.BatchNormalization()(x))
    x = layers.Dense(3, activation="softmax", name="scores")(layers.GlobalAveragePooling2D()(x))
    model = with_statistics(keras.Model(image, x))
    images = np.random.default_rng(1).normal(0, 3, (4, 21, 17, 1)).astype(np.float32)
    (found,), (expected,) = answers(model, ["scores"], images)
    assert np.abs(found - expected).max() < 1e-6 and expected.std() > 0.01


@pytest.mark.parametrize("shape", [(None, 8, 3), (8,)])
def test_an_input_that_is_not_written_is_named(shape: tuple[int | None, ...]) -> None:
    image = keras.Input(shape)
    model = keras.Model(image, layers.Identity()(image), name="open")
    with pytest.raises(UnknownLayerError, match=r"open \(its input\)"):
        write_onnx(model, model.outputs)


class Doubled(layers.Conv2D):
    """Looks like a layer of Keras's, and is not."""

    def call(self, inputs):
        return 2 * super().call(inputs)


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (layers.UpSampling2D(name="larger"), r"larger \(UpSampling2D\)"),
        (Doubled(3, 1, name="own"), r"own \(Doubled\)"),
        (layers.ReLU(negative_slope=0.1, name="leaky"), "leaky"),
        (layers.Conv2D(3, 1, activation="softplus", name="soft"), "soft .*softplus"),
        (layers.Activation("softmax", name="each"), "each .*softmax"),
    ],
)
def test_a_layer_that_is_not_written_is_named(layer: keras.layers.Layer, named: str) -> None:
    image = keras.Input((8, 8, 3), dtype="uint8")
    x = layer(layers.Rescaling(1 / 128, name="normalize")(image))
    x = layers.GlobalAveragePooling2D(name="features")(x)
    with pytest.raises(UnknownLayerError, match=named):
        write_onnx(keras.Model(image, x), [x])
