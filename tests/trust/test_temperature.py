"""A temperature that was put into logits is found again."""

from __future__ import annotations

import numpy as np
import pytest

from edgeclf.inference.confidence import confidences
from edgeclf.trust.temperature import fit_temperature, floor_of, mean_loss


def forecasts(
    temperature: float, count: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a model states whose logits are too small by `temperature`, the truth, and the target"""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 4))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (true.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    stated = np.exp(logits * temperature)
    stated /= stated.sum(axis=1, keepdims=True)
    return stated.astype(np.float32), true, targets


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_of_scaled_logits_is_found(temperature: float) -> None:
    stated, true, targets = forecasts(temperature, 4000)
    found = fit_temperature(stated, targets)
    assert found.value == pytest.approx(temperature, rel=0.06)
    assert found.interval_95[0] < temperature < found.interval_95[1]
    assert found.photos == 4000 and found.wrong == (stated.argmax(axis=1) != targets).sum()
    right = confidences(stated, temperature, 1e-12)
    assert right == pytest.approx(true.max(axis=1), abs=1e-4)


def test_the_interval_holds_it_in_most_samples() -> None:
    held = 0
    for seed in range(40):
        stated, _, targets = forecasts(0.7, 120, seed)
        low, high = fit_temperature(stated, targets).interval_95
        held += low <= 0.7 <= high
    assert held >= 35


def test_without_an_error_it_stays_near_one() -> None:
    rng = np.random.default_rng(0)
    stated = rng.dirichlet([8, 1, 1], 40)
    stated = -np.sort(-stated, axis=1)
    found = fit_temperature(stated, np.zeros(40, int))
    assert found.wrong == 0 and 0.2 < found.value < 0.9
    # Forty right ones of forty do not say that the next is certain.
    assert 0.95 < confidences(stated, found.value, 1e-12).mean() < 0.995
    few = fit_temperature(stated[:5], np.zeros(5, int))
    assert found.value < few.value < 1 and few.interval_95[1] > 1


def test_it_is_that_of_the_least_loss_where_the_prior_is_outvoted() -> None:
    stated, _, targets = forecasts(2.0, 4000)
    found = fit_temperature(stated, targets).value
    losses = [mean_loss(stated, targets, found * factor, 1e-7) for factor in (0.9, 1, 1.1)]
    assert losses[1] == min(losses)


def test_an_integer_softmax_has_a_floor_of_half_a_step() -> None:
    assert floor_of("int8-full") == 1 / 512 and floor_of("int8") == floor_of("fp32") == 1e-12
    row = np.array([[255 / 256, 1 / 256, 0.0]], np.float32)
    assert np.isfinite(fit_temperature(np.repeat(row, 30, 0), np.full(30, 2)).value)
