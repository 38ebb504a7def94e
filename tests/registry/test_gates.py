"""What a version must show before an alias names it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeclf.artifact import Artifact
from edgeclf.errors import DataError, MeasurementError
from edgeclf.registry import gates
from edgeclf.registry.gates import Asked, judge
from support.services import artifact, lying

LABELS = ("dark", "middle", "bright")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photos a class, of which the fake runtime takes two bright ones for middle."""
    for label, level in zip(LABELS, (20, 128, 240), strict=True):
        (tmp_path / "eval" / label).mkdir(parents=True)
        for index in range(10):
            value = 150 if label == "bright" and index < 2 else level + index
            Image.fromarray(np.full((40, 40, 3), value, np.uint8)).save(
                tmp_path / "eval" / label / f"{index}.png"
            )
    return tmp_path / "eval"


def ask(candidate: Artifact, present: Artifact | None, **asked: Any) -> dict[str, gates.Gate]:
    return {gate.name: gate for gate in judge(candidate, present, Asked(runtime="fake", **asked))}


def test_the_certificate_alone_is_always_asked() -> None:
    found = ask(artifact(), None)
    assert found["certificate"].passed and "3 golden images" in found["certificate"].text
    assert found["quality"].passed is None and found["latency"].passed is None


def test_nothing_more_is_asked_of_one_whose_certificate_does_not_hold(photos: Path) -> None:
    found = ask(lying(artifact()), artifact(), data=photos)
    assert list(found) == ["certificate"] and found["certificate"].passed is False
    bare = artifact()
    bare = dataclasses.replace(bare, metadata=dataclasses.replace(bare.metadata, certificate=None))
    gate = ask(bare, None)["certificate"]
    assert gate.passed is False and "none to replay" in gate.text


def test_the_first_one_has_nobody_to_beat(photos: Path) -> None:
    gate = ask(artifact(), None, data=photos)["quality"]
    assert gate.passed and gate.figures["top1"] == pytest.approx(28 / 30)
    assert gate.figures["present_top1"] is None and "nobody to beat" in gate.text


def worse(monkeypatch: pytest.MonkeyPatch, wrong: int) -> None:
    """Lets the version named 2 be wrong for so many photos that the other is right for."""
    right: Callable[..., Any] = gates._right

    def fewer(classifier: Any, photos: Any) -> Any:
        found = right(classifier, photos).copy()
        if classifier.artifact.metadata.version == "2":
            found[np.flatnonzero(found)[:wrong]] = False
        return found

    monkeypatch.setattr(gates, "_right", fewer)


@pytest.mark.parametrize(("wrong", "tolerance", "passed"), [
    (0, 0.0, True), (1, 0.0, False), (3, 0.1, True), (4, 0.1, False), (28, 1.0, True),
])  # fmt: skip
def test_it_may_lose_what_is_tolerated(
    photos: Path, monkeypatch: pytest.MonkeyPatch, wrong: int, tolerance: float, passed: bool
) -> None:
    worse(monkeypatch, wrong)
    found = ask(artifact(version="2"), artifact(), data=photos, tolerance=tolerance)
    gate = found["quality"]
    assert gate.passed is passed and ("latency" in found) is passed
    assert gate.figures["only_present_right"] == wrong and gate.figures["only_new_right"] == 0
    low, high = gate.figures["change_interval_95"]
    assert gate.figures["change"] == pytest.approx(-wrong / 30)
    assert low <= gate.figures["change"] <= high
    assert "(95 % interval " in gate.text and f"the present one alone for {wrong})" in gate.text


def test_versions_of_other_classes_are_not_compared(photos: Path) -> None:
    with pytest.raises(DataError, match="same classes"):
        ask(artifact(), artifact(labels=("dark", "middle")), data=photos)


def test_latency_is_held_against_its_limit(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = dataclasses.replace(gates._SAMPLING, window_s=0.05)
    monkeypatch.setattr(gates, "_SAMPLING", quick)
    gate = ask(artifact(), None, max_p99_ms=1e4)["latency"]
    assert gate.passed and gate.figures["n"] >= 1000 and "the model alone" in gate.text
    gate = ask(artifact(), None, data=photos, max_p99_ms=1e-6)["latency"]
    assert gate.passed is False and "decoding included" in gate.text


def test_too_few_calls_tell_no_p99(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = dataclasses.replace(gates._SAMPLING, window_s=1e-4, max_s=1e-4, min_samples=10**6)
    monkeypatch.setattr(gates, "_SAMPLING", slow)
    monkeypatch.setattr(gates, "warm_up", lambda call: None)
    with pytest.raises(MeasurementError, match="too few to tell a p99"):
        ask(artifact(), None, max_p99_ms=5)
