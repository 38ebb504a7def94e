"""Which channels go: the importance of each, and the choice among groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from edgeclf.errors import ConversionError, OptionError

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.networks.builder import build_classifier, find_backbone  # noqa: E402
from edgeclf.networks.channel_groups import channel_groups  # noqa: E402
from edgeclf.networks.model_stats import network_multiply_adds  # noqa: E402
from edgeclf.training.pruning import (  # noqa: E402
    choose_channels,
    counts_within,
    give_back,
    importance,
    prune_channels,
    removals,
    strongest,
)
from support.networks import enliven  # noqa: E402
from support.shades import SPEC, pictures  # noqa: E402


@pytest.fixture(scope="module")
def network() -> Any:
    keras.utils.set_random_seed(0)
    model = build_classifier(find_backbone("student-s"), 2, SPEC)
    enliven(model)
    return model


def test_importance_is_the_squared_slope_of_the_loss_by_a_gate(network: Any) -> None:
    images = pictures(5)
    targets = np.array([0, 1, 0, 1, 1])
    scores = importance(network, images, targets)
    # A channel that one dense layer reads is gated by scaling that layer's row of weights.
    logits, step, channel = network.get_layer("logits"), 1e-2, 3
    kernel, bias = logits.get_weights()
    losses = []
    for factor in (1 - step, 1 + step):
        scaled = kernel.copy()
        scaled[channel] *= factor
        logits.set_weights([scaled, bias])
        answers = np.asarray(network(images, training=False))
        losses.append(-np.log(answers[np.arange(5), targets].astype(np.float64)))
    logits.set_weights([kernel, bias])
    slopes = (losses[1] - losses[0]) / (2 * step)
    assert scores["head_conv"][channel] == pytest.approx((slopes**2).mean(), rel=0.02)
    assert {name: len(each) for name, each in scores.items()} == {
        name: group.channels for name, group in channel_groups(network).prunable.items()
    }


def test_a_channel_that_does_nothing_does_not_matter(network: Any) -> None:
    model = keras.models.clone_model(network)
    model.set_weights(network.get_weights())
    kernel, bias = model.get_layer("logits").get_weights()
    kernel[7] = 0
    model.get_layer("logits").set_weights([kernel, bias])
    scores = importance(model, pictures(4), np.array([0, 1, 0, 1]))["head_conv"]
    assert scores[7] == 0 and (scores > 0).sum() > len(scores) / 2


@pytest.mark.parametrize("keep", [0.35, 0.5, 0.75])
def test_a_share_of_the_multiply_adds_remains(network: Any, keep: float) -> None:
    graph = channel_groups(network)
    rng = np.random.default_rng(0)
    scores = {name: rng.uniform(size=g.channels) for name, g in graph.prunable.items()}
    kept = choose_channels(graph, scores, keep)
    pruned = prune_channels(network, scores, keep)
    share = network_multiply_adds(pruned) / network_multiply_adds(network)
    assert 0.85 * keep < share <= keep
    for name, numbers in kept.items():
        assert len(numbers) % 8 == 0 or len(numbers) == graph.groups[name].channels
        assert len(numbers) >= 8
        left_out = np.delete(scores[name], numbers)
        assert not len(left_out) or left_out.max() <= scores[name][numbers].min()
        assert (np.diff(numbers) > 0).all()


@pytest.mark.parametrize("keep", [0.35, 0.5, 0.75])
def test_nothing_that_went_would_still_fit(network: Any, keep: float) -> None:
    """Channels that go early for the time they cost went for good, and a tenth stayed free."""
    graph = channel_groups(network)
    scores = {name: np.ones(g.channels) for name, g in graph.prunable.items()}
    narrow = min(graph.prunable, key=lambda name: graph.prunable[name].channels)
    scores[narrow] /= 100  # goes first
    assert next(c for c in removals(graph, scores) if min(c.values()) == 8)[narrow] == 8
    counts = counts_within(graph, scores, keep)
    budget = keep * graph.multiply_adds()
    assert graph.multiply_adds(counts) <= budget
    for name, group in graph.prunable.items():
        if counts[name] < group.channels:
            step = 8 if counts[name] == 8 else 16
            more = min(counts[name] + step, group.channels)
            assert graph.multiply_adds({**counts, name: more}) > budget, name


def test_what_matters_most_is_given_back_first(network: Any) -> None:
    graph = channel_groups(network)
    scores = {name: np.ones(g.channels) for name, g in graph.prunable.items()}
    scores["head_conv"][:] = 10
    fewest = dict.fromkeys(graph.prunable, 8)
    asked = []

    def fits(counts: Mapping[str, int]) -> bool:
        asked.append({name: n for name, n in counts.items() if n > 8})
        return set(asked[-1]) <= {"head_conv"} and counts["head_conv"] <= 32

    assert give_back(graph, scores, fewest, fits) == {**fewest, "head_conv": 32}
    assert asked[:2] == [{"head_conv": 16}, {"head_conv": 32}]


def test_of_what_matters_alike_the_fastest_is_given_back_first(network: Any) -> None:
    graph = channel_groups(network)
    scores = {name: np.ones(g.channels) for name, g in graph.prunable.items()}
    fewest = dict.fromkeys(graph.prunable, 8)
    asked = []

    def fits(counts: Mapping[str, int]) -> bool:
        asked.append(graph.work(counts))
        return False

    assert give_back(graph, scores, fewest, fits) == fewest
    widened = [name for name, group in graph.prunable.items() if group.channels > 8]
    assert len(asked) == len(widened) > 1 and asked == sorted(asked)


def test_what_matters_is_kept_where_the_rest_costs_the_same(network: Any) -> None:
    graph = channel_groups(network)
    scores = {name: np.ones(g.channels) for name, g in graph.prunable.items()}
    scores["head_conv"][:] = 1e6
    assert len(choose_channels(graph, scores, 0.5)["head_conv"]) == 96


def test_no_group_loses_its_last_eight(network: Any) -> None:
    graph = channel_groups(network)
    scores = {name: np.ones(g.channels) for name, g in graph.prunable.items()}
    least = choose_channels(graph, scores, 1e-6)
    assert {len(numbers) for numbers in least.values()} == {8}
    *_, last = removals(graph, scores)
    assert last == dict.fromkeys(graph.prunable, 8)
    assert strongest({"a": np.array([3.0, 1.0, 2.0])}, {"a": 2})["a"].tolist() == [0, 2]


@pytest.mark.parametrize("keep", [0.0, 1.0, -1.0, 2.0])
def test_shares_out_of_range_are_refused(network: Any, keep: float) -> None:
    graph = channel_groups(network)
    with pytest.raises(OptionError, match="keep is"):
        choose_channels(graph, {}, keep)


def test_without_photos_there_is_no_importance(network: Any) -> None:
    with pytest.raises(OptionError, match="no photos"):
        importance(network, pictures(1)[:0], np.array([], np.int64))


def test_a_network_without_logits_is_refused() -> None:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 1)(image)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    with pytest.raises(ConversionError, match="no layer 'logits'"):
        importance(model, np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int64))
