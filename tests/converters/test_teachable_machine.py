"""What Teachable Machine exports: a Keras 2 file and two TFLite files of one network."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeclf
from edgeclf import Classifier, SourceSpec
from edgeclf.converters.evaluation import generated_pictures
from edgeclf.converters.known_answers import probe_pictures
from edgeclf.converters.sources import open_model
from edgeclf.errors import OptionError
from edgeclf.image import ImageSpec
from support.keras_2 import say_groups

tf = pytest.importorskip("tensorflow", reason="needs edgeclf[train]")
pytest.importorskip("litert_quantizer", reason="needs edgeclf[convert]")

SIZE, CLASSES = 96, 3  # Teachable Machine's have 224 pixels
IMAGES = probe_pictures(ImageSpec(SIZE, SIZE))
LIMITS = {"fp32": 1e-5, "fp16": 0.01}  # how far a probability may move


def as_floats(images: Any) -> Any:
    return np.asarray(images, np.float32) / 127.5 - 1


def network(keras: Any) -> Any:
    """MobileNetV2 and a mean are one Sequential, two dense layers another, both are in a third.

    Args:
        keras: Keras 3, or Keras 2 as the package tf_keras.
    """
    keras.utils.set_random_seed(0)
    layers = keras.layers
    whole = keras.applications.MobileNetV2(
        input_shape=(SIZE, SIZE, 3), alpha=0.35, include_top=False, weights=None
    )
    # Its first four blocks: of 17 at random, int8 leaves nothing that could be compared.
    features = keras.Model(whole.input, whole.get_layer("block_4_add").output)
    head = [layers.Dense(100, activation="relu"),
            layers.Dense(CLASSES, activation="softmax", use_bias=False)]  # fmt: skip
    model = keras.Sequential([
        keras.Sequential([features, layers.GlobalAveragePooling2D()]),
        keras.Sequential([layers.InputLayer((features.output.shape[-1],)), *head]),
    ])  # fmt: skip
    model.build((None, SIZE, SIZE, 3))
    # At random, all pictures would have one answer.
    for layer in features.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    features(as_floats(IMAGES), training=True)
    pooled = np.asarray(model.layers[0](as_floats(IMAGES), training=False))
    kernel, last = head[0].get_weights()[0], head[1].get_weights()[0]
    bias = -(pooled @ kernel).mean(axis=0)
    hidden = np.maximum(pooled @ kernel + bias, 0)
    mean = hidden.mean(axis=0, keepdims=True)
    last -= mean.T @ (mean @ last) / (mean**2).sum()
    head[0].set_weights([kernel, bias])
    head[1].set_weights([last / (hidden @ last).std(axis=0)])
    return model


@pytest.fixture(scope="module", params=["keras", "tf_keras"])
def model(request: pytest.FixtureRequest) -> Any:
    """By Keras 3, and by Keras 2 where that is installed: it writes the file as it is met."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"needs the package {request.param}, which is not installed here")
    return network(importlib.import_module(request.param))


@pytest.fixture(scope="module")
def expected(model: Any) -> Any:
    answers = np.asarray(model(as_floats(IMAGES), training=False))
    assert np.ptp(answers, axis=0).min() > 0.3
    return answers


@pytest.fixture
def spec(tmp_path: Path) -> SourceSpec:
    (tmp_path / "labels.txt").write_text("0 Class 1\n1 Class 2\n2 Class 3\n")  # as it writes them
    return SourceSpec(labels=tmp_path / "labels.txt", input_range=(-1, 1))


@pytest.fixture
def check(spec: SourceSpec, expected: Any, tmp_path: Path) -> Callable[..., None]:
    """Converts a file and compares what was written with the network's answers."""
    pictures = generated_pictures(ImageSpec(SIZE, SIZE), 40)
    for index, picture in enumerate(pictures):
        file = tmp_path / ("train" if index < 20 else "eval") / f"{index}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(file)

    def run(file: Path, to: list[str]) -> None:
        artifacts = edgeclf.convert(
            file, to=to, source=spec, calibration=tmp_path / "train", evaluation=tmp_path / "eval",
            out=tmp_path / "out", tolerance=0.3,
        )  # fmt: skip
        assert [f"{a.metadata.precision}.{a.format}" for a in artifacts] == to
        for artifact in artifacts:
            assert artifact.metadata.labels == ("Class 1", "Class 2", "Class 3")
            with Classifier(artifact) as classifier:
                moved = np.abs(classifier.probabilities(IMAGES) - expected).max()
            assert moved < LIMITS.get(artifact.metadata.precision, 0.2), artifact.path

    return run


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_the_keras_file(model: Any, check: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "keras_model.h5"
    model.save(file)
    if model.__module__.startswith("keras."):
        say_groups(file)
    check(file, ["fp32.tflite", "int8.tflite", "fp32.onnx", "int8.onnx"])


@pytest.mark.slow
def test_the_float_file(model: Any, check: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "model_unquant.tflite"
    file.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    check(file, ["fp32.tflite", "fp16.tflite", "dynamic.tflite", "int8.tflite"])


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
def test_the_quantised_file(model: Any, expected: Any, spec: SourceSpec, tmp_path: Path) -> None:
    """Bytes in and out; the artifact answers what the file does, by its scales."""

    def pictures() -> Iterator[list[Any]]:
        for image in IMAGES:
            yield [as_floats(image[np.newaxis])]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = pictures
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    file = tmp_path / "model.tflite"
    file.write_bytes(converter.convert())
    own = answers_of(file)
    (artifact,) = edgeclf.convert(file, to=["int8.tflite"], source=spec, out=tmp_path / "out")
    with Classifier(artifact) as classifier:
        found = classifier.probabilities(IMAGES)
    assert np.abs(found - own).max() < 1e-6
    assert np.abs(found - expected).max() < 0.2
    with pytest.raises(OptionError, match=r"values from -0\.996.* to 1\.004"):
        open_model(file, SourceSpec(labels=spec.labels))


def answers_of(file: Path) -> Any:
    """What LiteRT alone makes of the pictures' bytes."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = given["quantization"]
    assert given["dtype"] is np.uint8 and abs(scale - 1 / 127.5) < 1e-4 and zero in (127, 128)
    assert answer["quantization"] == (1 / 256, 0)
    rows = []
    for image in IMAGES:  # a byte is what it is of -1 to 1
        interpreter.set_tensor(given["index"], image[np.newaxis])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(answer["index"])[0] / 256)
    return np.stack(rows)
