"""The classifier: one answer, whatever the way in and whatever the runtime."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeclf.errors import ImageError, InferenceError, OptionError
from edgeclf.inference.classifier import Classifier
from edgeclf.inference.prediction import Failure, Prediction
from edgeclf.runtimes import RuntimeInfo
from edgeclf.runtimes.fake import FakeRuntime, fake_artifact
from support.pictures import grey

ARTIFACTS = {
    "mugs.keras": "tensorflow",
    "mugs.fp32.tflite": "litert",
    "mugs.int8.tflite": "litert",
    "mugs.fp32.onnx": "onnxruntime",
    "mugs.int8.onnx": "onnxruntime",
}


def test_fake_runtime_answers_by_brightness(fake: Classifier) -> None:
    assert [fake.classify(grey(v)).label for v in (0, 128, 255)] == ["dark", "middle", "bright"]
    prediction = fake.classify(grey(255))
    assert prediction.probability == pytest.approx(0.9)
    assert [s.index for s in prediction.top(2)] == [2, 0]
    assert sum(s.probability for s in prediction.scores) == pytest.approx(1)
    assert len(prediction.top(10)) == 3


def test_a_runtime_object_is_taken_as_it_is() -> None:
    artifact = fake_artifact(["a", "b"])
    runtime = FakeRuntime(artifact, answer=lambda images: [[0.25, 0.75]])
    with Classifier(artifact, runtime=runtime) as classifier:
        assert classifier.classify(grey(0)).label == "b"
        assert classifier.describe().name == "fake"


def test_a_runtime_with_other_classes_is_an_error() -> None:
    artifact = fake_artifact(["a", "b"])
    runtime = FakeRuntime(artifact, answer=lambda images: [[0.2, 0.3, 0.5]])
    with pytest.raises(InferenceError, match=r"\(1, 3\); expected \(1, 2\)"):
        Classifier(artifact, runtime=runtime).classify(grey(0))


def test_a_fake_runtime_answers_what_a_function_answers() -> None:
    artifact = fake_artifact(["red", "green", "blue"], 4, 6)
    asked: list[tuple[object, ...]] = []

    def strongest_channel(images: np.ndarray) -> np.ndarray:
        asked.append((images.dtype, images.shape))
        channels = images.astype(float).mean(axis=(1, 2))
        return channels / channels.sum(axis=1, keepdims=True)

    runtime = FakeRuntime(artifact, answer=strongest_channel)
    green, blue = np.zeros((2, 4, 6, 3), np.uint8)
    green[..., 1] = 90
    green[..., 0], blue[..., 2] = 30, 200
    answers = list(Classifier(artifact, runtime=runtime).classify_batch([green, blue]))
    assert [answer.label for answer in answers] == ["green", "blue"]
    assert answers[0].probabilities == (0.25, 0.75, 0.0)
    assert asked == [(np.dtype(np.uint8), (2, 4, 6, 3))]


def test_what_the_function_of_a_fake_runtime_raises_is_raised() -> None:
    def hot(images: np.ndarray) -> np.ndarray:
        raise InferenceError("The chip is too hot.")

    artifact = fake_artifact(["a", "b"])
    with pytest.raises(InferenceError, match=r"^The chip is too hot\.$"):
        Classifier(artifact, runtime=FakeRuntime(artifact, answer=hot)).classify(grey(0))


def test_timing_is_by_stage(fake: Classifier) -> None:
    timing = fake.classify(grey(0)).timing
    stages = (timing.decode_ms, timing.preprocess_ms, timing.inference_ms)
    assert all(ms > 0 for ms in stages)
    assert timing.total_ms == pytest.approx(sum(stages))


def test_a_closed_classifier_says_so(fake: Classifier) -> None:
    fake.close()
    with pytest.raises(InferenceError, match="closed"):
        fake.classify(grey(0))


def test_threads_must_be_positive() -> None:
    with pytest.raises(OptionError):
        Classifier(fake_artifact(["a", "b"]), runtime="fake", threads=0)


@pytest.mark.parametrize(("file", "runtime"), ARTIFACTS.items())
def test_every_way_in_gives_the_same_answer(
    model_folder: Path, photo: Path, file: str, runtime: str
) -> None:
    content = photo.read_bytes()
    with Classifier(model_folder / file) as classifier:
        info = classifier.describe()
        assert isinstance(info, RuntimeInfo)
        assert (info.name, info.device) == (runtime, "cpu") and info.threads >= 1
        with Image.open(photo) as opened:
            ways = [photo, str(photo), content, io.BytesIO(content), opened]
            answers = [classifier.classify(way) for way in ways]
        assert len({answer.scores for answer in answers}) == 1
        assert classifier.labels == ("white", "black", "blue", "transparent")
        assert sum(s.probability for s in answers[0].scores) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InferenceError, match="closed"):
        classifier.classify(photo)


@pytest.mark.parametrize("file", ARTIFACTS)
def test_a_batch_equals_its_images_one_by_one(model_folder: Path, mugs: Path, file: str) -> None:
    photos = sorted((mugs / "eval").rglob("*.jpg"))[:5]
    with Classifier(model_folder / file, threads=1) as classifier:
        together = classifier.probabilities(photos)
        apart = np.concatenate([classifier.probabilities([p]) for p in photos])
    assert together.shape == (5, 4) and together.dtype == np.float32
    assert np.abs(together - apart).max() < 1e-5
    assert np.abs(together.sum(axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize("file", ["mugs.fp32.tflite", "mugs.fp32.onnx"])
def test_float_artifacts_equal_their_source(model_folder: Path, mugs: Path, file: str) -> None:
    photos = sorted((mugs / "eval").rglob("*.jpg"))
    with (
        Classifier(model_folder / "mugs.keras") as source,
        Classifier(model_folder / file) as converted,
    ):
        assert np.abs(source.probabilities(photos) - converted.probabilities(photos)).max() < 1e-4


def test_urls_need_a_fetcher(photo: Path) -> None:
    artifact = fake_artifact(["a", "b"])
    content = photo.read_bytes()
    asked = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        if "gone" in url:
            raise OSError("404")
        return content

    url = "https://example.org/mug.jpg"
    with pytest.raises(ImageError, match="fetches nothing by itself"):
        Classifier(artifact, runtime="fake").classify(url)
    with Classifier(artifact, runtime="fake", fetch=fetch) as classifier:
        assert classifier.classify(url).probabilities == classifier.classify(photo).probabilities
        good, bad = classifier.classify_batch([url, "https://example.org/gone.jpg"])
    assert asked[0] == url
    assert isinstance(good, Prediction) and isinstance(bad, Failure)
    assert "Cannot fetch https://example.org/gone.jpg: 404" in str(bad.error)


@pytest.mark.parametrize("send", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_classifier_says_what_to_do_instead_of_being_pickled(
    send: Callable[[object], object], fake: Classifier
) -> None:
    with pytest.raises(InferenceError, match=r"cannot be pickled or copied.*initializer"):
        send(fake)
    assert fake.classify(grey(0)).label == "dark"


def test_answers_go_to_other_processes(fake: Classifier) -> None:
    answers = [*fake.classify_batch([grey(0), b"no picture"])]
    prediction, failure = pickle.loads(pickle.dumps(answers))
    assert prediction == answers[0] and prediction.scores == answers[0].scores
    assert str(failure.error) == str(answers[1].error)
