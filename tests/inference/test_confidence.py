"""What a calibrated file adds to its answers, over a runtime that needs no model."""

from __future__ import annotations

import base64
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeclf.artifact import Artifact
from edgeclf.errors import ArtifactError, OptionError, RuntimeLoadError
from edgeclf.inference.classifier import Classifier
from edgeclf.inference.confidence import confidences, lengths, pooled_features
from edgeclf.inference.prediction import Failure
from edgeclf.runtimes.fake import FakeRuntime, fake_artifact
from support.pictures import grey

ROW = [0.2, 0.5, 0.3]
FEATURES = {"tensor": "x", "layout": "nhwc", "shape": [2, 2, 3], "pooling": "mean", "head": None}


def encoded(rows: list[list[int]], scale: list[float]) -> dict[str, str]:
    return {
        "basis": base64.b64encode(np.array(rows, np.int8).tobytes()).decode(),
        "scale": base64.b64encode(np.array(scale, "<f4").tobytes()).decode(),
    }


# Known pictures are red: their unit features are (1, 0, 0), and may leave it towards green.
RESIDUAL = {
    "score": "residual", "threshold": 0.5, **encoded([[1, 0, 0], [0, 1, 0]], [1.0, 1.0])
}  # fmt: skip
SCALED = {**RESIDUAL, "score": "scaled_residual", "length": 100.0}
COSINE = {"score": "cosine", "threshold": 0.5, **encoded([[1, 0, 0], [0, 1, 0]], [1.0, 1.0])}
CONFIDENCE = {"score": "confidence", "threshold": 0.4}
TRUST = {
    "temperature": {"value": 0.5, "floor": 1e-7},
    "novelty": RESIDUAL,
    "sets": {
        "score": "plain",
        "penalty": 0.0,
        "levels": [
            {"coverage": 0.8, "quantiles": [0.3]},
            {"coverage": 0.9, "quantiles": [0.9, 0.6, 0.6]},
        ],
    },
}


def calibrated(features: Any = FEATURES, **changes: Any) -> Artifact:
    plain = fake_artifact(["a", "b", "c"], 8, 8)
    metadata = dataclasses.replace(plain.metadata, features=features, trust={**TRUST, **changes})
    return dataclasses.replace(plain, metadata=metadata)


def classifier(artifact: Artifact, **options: Any) -> Classifier:
    runtime = FakeRuntime(
        artifact,
        answer=lambda images: [ROW] * len(images),
        features=lambda images: images[:, :2, :2].astype(np.float32),
        **options,
    )
    return Classifier(artifact, runtime=runtime)


def colour(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((16, 16, 3), (red, green, blue), np.uint8)


def test_confidence_is_the_softmax_of_divided_logarithms() -> None:
    logits = np.log(np.array([ROW])) / 0.5
    expected = np.exp(logits).max() / np.exp(logits).sum()
    assert confidences(np.array([ROW]), 0.5, 1e-7) == pytest.approx(expected)
    assert classifier(calibrated()).classify(grey(9)).confidence == pytest.approx(expected)
    assert confidences(np.array([ROW]), 1.0, 1e-7) == pytest.approx(0.5)
    assert np.isfinite(confidences(np.array([[1.0, 0.0]]), 0.05, 1e-7)).all()


def test_features_are_pooled_over_rows_and_columns() -> None:
    features = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)
    assert pooled_features(features) == pytest.approx(features.mean(axis=(1, 2)))
    assert lengths(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [5.0, 1e-12]


@pytest.mark.parametrize(
    ("novelty", "picture", "expected"),
    [
        (RESIDUAL, colour(200, 0, 0), 0.0),
        (RESIDUAL, colour(100, 100, 0), 0.586),  # |(1, 1) / sqrt(2) - (1, 0)| but for green
        (RESIDUAL, colour(0, 0, 200), 2.828),
        (SCALED, colour(0, 0, 60), 2.828),  # shorter than known ones
        (SCALED, colour(0, 0, 200), 2 * 2.828),
        (COSINE, colour(0, 150, 0), 0.0),
        (COSINE, colour(0, 0, 200), 2.0),
        (CONFIDENCE, colour(1, 2, 3), (1 - 0.25 / 0.38) / 0.4),
    ],
)
def test_novelty_is_relative_to_the_threshold(
    novelty: dict[str, Any], picture: np.ndarray, expected: float
) -> None:
    answer = classifier(calibrated(novelty=novelty)).classify(picture)
    assert answer.novelty == pytest.approx(expected, abs=1e-3)
    assert answer.unknown is (expected > 1)
    assert answer.label == "b" and answer.probabilities == pytest.approx(ROW)


def test_a_file_that_is_not_calibrated_says_none() -> None:
    answer = classifier(fake_artifact(["a", "b", "c"], 8, 8)).classify(grey(0))
    assert (answer.confidence, answer.unknown, answer.novelty) == (None, None, None)
    assert answer.set() is None and answer.set(0.5) is None


def test_off_asks_for_no_features() -> None:
    artifact = calibrated()

    def never(images: np.ndarray) -> np.ndarray:
        raise AssertionError("features were asked for")

    runtime = FakeRuntime(artifact, answer=lambda images: [ROW] * len(images), features=never)
    answer = Classifier(artifact, runtime=runtime).classify(grey(0), unknown="off")
    assert answer.confidence is not None and answer.unknown is None and answer.novelty is None
    plain = dataclasses.replace(
        artifact, metadata=dataclasses.replace(artifact.metadata, trust=None)
    )
    assert Classifier(plain, runtime=runtime).classify(grey(0)).unknown is None


def test_label_names_the_unknown() -> None:
    blue, red = colour(0, 0, 200), colour(200, 0, 0)
    with classifier(calibrated()) as model:
        assert model.classify(blue, unknown="label").label == "unknown"
        assert model.classify(red, unknown="label").label == "b"
        assert model.classify(blue).label == "b" and model.classify(blue).unknown
        batch = list(model.classify_batch([red, b"no picture", blue], unknown="label"))
        assert isinstance(batch[1], Failure)
        assert [a.label for a in batch if not isinstance(a, Failure)] == ["b", "unknown"]
        (frame,) = model.stream([blue], unknown="label")
        assert not isinstance(frame.answer, Failure) and frame.answer.label == "unknown"


def test_a_batch_gives_what_single_pictures_give() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(5)]
    with classifier(calibrated()) as model:
        for picture, many in zip(pictures, model.classify_batch(pictures), strict=True):
            one = model.classify(picture)
            assert not isinstance(many, Failure)
            assert many.novelty == pytest.approx(one.novelty) and many.confidence == one.confidence


