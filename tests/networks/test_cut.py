"""Channels that belong together are found in any of our networks, and cut out exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeclf.errors import ConversionError, OptionError

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.image import ImageSpec  # noqa: E402
from edgeclf.networks.builder import build_classifier, find_backbone  # noqa: E402
from edgeclf.networks.channel_groups import channel_groups  # noqa: E402
from edgeclf.networks.cut import cut  # noqa: E402
from edgeclf.networks.model_stats import network_multiply_adds  # noqa: E402
from support.networks import enliven  # noqa: E402

layers = keras.layers
PICTURES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)


def classifier(*body: Any) -> Any:
    """A network in our frame around layers, or functions of a tensor."""
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 128, offset=-1.0, name="normalize")(image)
    for step in body:
        x = step(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dense(3, name="logits")(x)
    return keras.Model(image, layers.Softmax(name="probabilities")(x))


def convolution(filters: int, name: str, **more: Any) -> Any:
    return layers.Conv2D(filters, 3, padding="same", name=name, **more)


def residual(x: Any) -> Any:
    y = layers.Activation("relu")(layers.BatchNormalization(name="inner_bn")(
        layers.Conv2D(24, 1, name="inner", use_bias=False)(x)))  # fmt: skip
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    return layers.Add(name="sum")([x, layers.Conv2D(16, 1, name="outer")(y)])


def squeezed(x: Any) -> Any:
    y = layers.GlobalAveragePooling2D(name="squeeze")(x)
    y = layers.Reshape((1, 1, 16))(y)
    y = layers.Conv2D(8, 1, activation="relu", name="narrow")(y)
    y = layers.Conv2D(16, 1, name="wide")(y) + 3.0
    return layers.Multiply(name="weighed")([x, y])


def dense_block(x: Any) -> Any:
    y = convolution(8, "new", activation="relu")(x)
    return layers.BatchNormalization(name="joined_bn")(layers.Concatenate(name="joined")([x, y]))


def spread(model: Any) -> None:
    """Gives BatchNorm something to do, and kernels that let pictures through."""
    enliven(model)
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])


def silence(model: Any, graph: Any, gone: dict[str, Any]) -> None:
    """Makes whoever reads channels that are to go multiply them by zero."""
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.Dense) and not isinstance(
            layer, layers.DepthwiseConv2D
        ):
            weights, start = layer.get_weights(), 0
            for name in graph.inputs[layer.name]:
                if name in gone:
                    weights[0][..., start + gone[name], :] = 0
                start += graph.groups[name].channels
            layer.set_weights(weights)


def answers(model: Any) -> np.ndarray:
    logits = keras.Model(model.input, model.get_layer("logits").output)
    return np.asarray(logits(PICTURES, training=False))


def frame(name: str) -> Any:
    return lambda: build_classifier(find_backbone(name), 3, ImageSpec(32, 32))


NETWORKS = {
    "residual": lambda: classifier(convolution(16, "first"), residual, convolution(8, "last")),
    "squeezed": lambda: classifier(convolution(16, "first"), squeezed, convolution(8, "last")),
    "concatenated": lambda: classifier(convolution(16, "first"), dense_block, residual_of_24),
    "student": frame("student"),
    "lite0": frame("efficientnet-lite0"),
    "mobilenet-v2": frame("mobilenet-v2"),
    "resnet50": frame("resnet50"),
}


def residual_of_24(x: Any) -> Any:
    return layers.Add()([x, layers.DepthwiseConv2D(3, padding="same")(x)])


@pytest.mark.parametrize("name", NETWORKS)
def test_what_nobody_reads_can_be_cut_without_a_trace(name: str) -> None:
    model = NETWORKS[name]()
    spread(model)
    graph = channel_groups(model)
    rng = np.random.default_rng(2)
    kept = {
        group.name: np.sort(rng.choice(group.channels, group.channels * 5 // 8, replace=False))
        for group in graph.prunable.values()
    }
    gone = {k: np.setdiff1d(np.arange(graph.groups[k].channels), v) for k, v in kept.items()}
    silence(model, graph, gone)
    narrow = cut(model, kept, graph)
    before, after = (answers(each) for each in (model, narrow))
    size = np.abs(before).max()
    assert np.ptp(before, axis=0).max() > 1e-3 * size > 0, "the pictures look alike to it"
    np.testing.assert_allclose(after, before, atol=1e-4 * size)
    assert [layer.name for layer in narrow.layers] == [layer.name for layer in model.layers]
    counts = {group: len(numbers) for group, numbers in kept.items()}
    assert graph.multiply_adds() == network_multiply_adds(model)
    assert graph.multiply_adds(counts) == network_multiply_adds(narrow)
    assert narrow.count_params() < 0.6 * model.count_params()


def test_residuals_and_depthwise_convolutions_stay_together() -> None:
    graph = channel_groups(NETWORKS["residual"]())
    assert graph.groups["first"].makers == ("first", "outer")
    assert graph.outputs["depthwise"] == ("inner",) == graph.inputs["outer"]
    assert [name for name, group in graph.groups.items() if group.fixed] == ["image", "logits"]
    student = channel_groups(NETWORKS["student"]())
    assert student.groups["block1_project_conv"].makers == (
        "block1_project_conv", "block2_project_conv",
    )  # fmt: skip


def test_concatenated_channels_stay_in_their_groups() -> None:
    graph = channel_groups(NETWORKS["concatenated"]())
    assert graph.inputs["joined_bn"] == ("first", "new")


def test_without_channels_to_go_the_network_is_the_same() -> None:
    model = NETWORKS["residual"]()
    spread(model)
    same = cut(model, {})
    for one, other in zip(model.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (layers.Conv2D(16, 3, groups=2, name="odd"), "in 2 groups"),
        (layers.DepthwiseConv2D(3, depth_multiplier=2, name="odd"), "multiplier is 2"),
        (layers.SeparableConv2D(16, 3, name="odd"), "not known"),
        (layers.LayerNormalization(name="odd"), "not known"),
        (layers.Reshape((32, 16, 32), name="odd"), "not known"),
        (layers.BatchNormalization(axis=1, name="odd"), "along axis 1"),
        (keras.Sequential([layers.Conv2D(16, 1)], name="odd"), "not known"),
    ],
)
def test_a_layer_that_cannot_be_followed_is_named(odd: Any, said: str) -> None:
    model = classifier(convolution(16, "first"), odd)
    with pytest.raises(ConversionError, match=rf"layer 'odd'.*{said}"):
        channel_groups(model)


def test_a_layer_that_is_used_twice_is_named() -> None:
    twice = convolution(16, "twice")
    model = classifier(convolution(16, "first"), twice, twice)
    with pytest.raises(ConversionError, match=r"'twice'.*more than once"):
        channel_groups(model)


@pytest.mark.parametrize(
    "kept",
    [{"first": []}, {"first": [0, 0]}, {"first": [16]}, {"first": [-1]}, {"logits": [0]},
     {"image": [0]}, {"nosuch": [0]}],
)  # fmt: skip
def test_channels_that_are_not_there_are_refused(kept: dict[str, list[int]]) -> None:
    with pytest.raises(OptionError, match=rf"'{next(iter(kept))}'.*expected"):
        cut(NETWORKS["residual"](), kept)
