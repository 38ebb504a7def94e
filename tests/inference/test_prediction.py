"""Labels and probabilities in an answer."""

from __future__ import annotations

import pytest

from edgeclf.errors import OptionError
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.fake import FakeRuntime, fake_artifact
from support.pictures import grey


def test_top_takes_only_what_is_wanted() -> None:
    artifact = fake_artifact(["a", "b", "c", "d"])
    runtime = FakeRuntime(artifact, answer=lambda images: [[0.1, 0.4, 0.3, 0.2]])
    prediction = Classifier(artifact, runtime=runtime).classify(grey(0))
    assert [s.label for s in prediction.top()] == ["b", "c", "d", "a"]
    assert [s.label for s in prediction.top(2, deny=["b"])] == ["c", "d"]
    assert [s.label for s in prediction.top(allow=["a", "c"])] == ["c", "a"]
    assert [s.label for s in prediction.top(threshold=0.25)] == ["b", "c"]
    second = prediction.scores[1].probability
    assert [s.label for s in prediction.top(threshold=second)] == ["b", "c"]
    assert prediction.top(allow=["a"], threshold=0.5) == ()
    with pytest.raises(OptionError, match="no label 'e'; it has 4: a, b, c, d"):
        prediction.top(deny=["e"])
    with pytest.raises(OptionError, match="k is 0"):
        prediction.top(0)


def test_equal_probabilities_keep_the_order_of_the_model() -> None:
    artifact = fake_artifact(["a", "b", "c"])
    runtime = FakeRuntime(artifact, answer=lambda images: [[0.25, 0.375, 0.375]])
    prediction = Classifier(artifact, runtime=runtime).classify(grey(0))
    assert prediction.label == "b" and [s.label for s in prediction.scores] == ["b", "c", "a"]
