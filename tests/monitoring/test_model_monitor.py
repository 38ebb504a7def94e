from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf import ImageSpec, Metadata, Prediction, Timing
from edgeclf.monitoring.expected_accuracy import ExpectedAccuracy
from edgeclf.monitoring.label_shift import LabelShift
from edgeclf.monitoring.model_monitor import ModelMonitor, top_and_margin
from edgeclf.monitoring.state import StateFile
from edgeclf.trust.reference import RANGES, histograms

LABELS = ("cat", "dog", "mug")
STATISTICS = {"brightness": 128.0, "contrast": 40.0, "sharpness": 9.0}


def metadata(**trust: Any) -> Metadata:
    return Metadata("m", LABELS, ImageSpec(8, 8), trust=trust or None)


def trust() -> dict[str, Any]:
    random = np.random.default_rng(0)
    values = {name: random.uniform(*limits, 300) for name, limits in RANGES.items()}
    return {"reference": histograms(values, random.integers(0, 3, 300), 3)}


def prediction(confidence: float | None = 0.8, novelty: float | None = 0.5) -> Prediction:
    return Prediction(LABELS, (0.7, 0.2, 0.1), Timing(1, 1, 1), confidence, False, novelty)


def test_a_file_without_reference_says_what_cannot_be_told() -> None:
    monitor = ModelMonitor(metadata())
    monitor.add(prediction(None, None), 0, 0.5, STATISTICS, 0.0)
    report = monitor.report()
    assert report["pictures"] == 1
    assert report["drift"] is report["label_shift"] is report["expected_accuracy"] is None
    assert len(report["cannot"]) == 2 and all("edgeclf calibrate" in s for s in report["cannot"])


@pytest.mark.parametrize("reference", [
    {}, {"top1": [1, 2]}, {"top1": [1, 2, 3], "margin": {}}, {"top1": []},
    {"top1": [1, 2, 3], "margin": {"low": 1, "high": 1, "counts": [1]}},
])  # fmt: skip
def test_a_damaged_reference_is_named_and_the_rest_goes_on(reference: dict[str, Any]) -> None:
    monitor = ModelMonitor(metadata(reference=reference))
    monitor.add(prediction(), 0, 0.5, None, 0.0)
    assert "calibrate it again" in monitor.report()["cannot"][0]
    assert monitor.report()["expected_accuracy"]["all"]["accuracy"] == pytest.approx(0.8)


@pytest.mark.parametrize("confidence", [None, math.nan, 0.8])
def test_it_goes_on_where_it_was(confidence: float | None, tmp_path: Path) -> None:
    one, other = ModelMonitor(metadata(**trust())), ModelMonitor(metadata(**trust()))
    for _ in range(40):
        one.add(prediction(confidence), 0, 0.5, STATISTICS, 0.0)
    file = StateFile(tmp_path / "state.json")
    file.write(file.encode({"a" * 64: one.state()}))
    again = StateFile(tmp_path / "state.json")
    assert again.read() is None and again.of("b" * 64) is None
    state = again.of("a" * 64)
    assert state is not None
    other.restore(state)
    assert other.report() == one.report() and other.state() == one.state()
    json.dumps(other.report(), allow_nan=False)


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b'{"format": 2, "models": {}}', b'{"format": 1}', b"\xff",
    b'{"format": 1, "models": {"a": 3}}', b"[" * 100_000,
])  # fmt: skip
def test_a_damaged_file_is_put_aside(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    said = StateFile(path).read()
    assert said is not None and "begins anew" in said
    assert not path.exists() and (tmp_path / "state.json.damaged").read_bytes() == content


def test_no_file_is_a_beginning(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "state.json").read() is None


def test_the_file_keeps_the_models_that_were_used_last(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json")
    for index in range(40):
        content = file.encode({str(index): {"pictures": index}, "first": {"pictures": 1}})
    kept = json.loads(content)["models"]
    assert len(kept) == 32 and "first" in kept and "39" in kept and "0" not in kept


def test_a_shift_of_classes_has_a_growing_factor() -> None:
    same, other = LabelShift([100, 100, 100]), LabelShift([100, 100, 100])
    for index in range(300):
        same.add(index % 3)
        other.add(0 if index % 2 else 1)
    assert same.log10_factor < 0 and other.log10_factor > 10
    assert other.most_changed(LABELS, 1) == [
        {"label": "mug", "reference": pytest.approx(1 / 3), "now": 0.0}
    ]


def test_the_factor_does_not_depend_on_the_order() -> None:
    tops = [0, 0, 1, 2, 0, 1, 0, 0]
    one, other = LabelShift([5, 3, 9]), LabelShift([5, 3, 9])
    for a, b in zip(tops, sorted(tops), strict=True):
        one.add(a)
        other.add(b)
    assert one.log10_factor == pytest.approx(other.log10_factor)


def test_the_interval_of_the_accuracy_holds_what_happens() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        confidences = random.uniform(0.4, 1, 300)
        expected = ExpectedAccuracy()
        for confidence in confidences.tolist():
            expected.add(confidence)
        found = expected.report()["all"]
        assert found is not None
        right = (random.random(300) < confidences).mean()
        held += found["low"] <= right <= found["high"]
    assert 180 <= held <= 199


def test_the_recent_accuracy_is_of_the_last_thousand() -> None:
    expected = ExpectedAccuracy()
    assert expected.report() == {"recent": None, "all": None}
    for confidence in [0.0] * 1_000 + [1.0] * 1_000:
        expected.add(confidence)
    recent, whole = expected.report()["recent"], expected.report()["all"]
    assert recent is not None and whole is not None
    assert (recent["accuracy"], recent["pictures"]) == (1.0, 1_000)
    assert (whole["accuracy"], whole["pictures"]) == (0.5, 2_000)


@pytest.mark.parametrize("key, value", [
    ("recent", [2.0]), ("count", -1), ("variance", -0.1), ("sum", "much"), ("recent", None),
])  # fmt: skip
def test_damaged_confidences_are_refused(key: str, value: Any) -> None:
    expected = ExpectedAccuracy()
    expected.add(0.5)
    state = expected.state()
    with pytest.raises((KeyError, TypeError, ValueError)):
        expected.restore({**state, key: value})
    assert expected.state() == state


@pytest.mark.parametrize("row, found", [
    ((0.7, 0.2, 0.1), (0, 0.5)), ((0.1, 0.2, 0.7), (2, 0.5)), ((0.5, 0.5), (0, 0.0)),
    ((1.0,), (0, 1.0)),
])  # fmt: skip
def test_top_and_margin(row: tuple[float, ...], found: tuple[int, float]) -> None:
    top, margin = top_and_margin(row)
    assert top == found[0] and margin == pytest.approx(found[1])
