"""Files of Keras networks that are written layer by layer, and what they must prove."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeclf
from edgeclf.artifact import save_artifact
from edgeclf.converters import flatbuffer, onnx, tflite, written
from edgeclf.converters.base import FileGraph
from edgeclf.converters.channels import LUMA
from edgeclf.converters.flatbuffer.tree import operator_name, text
from edgeclf.converters.source_spec import SourceSpec
from edgeclf.converters.tflite_network import write_tflite
from edgeclf.converters.written import Written
from edgeclf.image import ImageSpec
from edgeclf.networks.backend import keras, layers
from edgeclf.networks.builder import build_classifier, find_backbone, normalization_of
from edgeclf.networks.keras_model import seal_model
from edgeclf.networks.layer_writer import UnknownLayerError
from support.layer_networks import gated, many_kinds, nested, with_statistics

SIZE = 16
PICTURES = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.float32)


def relu(x: Any) -> Any:
    """Another function of a name that is known."""
    return keras.activations.relu(x, negative_slope=0.1)


def answered(content: bytes, images: np.ndarray) -> np.ndarray:
    return written._run_tflite(content, images.astype(np.float32))


def operators(content: bytes) -> list[tuple[str, int]]:
    """Kind and version of each operator, in the order they run."""
    tree = flatbuffer.unpack(content)
    (graph,) = tree.subgraphs
    return [(operator_name(tree, o), tree.operatorCodes[o.opcodeIndex].version)
            for o in graph.operators]  # fmt: skip


def classifier(*inside: Any, channels: int = 3, softmax: bool = True) -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, channels))
    x = layers.Rescaling(1 / 255)(image)
    for layer in inside:
        x = layer(x)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    return with_statistics(
        keras.Model(image, layers.Dense(3, "softmax" if softmax else None, name="scores")(x))
    )


@pytest.mark.parametrize(
    "network",
    [lambda: many_kinds(groups=1, activation="sigmoid"), gated, nested],
    ids=["many", "gated", "nested"],
)
@pytest.mark.parametrize("end", ["maps", "features", "logits", "probabilities"])
def test_every_kind_of_layer_answers_as_in_keras(
    end: str, network: Callable[[], keras.Model]
) -> None:
    model = with_statistics(network())
    images = np.random.default_rng(1).integers(0, 256, (3, 19, 22, 3), np.uint8)
    tensor = model.get_layer(end).output
    expected = np.asarray(keras.Model(model.input, tensor)(images, training=False))
    found = answered(write_tflite(model, tensor), images)
    assert found.shape == expected.shape and expected.std() > 0.01
    assert np.abs(found - expected).max() < 1e-5 * max(1, np.abs(expected).max())


def test_a_network_of_ours_is_the_operators_that_tensorflow_would_write() -> None:
    model = build_classifier(find_backbone("student"), 3, ImageSpec(64, 48))
    content = write_tflite(model, model.outputs[0])
    kinds = Counter(kind for kind, _ in operators(content))
    assert kinds.keys() == {"MUL", "ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "MEAN",
                            "FULLY_CONNECTED", "SOFTMAX"}  # fmt: skip
    assert {version for _, version in operators(content)} == {1}  # which every interpreter knows
    (graph,) = flatbuffer.unpack(content).subgraphs
    assert "block2_add" in {text(tensor.name) for tensor in graph.tensors}


def test_a_relu_is_applied_by_what_it_alone_reads() -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    y = layers.ReLU()(layers.Conv2D(4, 1)(layers.ReLU(6.0)(x)))
    x = layers.Activation("relu")(layers.Add()([x, y]))
    x = layers.Conv2D(6, 3, groups=1, activation="relu6")(layers.MaxPooling2D()(x))
    model = with_statistics(keras.Model(image, layers.GlobalAveragePooling2D()(layers.ReLU()(x))))
    content = write_tflite(model, model.outputs[0])
    # The first convolution is read twice, and the last has an activation of its own.
    assert [kind for kind, _ in operators(content)] == [
        "CONV_2D", "RELU6", "CONV_2D", "ADD", "MAX_POOL_2D", "CONV_2D", "RELU", "MEAN"
    ]  # fmt: skip
    expected = np.asarray(model(PICTURES, training=False))
    assert expected.std() > 0.01
    assert np.abs(answered(content, PICTURES) - expected).max() < 1e-5 * np.abs(expected).max()


def test_what_passes_a_tensor_on_does_not_make_it_its_readers_own() -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(4, 3, padding="same")(layers.Rescaling(1 / 255)(image))
    y = layers.Add()([x, layers.ReLU()(layers.Dropout(0.5)(x))])
    model = keras.Model(image, layers.GlobalAveragePooling2D()(y))
    expected = np.asarray(model(PICTURES, training=False))
    found = answered(write_tflite(model, model.outputs[0]), PICTURES)
    assert np.asarray(keras.Model(image, x)(PICTURES)).min() < -0.1  # what a ReLU would change
    assert np.abs(found - expected).max() < 1e-5


def test_a_group_for_each_channel_is_depthwise() -> None:
    model = classifier(layers.Conv2D(4, 3), layers.Conv2D(8, 3, strides=2, groups=4))
    content = write_tflite(model, model.outputs[0])
    assert ("DEPTHWISE_CONV_2D", 1) in operators(content)
    expected = np.asarray(model(PICTURES, training=False))
    assert np.abs(answered(content, PICTURES) - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (layers.Conv2D(6, 1, groups=3, name="some"), r"some \(3 groups\)"),
        (layers.ReLU(4.0, name="to4"), "to4 .*up to 4"),
        (layers.Conv2D(6, 1, activation="hard_sigmoid", name="gate"), "gate .*hard_sigmoid"),
        (layers.Conv2D(6, 1, activation="softplus", name="soft"), "soft .*softplus"),
        (layers.Conv2D(6, 1, activation=relu, name="own"), "own .*relu"),
        (layers.BatchNormalization(axis=1, name="rows"), "rows .*channels"),
        (layers.Reshape((7, 28, 6), name="wider"), r"wider \(from \(14, 14, 6\) to \(7, 28, 6\)\)"),
    ],
)
def test_what_is_not_written_is_named(layer: Any, named: str) -> None:
    model = classifier(layers.Conv2D(6, 3), layer)
    with pytest.raises(UnknownLayerError, match=named):
        write_tflite(model, model.outputs[0])


def test_an_input_of_whole_numbers_needs_an_exporter(capsys: pytest.CaptureFixture[str]) -> None:
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    model = keras.Model(image, layers.Flatten()(layers.Rescaling(1 / 255)(image)))
    known = PICTURES.astype(np.uint8), np.asarray(model(PICTURES.astype(np.uint8)))
    assert Written(model, 0, lambda: known)("tflite") is None
    assert "(its input, uint8) is not written" in capsys.readouterr().err


@pytest.mark.parametrize("format_", ["tflite", "onnx"])
class TestProof:
    def test_a_file_that_answers_alike_is_taken(self, format_: Any) -> None:
        model = classifier(layers.Conv2D(4, 3, activation="relu"))
        known = PICTURES, np.asarray(model(PICTURES))
        file = Written(model, 0, lambda: known)(format_)
        assert isinstance(file, FileGraph) and file.format == format_ and file.content

    def test_one_that_does_not_is_left_to_an_exporter(
        self, format_: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = classifier(layers.Conv2D(4, 3, activation="relu"))
        known = PICTURES, np.asarray(model(PICTURES)) * 1.001
        assert Written(model, 0, lambda: known)(format_) is None
        assert f"{format_} by an exporter: written directly, its answers differ by 0.001" in (
            capsys.readouterr().err
        )

    def test_so_is_a_layer_that_is_not_written(
        self, format_: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = classifier(layers.UpSampling2D(name="larger"))
        known = PICTURES, np.asarray(model(PICTURES))
        assert Written(model, 0, lambda: known)(format_) is None
        assert "the layer larger (UpSampling2D) is not written" in capsys.readouterr().err

    def test_and_whatever_else_goes_wrong(
        self,
        format_: Any,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        _, run = written._WAYS[format_]
        monkeypatch.setitem(written._WAYS, format_, (lambda *_: b"no model", run))
        model = classifier(layers.Conv2D(4, 3))
        known = PICTURES, np.asarray(model(PICTURES))
        assert Written(model, 0, lambda: known)(format_) is None
        assert f"{format_} by an exporter: written directly, " in capsys.readouterr().err


@pytest.fixture
def no_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*_: Any) -> None:
        pytest.fail("an exporter was called")

    for module in (onnx, tflite):
        monkeypatch.setattr(module, "_from_tensorflow", called)


def test_an_artifact_becomes_files_without_an_exporter_and_keeps_its_layers_names(
    no_exporter: None, tmp_path: Path
) -> None:
    spec = ImageSpec(48, 48)
    model = with_statistics(build_classifier(find_backbone("student"), 3, spec))
    metadata = edgeclf.Metadata("m", ("a", "b", "c"), spec, normalization=normalization_of(model))
    save_artifact(seal_model(model, metadata), tmp_path / "m.keras")
    pictures = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
    expected = model.predict(pictures, verbose=0)
    files = edgeclf.convert(tmp_path / "m.keras", to=("fp32.tflite", "fp32.onnx"), out=tmp_path)
    for file in files:
        with edgeclf.Classifier(file) as asked:
            assert np.abs(asked.probabilities(pictures) - expected).max() < 1e-5
    assert b"block2_add" in files[0].content and b"block2_add" in files[1].content


@pytest.mark.parametrize("channels", ["grey", "bgr"])
@pytest.mark.parametrize("scores", ["logits", "probabilities"])
def test_a_model_from_elsewhere_too(
    channels: Any, scores: Any, no_exporter: None, tmp_path: Path
) -> None:
    depth = 1 if channels == "grey" else 3
    model = classifier(layers.Conv2D(4, 3, activation="relu6"), layers.BatchNormalization(),
                       channels=depth, softmax=scores == "probabilities")  # fmt: skip
    model.save(tmp_path / "m.keras")
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    spec = SourceSpec(labels=labels, channels=channels, scores=scores)
    files = edgeclf.convert(tmp_path / "m.keras", to=("fp32.tflite", "fp32.onnx"), source=spec,
                            out=tmp_path / "out")  # fmt: skip
    pixels = PICTURES.astype(np.uint8)
    given = {"grey": pixels @ LUMA, "bgr": pixels[..., ::-1].astype(np.float32)}[channels]
    expected = np.asarray(model(given.reshape(3, SIZE, SIZE, depth)))
    if scores == "logits":
        expected = np.asarray(keras.ops.softmax(expected))
    for file in files:
        with edgeclf.Classifier(file) as asked:
            assert np.abs(asked.probabilities(pixels) - expected).max() < 1e-5
    assert expected.std() > 0.01
