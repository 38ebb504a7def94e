"""Rounding of weights by what it does to a layer's answers."""

from __future__ import annotations

import numpy as np
import pytest

from edgeclf.converters.gptq import Layer, round_layers, round_weights


def layer(groups: int, outputs: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and what they are given: inputs that go together, as neighbouring pixels do."""
    rng = np.random.default_rng(0)
    given = rng.normal(size=(groups, 400, 3)) @ rng.normal(size=(groups, 3, inputs))
    given += 0.1 * rng.normal(size=given.shape)
    weights = rng.normal(size=(groups, outputs, inputs))
    return weights.astype(np.float32), given.astype(np.float32)


def answers(weights: np.ndarray, given: np.ndarray) -> np.ndarray:
    return given @ weights.transpose(0, 2, 1)


@pytest.mark.parametrize("shape", [(1, 8, 24), (6, 1, 9)])  # a dense and a depthwise layer
@pytest.mark.parametrize("per_tensor", [False, True])
def test_answers_change_less_than_with_each_weight_rounded_to_its_nearest(
    shape: tuple[int, int, int], per_tensor: bool
) -> None:
    weights, given = layer(*shape)
    levels = 7
    rounded = round_weights(weights, given, levels, per_tensor=per_tensor)
    largest = np.abs(weights).max(axis=None if per_tensor else 2, keepdims=True)
    step = largest / levels
    steps = rounded / step
    assert np.abs(steps - np.rint(steps)).max() < 1e-4, "a weight is off the grid"
    assert np.abs(rounded).max() == pytest.approx(np.abs(weights).max(), rel=1e-5)
    nearest = np.rint(weights / step) * step
    expected = answers(weights, given)
    ours, theirs = (
        np.square(answers(each, given) - expected).mean() for each in (rounded, nearest)
    )
    assert ours < theirs / 2


def test_a_layer_too_wide_for_its_moments_is_left_alone() -> None:
    """VGG16's first dense layer has 25,088 inputs; their moments would take 5 GB several times."""
    wide = Layer("wide", "given", np.ones((1, 2, 25_088), np.float32))
    narrow = Layer("narrow", "given", np.ones((1, 2, 8), np.float32))
    seen = [{"given": np.ones(8, np.float32)}]
    assert round_layers([wide, narrow], seen, {"narrow": 127}).keys() == {"narrow"}
