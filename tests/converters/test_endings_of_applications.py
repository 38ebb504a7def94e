"""What is found of Keras's own networks with their own tops, in both formats.

`test_endings.py` has each ending on graphs of a few operators; here are whole networks, of which
the plain run takes the quick ones and ``EDGECLF_TEST_BACKBONES=all`` all.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import pytest

from edgeclf.artifact import Features, Metadata, Normalization, seal_artifact
from edgeclf.converters import find_converter
from edgeclf.converters.base import Recipe, Source, TensorFlowGraph
from edgeclf.converters.endings import find_features
from edgeclf.image import ImageSpec
from edgeclf.inference.classifier import Classifier

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
pytest.importorskip("tf2onnx", reason="needs edgeclf[convert]")

SIZE, CLASSES = 64, 5
METADATA = Metadata("m", tuple("abcde"), ImageSpec(SIZE, SIZE), normalization=Normalization(0, 255))
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
# Name, width of the features (None for a network that does not end in a mean), and whether a dense
# layer alone reads them: not behind an activation or a normalisation.
NETWORKS = [
    ("MobileNet", 1024, True),  # its dense layer is a convolution
    ("MobileNetV2", 1280, True),
    ("EfficientNetV2B0", 1280, True),  # squeeze-and-excitation inside
    ("MobileNetV3Small", 576, False),
    ("ConvNeXtTiny", 768, False),
    ("ResNet50V2", 2048, True),
    ("DenseNet121", 1024, True),
    ("VGG16", None, False),
]

QUICK = ("MobileNet", "MobileNetV2", "MobileNetV3Small")
TAKEN = [
    pytest.param(
        *network,
        id=network[0],
        marks=pytest.mark.skipif(
            network[0] not in QUICK and os.environ.get("EDGECLF_TEST_BACKBONES") != "all",
            reason="takes long: EDGECLF_TEST_BACKBONES=all asks for it",
        ),
    )
    for network in NETWORKS
]
WITH_PREPROCESSING = ("ConvNeXtTiny", "EfficientNetV2B0")
NOT_ONNX = ("ConvNeXtTiny",)  # tf2onnx leaves a call of TensorFlow's for its grouped convolutions


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width", "dense"), TAKEN)
def test_the_ending_of_an_application(name: str, width: int | None, dense: bool) -> None:
    keras.utils.set_random_seed(0)
    made: Any = getattr(keras.applications, name)
    own = {"include_preprocessing": False} if name in WITH_PREPROCESSING else {}
    model = made(weights=None, classes=CLASSES, input_shape=(SIZE, SIZE, 3), **own)
    graph = TensorFlowGraph(
        lambda image: model(image, training=False), [v.value for v in model.variables]
    )
    for format_ in ("tflite",) if name in NOT_ONNX else ("tflite", "onnx"):
        converter = find_converter(format_)(Source(graph, METADATA))
        content = converter.convert(Recipe("fp32")).content
        record = find_features(converter.format, content, METADATA)
        assert (record is not None) == (width is not None), format_
        if record is None:
            continue
        metadata = dataclasses.replace(METADATA, features=record)
        features = Features.of(metadata)
        assert features.shape[2] == width and (features.head is not None) == dense, format_
        artifact = seal_artifact(content, metadata)
        with Classifier(artifact) as plain, Classifier(artifact) as tapped:
            expected = plain.probabilities(IMAGES)
            probabilities, maps = tapped.features(IMAGES)
        assert np.abs(probabilities - expected).max() <= (0 if format_ == "tflite" else 1e-6)
        if features.head is not None:
            made_of = maps.mean(axis=(1, 2)) @ features.head
            steps = np.abs(features.head).max(axis=0) / 127
            allowed = np.abs(maps).mean(axis=(1, 2)).sum(axis=1, keepdims=True) * steps
            off = made_of - np.log(expected)
            assert np.all(np.abs(off - off.mean(axis=1, keepdims=True)) <= allowed + 1e-4)
