"""Scores of Gaussians in few dimensions, which an unknown one leaves."""

from __future__ import annotations

import numpy as np
import pytest

from edgeclf.errors import DataError
from edgeclf.metrics.reliability import auroc
from edgeclf.trust.novelty import (
    choose_score,
    directions_for,
    fit_scores,
    fit_threshold,
    held_out_scores,
    scores_of,
)

CHANNELS = 48
RNG = np.random.default_rng(0)
AXES = np.linalg.qr(RNG.normal(size=(CHANNELS, CHANNELS)))[0]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def known(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two classes in the first six of the axes, with a little noise in all."""
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % 2
    inner = rng.normal(0, 0.5, (count, 6)) + np.eye(6)[targets] * 3
    return unit(inner @ AXES[:6] + rng.normal(0, 0.05, (count, CHANNELS))), targets


def unknown(count: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    return unit(rng.normal(0, 1, (count, 12)) @ AXES[:12])


def test_a_stranger_that_lies_in_the_subspace_is_told_by_its_length() -> None:
    units, targets = known(400)
    certain = np.ones(400)
    fitted = fit_scores(["scaled_residual"], units * 5, targets, 2)["scaled_residual"]
    assert fitted["length"] == pytest.approx(5, rel=1e-3)
    plain = scores_of(fit_scores(["residual"], units, targets, 2)["residual"], units, certain)
    for factor, times in ((2.0, 1.0), (5.0, 1.0), (15.0, 3.0)):
        assert scores_of(fitted, units * factor, certain) == pytest.approx(plain * times, rel=1e-3)


@pytest.mark.parametrize(("score", "least"), [("residual", 0.99), ("cosine", 0.95)])
def test_the_unknown_are_told_from_the_known(score: str, least: float) -> None:
    units, targets = known(240)
    fitted = fit_scores([score], units, targets, 2)[score]
    later, _ = known(240, seed=3)
    certain = np.ones(240)
    found = auroc(scores_of(fitted, later, certain), scores_of(fitted, unknown(240), certain))
    assert found > least


def test_the_residual_is_the_distance_from_the_subspace() -> None:
    units, targets = known(400)
    fitted = fit_scores(["residual"], units, targets, 2)["residual"]
    stored = scores_of(fitted, units, np.ones(400))
    offsets = units - units.mean(axis=0, dtype=np.float64)
    directions = np.linalg.svd(offsets, full_matrices=False)[2][:32]
    exact = np.linalg.norm(offsets - offsets @ directions.T @ directions, axis=1)
    assert stored == pytest.approx(exact, abs=0.004)  # what eight bits cost
    assert np.corrcoef(stored, exact)[0, 1] > 0.99


def test_what_was_fitted_to_lies_closer_than_what_comes_later() -> None:
    units, targets = known(60)
    certain = np.ones(60)
    fitted = fit_scores(["residual"], units, targets, 2, directions_for(60))["residual"]
    own = scores_of(fitted, units, certain)
    held_out = held_out_scores(["residual"], units, certain, targets, 2)["residual"]
    later = scores_of(fitted, known(600, 3)[0], np.ones(600))
    assert own.mean() < 0.9 * later.mean()
    assert held_out.mean() == pytest.approx(later.mean(), rel=0.15)


def test_false_unknowns_are_as_many_as_were_asked_for() -> None:
    shares = []
    for seed in range(20):
        units, targets = known(120, seed)
        scores = held_out_scores(["residual"], units, np.ones(120), targets, 2)["residual"]
        fitted = fit_scores(["residual"], units, targets, 2, directions_for(120))["residual"]
        threshold = fit_threshold(scores, 0.05)["threshold"]
        later = scores_of(fitted, known(400, seed + 100)[0], np.ones(400))
        shares.append((later > threshold).mean())
    assert 0.02 < np.mean(shares) < 0.07


def test_a_threshold_is_an_order_statistic_with_its_interval() -> None:
    found = fit_threshold(np.arange(1, 100, dtype=float), 0.05)
    assert found["threshold"] == 95.0 and found["false_unknown_rate"] == 0.05
    low, high = found["interval_95"]
    assert low < 4 / 99 < high
    assert fit_threshold(np.arange(1, 20, dtype=float), 0.05)["threshold"] == 19.0


def test_a_threshold_that_would_call_everything_unknown_is_refused() -> None:
    with pytest.raises(DataError, match=r"Of 99 known photos 95 .* 0, so any .* check that it was"):
        fit_threshold(np.zeros(99), 0.05)


def test_the_best_score_is_taken_and_of_equals_the_first() -> None:
    low, high = np.zeros(10), np.ones(10)
    taken, found, why = choose_score(
        {"residual": low, "cosine": low}, {"residual": low, "cosine": high}
    )
    assert taken == "cosine" and found == {"residual": 0.5, "cosine": 1.0}
    assert why.endswith("AUROC 1.000 against residual 0.500")
    both = {"residual": low, "cosine": low}
    assert choose_score(both, {"residual": high, "cosine": high})[0] == "residual"
    assert choose_score(both, None)[:2] == ("residual", {"residual": None, "cosine": None})
    taken, _, why = choose_score({"confidence": low}, None)
    assert taken == "confidence" and "gives no features" in why
