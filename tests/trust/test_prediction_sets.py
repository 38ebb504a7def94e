"""Coverage of sets over simulated splits, where the truth is drawn from what is stated or not."""

from __future__ import annotations

import numpy as np
import pytest

from edgeclf.errors import OptionError
from edgeclf.inference.confidence import PredictionSets, set_scores
from edgeclf.trust.prediction_sets import (
    COVERAGES,
    contained,
    fit_sets,
    photos_for,
    quantile,
    read_sets,
)

CLASSES = 6


def simulated(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers that are right too seldom for how sure they are."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.2, (count, CLASSES))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (true.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    stated = true**2 / (true**2).sum(axis=1, keepdims=True)
    return stated.astype(np.float32), targets


def test_the_rank_counts_the_photo_to_come() -> None:
    assert [photos_for(coverage) for coverage in COVERAGES] == [4, 9, 19, 99]
    assert quantile(np.arange(1.0, 20.0), 0.9) == 18.0
    assert quantile(np.arange(1.0, 10.0), 0.9) == 9.0
    assert quantile(np.arange(1.0, 9.0), 0.9) is None
    assert quantile(np.arange(1.0, 100.0), 0.99) == 99.0


def test_coverage_over_many_splits_is_what_was_promised() -> None:
    within = 0
    shares = {coverage: [] for coverage in COVERAGES}
    for seed in range(100):
        probabilities, targets = simulated(400, seed)
        record = fit_sets(probabilities[:200], targets[:200])
        for coverage in COVERAGES:
            inside = contained(record, probabilities[200:], coverage)
            shares[coverage].append(inside[np.arange(200), targets[200:]].mean())
        # Both samples make the share vary: that of the quantile and that of the test.
        spread = 1.96 * np.sqrt(0.9 * 0.1 * (1 / 200 + 1 / 200))
        within += abs(shares[0.9][-1] - 0.9) <= spread
    assert within >= 90
    for coverage, found in shares.items():
        assert coverage - 0.01 <= np.mean(found) <= coverage + 0.03


def test_classes_that_are_rarely_right_get_quantiles_of_their_own() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(3000) % 2
    stated = np.where(targets == 0, 0.9, 0.4) + rng.uniform(-0.1, 0.1, 3000)
    rows = np.stack([stated, 1 - stated], axis=1)
    rows[targets == 1] = rows[targets == 1][:, ::-1]
    record = fit_sets(rows, targets)
    level = next(each for each in record["levels"] if each["coverage"] == 0.9)
    assert len(level["quantiles"]) == 2 and level["quantiles"][1] > level["quantiles"][0] + 0.3
    inside = contained(record, rows, 0.9)[np.arange(3000), targets]
    assert inside[targets == 0].mean() >= 0.9 and inside[targets == 1].mean() >= 0.9
    few = fit_sets(rows[:30], targets[:30])
    assert {len(each["quantiles"]) for each in few["levels"]} == {1, 2}


def test_levels_that_the_photos_do_not_carry_are_left_out() -> None:
    probabilities, targets = simulated(30, 0)
    assert [e["coverage"] for e in fit_sets(probabilities, targets)["levels"]] == [0.8, 0.9, 0.95]


def test_the_score_with_the_smaller_sets_is_taken() -> None:
    probabilities, targets = simulated(600, 0)
    record = fit_sets(probabilities, targets)
    assert record["score"] == min(record["sizes"], key=record["sizes"].__getitem__)
    assert 1 <= record["sizes"][record["score"]] <= CLASSES


def test_a_raps_score_is_the_mass_before_and_a_penalty_for_each() -> None:
    scores = set_scores(np.array([[0.2, 0.5, 0.3]]), "raps", 0.01)
    assert scores[0] == pytest.approx([0.8 + 0.02, 0.0, 0.5 + 0.01])
    assert set_scores(np.array([[0.2, 0.8]]), "plain", 0)[0] == pytest.approx([0.8, 0.2])


def test_a_device_makes_the_sets_that_were_measured() -> None:
    probabilities, targets = simulated(200, 5)
    record = fit_sets(probabilities, targets)
    sets = read_sets(record)
    inside = contained(record, probabilities, 0.95)
    for row, mask in zip(probabilities, inside, strict=True):
        members = sets.members(tuple(row.tolist()), 0.95)
        assert sorted(members) == np.flatnonzero(mask).tolist()
        assert members == sorted(members, key=lambda k: (-row[k], k))


def test_a_coverage_between_two_levels_takes_the_higher() -> None:
    sets = PredictionSets("plain", 0.0, ((0.8, (0.3,)), (0.9, (0.6,))))
    row = (0.5, 0.45, 0.05)
    assert sets.members(row, 0.8) == [0]  # the top class, though it is above the limit
    assert sets.members(row, 0.85) == sets.members(row, 0.9) == [0, 1]
    for coverage in (0.91, 0, -1, float("nan")):
        with pytest.raises(OptionError, match=r"this file has prediction sets for 0\.8, 0\.9"):
            sets.members(row, coverage)


def test_a_plain_set_is_that_of_another_implementation() -> None:
    reason = "checks against mapie, where it is installed"
    mapie = pytest.importorskip("mapie.classification", reason=reason)
    base = pytest.importorskip("sklearn.base", reason=reason)

    class Stated(base.ClassifierMixin, base.BaseEstimator):  # type: ignore[misc]
        """Takes probabilities, and gives them."""

        classes_ = np.arange(CLASSES)

        def fit(self, rows: np.ndarray, targets: np.ndarray) -> Stated:
            return self

        def predict_proba(self, rows: np.ndarray) -> np.ndarray:
            return rows

        def predict(self, rows: np.ndarray) -> np.ndarray:
            return rows.argmax(axis=1)

        def __sklearn_is_fitted__(self) -> bool:
            return True

    rows, targets = simulated(300, 7)
    later, _ = simulated(200, 8)
    rows, later = rows.astype(float), later.astype(float)
    other = mapie.SplitConformalClassifier(
        Stated(), confidence_level=list(COVERAGES[:3]), prefit=True, conformity_score="lac"
    )
    _, expected = other.conformalize(rows, targets).predict_set(later)
    scores = set_scores(rows, "plain", 0)[np.arange(300), targets]
    for index, coverage in enumerate(COVERAGES[:3]):
        limit = quantile(scores, coverage)
        assert limit is not None
        assert np.array_equal(set_scores(later, "plain", 0) <= limit, expected[:, :, index])
