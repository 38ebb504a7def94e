from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from edgeclf import Classifier, Prediction, Timing
from edgeclf.image import ImageSource
from edgeclf.monitoring import looking
from edgeclf.monitoring.answer_metrics import AnswerMetrics
from edgeclf.monitoring.throttling import Throttling
from edgeclf.runtimes.fake import fake_artifact
from edgeclf.system import cpu


def answer(confidence: float | None) -> Prediction:
    return Prediction(("cat", "dog"), (0.9, 0.1), Timing(1, 1, 1), confidence, True, 1.5)


def told(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def test_what_is_no_number_is_never_observed() -> None:
    registry = CollectorRegistry()
    metrics = AnswerMetrics(registry)
    for value in (math.nan, math.inf, None):
        statistics = None if value is None else {"brightness": value}
        metrics.add("m", b"", answer(value), "cat", 0.8 if value is None else value, statistics)
    text = told(registry)
    assert "NaN" not in text and 'edgeclf_margin_count{model="m"} 1.0' in text
    assert "edgeclf_confidence_count" not in text and "edgeclf_brightness_count" not in text


def test_the_series_of_a_model_that_is_gone_are_dropped() -> None:
    registry = CollectorRegistry()
    metrics = AnswerMetrics(registry)
    for model in ("stays", "goes"):
        metrics.add(model, np.zeros((2, 2, 3), np.uint8), answer(0.5), "cat", 0.8, None)
    metrics.keep({"stays"})
    assert "goes" not in told(registry) and told(registry).count('model="stays"') > 10


def test_what_a_client_sends_makes_no_label() -> None:
    registry = CollectorRegistry()
    metrics = AnswerMetrics(registry)
    for content in (b"GARBAGE", b"\xff\xd8\xff", b"", np.zeros((2, 2, 3), np.uint8)):
        metrics.add("m", content, answer(0.5), "cat", 0.8, None)
    for label in ("JPEG", "other", "pixels"):
        assert f'edgeclf_picture_bytes_count{{format="{label}"}}' in told(registry)
    assert "GARBAGE" not in told(registry)


@pytest.mark.parametrize("text, seconds", [
    ("usage_usec 9\nnr_periods 100\nnr_throttled 7\nthrottled_usec 2500000\n", 2.5),
    ("nr_periods 100\nnr_throttled 7\nthrottled_time 2500000000\n", 2.5),
    ("usage_usec 9\n", None), ("", None), ("broken", None),
])  # fmt: skip
def test_throttling_is_read_as_either_kernel_says_it(
    text: str, seconds: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path
    (folder / "cpu.stat").write_text(text)
    monkeypatch.setattr(cpu, "_cgroup_folders", lambda: [folder, folder / "none"])
    registry = CollectorRegistry()
    registry.register(Throttling())
    assert cpu.throttling() == (None if seconds is None else (100, 7, seconds))
    assert ("edgeclf_cpu_throttled_seconds_total 2.5" in told(registry)) == (seconds is not None)


def test_a_look_costs_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([0.0, 0.9])
    monkeypatch.setattr(looking, "random", lambda: next(drawn))
    looker = looking.Looker()
    looker.cost_s = 1.0
    assert looker(np.full((8, 8, 3), 9, np.uint8)) == pytest.approx(
        {"brightness": 9, "contrast": 0, "sharpness": 0}, abs=1e-4
    )
    assert looker(np.full((8, 8, 3), 9, np.uint8)) is None
    assert looker.cost_s == pytest.approx(0.95, abs=0.01)


def test_it_is_told_what_the_engine_gets() -> None:
    seen: list[np.ndarray] = []
    spec = fake_artifact(["dark", "bright"]).metadata.image
    with Classifier(fake_artifact(["dark", "bright"]), runtime="fake") as classifier:
        pictures: list[ImageSource] = [
            np.full((9, 7, 3), 200, np.uint8),
            b"none",
            np.zeros((9, 7, 3), np.uint8),
        ]
        classifier.classify_together(pictures, seen=seen.append)
    assert [each.shape for each in seen] == [(spec.height, spec.width, 3)] * 2
    assert [int(each.mean()) for each in seen] == [200, 0]