def test_label_is_refused_where_nobody_can_tell() -> None:
    class Bare(FakeRuntime):
        run_with_features = None  # type: ignore[assignment]

    plain = classifier(fake_artifact(["a", "b", "c"], 8, 8))
    with pytest.raises(OptionError, match="cannot tell what is unknown; calibrate it with"):
        plain.classify(grey(0), unknown="label")
    with pytest.raises(OptionError, match="cannot tell"):
        plain.classify_batch([grey(0)], unknown="label")
    with pytest.raises(OptionError, match="unknown is 'maybe'; expected one of"):
        plain.classify(grey(0), unknown="maybe")  # type: ignore[arg-type]
    bare = Classifier(calibrated(), runtime=Bare(calibrated()))
    answer = bare.classify(grey(0))
    assert answer.confidence is not None and answer.unknown is None and answer.novelty is None
    with pytest.raises(RuntimeLoadError, match="does not give features"):
        bare.classify(grey(0), unknown="label")


def test_sets_by_class_and_their_levels() -> None:
    answer = classifier(calibrated()).classify(grey(0))
    assert answer.set(0.8) == ("b",)
    assert answer.set() == answer.set(0.9) == ("b", "a")  # c has a smaller limit than a
    with pytest.raises(OptionError, match=r"coverage is 0\.95; .* for 0\.8, 0\.9"):
        answer.set(0.95)


def test_an_answer_travels_between_processes() -> None:
    answer = classifier(calibrated()).classify(colour(0, 0, 9))
    again = pickle.loads(pickle.dumps(answer))
    assert again == answer and again.set(0.9) == answer.set(0.9)
    assert dataclasses.asdict(answer)["unknown"] is True


DAMAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "no temperature": lambda: {"temperature": {}},
    "a temperature of zero": lambda: {"temperature": {"value": 0, "floor": 1e-7}},
    "a temperature that is no number": lambda: {"temperature": {"value": "warm", "floor": 1e-7}},
    "no object": lambda: {"temperature": 3},
    "no novelty": lambda: {"novelty": None},
    "another score": lambda: {"novelty": {**RESIDUAL, "score": "energy"}},
    "a threshold of zero": lambda: {"novelty": {**RESIDUAL, "threshold": 0.0}},
    "a length of zero": lambda: {"novelty": {**SCALED, "length": 0}},
    "no length": lambda: {"novelty": {**RESIDUAL, "score": "scaled_residual"}},
    "no base64": lambda: {"novelty": {**RESIDUAL, "basis": "?!"}},
    "a basis cut short": lambda: {"novelty": {**RESIDUAL, "basis": RESIDUAL["basis"][:4]}},
    "other channels": lambda: {"novelty": {**RESIDUAL, **encoded([[1, 2]], [1.0])}},
    "a scale that is not finite": lambda: {
        "novelty": {**RESIDUAL, **encoded([[1, 0, 0], [0, 1, 0]], [1.0, float("nan")])}
    },
    "no rows": lambda: {"novelty": {**RESIDUAL, "basis": "", "scale": ""}},
    "other sets": lambda: {"sets": {**TRUST["sets"], "score": "aps"}},
    "quantiles of other classes": lambda: {
        "sets": {**TRUST["sets"], "levels": [{"coverage": 0.9, "quantiles": [0.1, 0.2]}]}
    },
    "levels that are none": lambda: {"sets": {**TRUST["sets"], "levels": 3}},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_member_is_one_sentence(damage: str) -> None:
    with pytest.raises(ArtifactError, match=r"The member trust of fake cannot be read: .* Calibr"):
        classifier(calibrated(**DAMAGES[damage]()))


def test_novelty_by_features_needs_a_file_that_has_them() -> None:
    with pytest.raises(ArtifactError, match="novelty needs features, and the file has none"):
        classifier(calibrated(features=None))
