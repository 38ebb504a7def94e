"""Figures whose value is known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeclf.metrics.reliability import (
    auroc,
    calibration_error,
    calibration_error_interval,
    reliability_bins,
    risk_at_coverage,
)


def test_the_calibration_error_is_the_distance_of_confidence_and_accuracy() -> None:
    assert calibration_error([0.9] * 10, [True] * 9 + [False]) == pytest.approx(0.0)
    assert calibration_error([0.9] * 10, [True] * 5 + [False] * 5) == pytest.approx(0.4)
    # Two bins, of which one is too sure and the other not sure enough: both count.
    assert calibration_error([0.9, 0.9, 0.1, 0.1], [1, 0, 1, 0]) == pytest.approx(0.4)
    assert calibration_error([1.0], [True]) == 0.0


def test_its_interval_holds_it_and_is_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    stated = rng.uniform(0.5, 1, 300)
    correct = rng.random(300) < stated**2
    low, high = calibration_error_interval(stated, correct)
    assert low < calibration_error(stated, correct) < high
    assert (low, high) == calibration_error_interval(stated, correct)


def test_bins_say_what_a_diagram_draws() -> None:
    first, last = reliability_bins([0.5, 0.52, 1.0], [True, False, True])
    assert first["low"] == pytest.approx(7 / 15) and first["photos"] == 2
    assert first["accuracy"] == 0.5 and first["confidence"] == pytest.approx(0.51)
    assert last["high"] == pytest.approx(1.0) and last["accuracy"] == 1.0
    assert last["interval_95"][1] == 1.0


def test_risk_counts_the_surest_first() -> None:
    risks = risk_at_coverage([0.8, 0.9, 0.7, 0.6], [True, True, False, True])
    third = pytest.approx(1 / 3)
    assert risks == [(0.25, 0.0, 0.9), (0.5, 0.0, 0.8), (0.75, third, 0.7), (1.0, 0.25, 0.6)]


def test_auroc_of_two_gaussians_is_the_textbooks() -> None:
    rng = np.random.default_rng(0)
    known, unknown = rng.normal(0, 1, 20_000), rng.normal(1, 1, 20_000)
    expected = (1 + math.erf(1 / math.sqrt(2) / math.sqrt(2))) / 2
    assert auroc(known, unknown) == pytest.approx(expected, abs=0.006)
    assert auroc([0, 1], [0, 1]) == 0.5
    assert auroc([0, 1], [2]) == 1.0 and auroc([2], [0, 1]) == 0.0
