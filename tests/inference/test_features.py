"""`Classifier.features`, over a runtime that needs no model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from edgeclf.artifact import Artifact
from edgeclf.errors import ArtifactError, ImageError, OptionError, RuntimeLoadError
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.fake import FakeRuntime, fake_artifact
from support.pictures import grey


def artifact(**record: Any) -> Artifact:
    plain = fake_artifact(["dark", "bright"], 8, 12)
    features = {"tensor": "x", "layout": "nhwc", "shape": [2, 3, 4], "pooling": "mean",
                "head": None, **record}  # fmt: skip
    metadata = dataclasses.replace(plain.metadata, features=features)
    return dataclasses.replace(plain, metadata=metadata)


def test_features_come_with_the_probabilities() -> None:
    classifier = Classifier(artifact(), runtime="fake")
    pictures = [grey(0), grey(255)] * 40  # more than one batch
    probabilities, features = classifier.features(pictures)
    assert np.array_equal(probabilities, classifier.probabilities(pictures))
    assert features.shape == (80, 2, 3, 4) and features.dtype == np.float32
    assert features[0].max() == 0.0 and features[1].min() == 1.0


def test_an_array_of_the_models_size_is_taken_as_it_is() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 12, 3), np.uint8)
    _, features = Classifier(artifact(), runtime="fake").features(images)
    assert np.array_equal(features[..., :3], images[:, ::4, ::4] / np.float32(255))
    with pytest.raises(OptionError, match=r"expected uint8 \('N', 8, 12, 3\)"):
        Classifier(artifact(), runtime="fake").features(images[:, :4])


def test_a_function_of_the_fake_runtime_gives_them() -> None:
    plain = fake_artifact(["dark", "bright"])
    runtime = FakeRuntime(plain, features=lambda images: images[:, :1, :2, :1])
    probabilities, features = Classifier(plain, runtime=runtime).features([grey(7)])
    assert probabilities.shape == (1, 2) and features.dtype == np.float32
    assert features.tolist() == [[[[7.0], [7.0]]]]


def test_a_file_that_has_none_is_a_clear_error() -> None:
    classifier = Classifier(fake_artifact(["dark", "bright"]), runtime="fake")
    with pytest.raises(ArtifactError, match="does not say where its features are"):
        classifier.features([grey(0)])


def test_a_runtime_that_has_none_is_a_clear_error() -> None:
    class Bare(FakeRuntime):
        run_with_features = None  # type: ignore[assignment]

    classifier = Classifier(artifact(), runtime=Bare(artifact()))
    with pytest.raises(RuntimeLoadError, match="runtime fake does not give features; litert, onnx"):
        classifier.features([grey(0)])


def test_no_picture_and_no_readable_picture_are_errors() -> None:
    classifier = Classifier(artifact(), runtime="fake")
    with pytest.raises(OptionError, match="at least one"):
        classifier.features([])
    with pytest.raises(ImageError):
        classifier.features([grey(0), b"no picture"])
