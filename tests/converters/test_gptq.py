"""Rounding of weights by what it does to a layer's answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeclf.converters.gptq import Factor, Moments, RoundingInputs, round_weights
from edgeclf.converters.layer_inputs import Layer, patches


def layer(groups: int, outputs: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and what they are given: inputs that go together, as neighbouring pixels do."""
    rng = np.random.default_rng(0)
    given = rng.normal(size=(groups, 400, 3)) @ rng.normal(size=(groups, 3, inputs))
    given += 0.1 * rng.normal(size=given.shape)
    weights = rng.normal(size=(groups, outputs, inputs))
    return weights.astype(np.float32), given.astype(np.float32)


def factor(given: np.ndarray) -> Factor:
    moments = Moments(len(given), given.shape[2])
    for samples in np.array_split(given, 7, axis=1):
        moments.add(samples)
    return Factor.of(moments.mean())


def answers(weights: np.ndarray, given: np.ndarray) -> np.ndarray:
    return given @ weights.transpose(0, 2, 1)


@pytest.mark.parametrize("shape", [(1, 8, 24), (6, 1, 9)])  # a dense and a depthwise layer
@pytest.mark.parametrize("per_tensor", [False, True])
def test_answers_change_less_than_with_each_weight_rounded_to_its_nearest(
    shape: tuple[int, int, int], per_tensor: bool
) -> None:
    weights, given = layer(*shape)
    levels = 7
    rounded = round_weights(weights, factor(given), levels, per_tensor=per_tensor)
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
    inputs = RoundingInputs([wide, narrow])
    inputs.add({"given": np.ones(8, np.float32)})
    assert inputs.factors().keys() == {"narrow"}


@pytest.mark.parametrize("shape", [(1, 8, 200), (6, 1, 9)])
def test_moments_and_their_factor_are_those_of_float64(shape: tuple[int, int, int]) -> None:
    """Summed up in float32, and factored without the inverse that its definition has."""
    _, given = layer(*shape)
    found = factor(given)
    exact = np.take_along_axis(given.astype(np.float64), found.order[:, None, :], axis=2)
    moments = exact.transpose(0, 2, 1) @ exact / exact.shape[1]
    diagonal = np.einsum("gii->gi", moments)
    assert (np.diff(diagonal, axis=1) <= 1e-6 * diagonal.max()).all(), "not the strongest first"
    diagonal += 0.01 * diagonal.mean(axis=1, keepdims=True)
    expected = np.linalg.cholesky(np.linalg.inv(moments)).transpose(0, 2, 1)
    # CPUs sum up in other orders. Rounding times the condition of what is inverted is 9e-4 for the
    # larger shape; with AVX-512 the difference was 1.5e-4.
    assert np.abs(found.upper - expected).max() < 3e-4 * np.abs(expected).max()


def test_rounding_in_blocks_is_rounding_one_after_the_other() -> None:
    """150 inputs are three blocks; an error made in the first is made up for in the last."""
    weights, given = layer(1, 5, 150)
    found, levels = factor(given), 7
    scale = np.abs(weights).max(axis=2, keepdims=True) / levels
    rest = (weights / scale)[0][:, found.order[0]].astype(np.float64)
    largest = np.abs(rest).argmax(axis=1)
    for step in range(150):
        nearest = np.clip(np.rint(rest[:, step]), -levels, levels)
        nearest[largest == step] = levels * np.sign(rest[largest == step, step])
        error = (rest[:, step] - nearest) / found.upper[0, step, step]
        rest[:, step] = nearest
        rest[:, step + 1 :] -= error[:, None] * found.upper[0, step, step + 1 :]
    steps = (round_weights(weights, found, levels) / scale)[0][:, found.order[0]]
    assert (np.abs(steps - rest) < 1e-3).mean() > 0.99  # a tie may fall the other way


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((3, 3), (2, 2), ((0, 1), (1, 1))), ((1, 1), (2, 2), ((0, 0), (0, 0))),
     ((5, 3), (1, 1), ((2, 2), (1, 0)))],
)  # fmt: skip
def test_patches_are_what_a_padded_image_shows(
    kernel: tuple[int, int], stride: tuple[int, int], padding: Any, turned: bool
) -> None:
    image = np.random.default_rng(0).normal(size=(5, 17, 13)).astype(np.float32)
    image = image.transpose(1, 2, 0) if turned else image.reshape(17, 13, 5)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(image, (*padding, (0, 0))), kernel, axis=(0, 1)
    )[:: stride[0], :: stride[1]]
    total = windows.shape[0] * windows.shape[1]
    picked = np.random.default_rng(1).choice(total, 20, replace=False)
    expected = windows[picked // windows.shape[1], picked % windows.shape[1]].transpose(0, 2, 3, 1)
    found = patches(image, kernel, stride, padding, 20, np.random.default_rng(1))
    assert np.array_equal(found, expected)
