from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from edgeclf.artifact import load_artifact
from edgeclf.errors import OptionError
from edgeclf.measurement.probe_networks.plan import network
from edgeclf.networks.backend import keras, layers
from edgeclf.networks.builder import build_classifier, find_backbone, input_spec
from edgeclf.networks.operators import model_bytes, operators_of, size_bytes_of

FORMATS: tuple[Literal["tflite", "onnx"], ...] = ("tflite", "onnx")
BLOCKS = [(3, 1, 16, None), (3, 2, 24, 6.0), (3, 1, 24, 6.0), (5, 2, 40, 6.0), (5, 1, 40, 6.0),
          (3, 2, 80, 6.0)]  # fmt: skip


def student() -> keras.Model:
    backbone = find_backbone("student")
    return build_classifier(backbone, 4, input_spec(backbone))


def test_operators_of_the_student_are_those_of_the_table() -> None:
    plan = network(96, stem=32, blocks=BLOCKS, head=192, classes=4)
    assert operators_of(student()) == tuple(layer.shape for layer in plan)


def test_sizes_are_near_those_of_converted_files(model_folder: Path) -> None:
    model = student()
    for format_ in FORMATS:
        for precision in ("int8", "fp32"):
            artifact = load_artifact(model_folder / f"mugs.{precision}.{format_}")
            beside = len(artifact.metadata.to_json().encode())
            predicted = model_bytes(operators_of(model), precision, format_)
            assert predicted == pytest.approx(artifact.size_bytes - beside, rel=0.03)
            whole = size_bytes_of(model, precision, format_)
            assert whole == pytest.approx(predicted + 58_000, abs=2_000)
    with pytest.raises(OptionError, match="fp16"):
        size_bytes_of(model, "fp16", "tflite")


def test_a_layer_without_times_is_named() -> None:
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="normalize")(image)
    for layer, words in (
        (layers.Conv2D(8, 3, dilation_rate=2, name="odd"), "dilated"),
        (layers.Conv2D(6, 3, groups=3, name="odd"), "3 groups"),
        (layers.DepthwiseConv2D(3, depth_multiplier=2, name="odd"), "depth multiplier of 2"),
        (layers.Conv2D(8, 3, activation="gelu", name="odd"), "activates by gelu"),
        (layers.MaxPooling2D(name="odd"), "is a MaxPooling2D"),
        (layers.Rescaling(2.0, name="odd"), "no normalisation"),
    ):
        with pytest.raises(OptionError, match=f"'odd' .*{words}"):
            operators_of(keras.Model(image, layer(x)))
    twice = layers.Conv2D(3, 1, name="twice")
    with pytest.raises(OptionError, match="'twice' is used more than once"):
        operators_of(keras.Model(image, twice(twice(x))))
