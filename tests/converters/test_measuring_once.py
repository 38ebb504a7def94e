"""What is measured once: for all methods, for both formats, and no further than is asked for."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from edgeclf.artifact import Metadata
from edgeclf.converters import calibration
from edgeclf.converters.base import Recipe, Source, TensorFlowGraph
from edgeclf.converters.bias_correction import correct_biases
from edgeclf.converters.calibration import Observations
from edgeclf.converters.same_tensors import same_tensors
from edgeclf.image import ImageSpec

INT8 = Recipe("int8", "mse")


@pytest.fixture
def seen() -> list[dict[str, np.ndarray]]:
    """What three tensors hold on five images; one as an engine gives it, turned, and one flat."""
    rng = np.random.default_rng(0)
    images = []
    for spread in rng.uniform(1, 5, 5):
        values = (rng.standard_t(3, (1, 4, 30, 20)) * spread).astype(np.float32)
        turned = values.transpose(0, 2, 3, 1)
        images.append({"turned": turned, "plain": turned.copy(), "small": values[0, 0, 0].clip(0)})
    return images


def test_one_look_at_the_photos_gives_every_method_its_ranges(
    seen: list[dict[str, np.ndarray]],
) -> None:
    observations = Observations()
    for tensors in seen:
        observations.add(tensors)
    ranges = observations.ranges()
    assert ranges.keys() == {"min-max", "average", "mse"}
    lows, highs = ([float(end(each["plain"])) for each in seen] for end in (np.min, np.max))
    assert ranges["min-max"]["plain"] == (min(lows), max(highs))
    assert ranges["average"]["plain"] == pytest.approx((np.mean(lows), np.mean(highs)))
    low, high = ranges["mse"]["plain"]
    assert min(lows) <= low < 0 < high <= max(highs)
    assert high - low < max(highs) - min(lows), "rare extremes are not clipped"
    assert all(found["turned"] == found["plain"] for found in ranges.values())
    assert all(found["small"][0] == 0 for found in ranges.values()), "padding is zero"


def test_the_range_of_least_error_is_the_best_of_those_that_are_tried(
    seen: list[dict[str, np.ndarray]],
) -> None:
    values = np.concatenate([each["plain"].reshape(-1) for each in seen])
    found = calibration._narrowed(values, float(values.min()), float(values.max()))

    def error(low: float, high: float) -> float:
        scale = (high - low) / 255
        zero_point = round(-low / scale)
        steps = np.clip(np.rint(values / scale) + zero_point, 0, 255)
        return float(np.square((steps - zero_point) * scale - values, dtype=np.float64).mean())

    least = error(*found)
    assert all(error(found[0], found[1] * factor) >= least * (1 - 1e-5)
               for factor in np.linspace(0.3, 1.0, 15))  # fmt: skip


def test_tensors_are_told_by_what_they_hold() -> None:
    rng = np.random.default_rng(0)

    def ours() -> Iterator[dict[str, Any]]:
        for value in (1.0, 2.0):
            yield {"a": first * value, "b": second * value, "zero": second * 0, "c": first + 1}

    def theirs() -> Iterator[dict[str, Any]]:
        for value in (1.0, 2.0):
            relu = (second * value).clip(0)
            yield {"x": relu, "y": first * value * (1 + 1e-6), "z": second * value, "n": relu * 0}

    first, second = rng.normal(size=(1, 1, 1, 8)), rng.normal(size=(1, 6, 6, 8))
    assert same_tensors(ours(), theirs()) == {"a": "y", "b": "z", "zero": None, "c": None}


@pytest.fixture(scope="module")
def source() -> Source:
    """A small network as the student's are: convolutions, depthwise ones, a sum and a mean."""
    pytest.importorskip("litert_quantizer", reason="needs edgeclf[convert]")
    keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
    from keras import layers

    keras.utils.set_random_seed(0)

    def step(x: Any, layer: Any, *, activation: bool = True) -> Any:
        x = layers.BatchNormalization(beta_initializer="random_normal")(layer(x))
        return layers.ReLU(6)(x) if activation else x

    image = keras.Input((32, 32, 3))
    x = step(image, layers.Conv2D(8, 3, 2, padding="same", use_bias=False))
    y = step(x, layers.Conv2D(24, 1, use_bias=False))
    y = step(y, layers.DepthwiseConv2D(3, padding="same", use_bias=False))
    x = layers.Add()([x, step(y, layers.Conv2D(8, 1, use_bias=False), activation=False)])
    x = layers.GlobalAveragePooling2D()(step(x, layers.Conv2D(32, 1, use_bias=False)))
    model = keras.Model(image, layers.Dense(3, activation="softmax")(x))
    coarse = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    graph = TensorFlowGraph(lambda x: model(x, training=False), [v.value for v in model.variables])
    metadata = Metadata("model", ("a", "b", "c"), ImageSpec(32, 32))
    return Source(graph, metadata, coarse.repeat(4, axis=1).repeat(4, axis=2))


@pytest.fixture(scope="module")
def tflite(source: Source) -> tuple[Any, int]:
    """The converter after int8, and how many tensors it looked at."""
    from edgeclf.converters.tflite import TFLiteConverter

    converter = TFLiteConverter(source)
    with counted_looks() as looks:
        converter.convert(INT8)
    assert len(looks) == len(source.calibration), "each photo is looked at once"
    return converter, sum(looks)


@contextmanager
def counted_looks() -> Iterator[list[int]]:
    looks: list[int] = []
    original = Observations.add

    def add(self: Observations, tensors: dict[str, Any]) -> None:
        looks.append(len(tensors))
        original(self, tensors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Observations, "add", add)
        yield looks


@pytest.mark.parametrize("name", ["tflite", "onnx"])
def test_biases_are_those_that_the_whole_network_before_each_layer_gives(
    source: Source, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In stretches, nothing before a layer is computed again; the sum differs by rounding."""
    pytest.importorskip("tf2onnx", reason="needs edgeclf[convert]")
    from edgeclf.converters import find_converter, onnx_graph, ptq, tflite_weights

    given: list[Any] = []
    monkeypatch.setattr(ptq, "correct_biases", lambda *words: given.extend(words))
    converter = find_converter(name)(dataclasses.replace(source, measured=[]))
    converter.convert(INT8)
    network, means, normalized = given
    images, engine = list(normalized), converter._int8._engine
    assert [layer.name for layer in network.layers] == list(means)[: len(network.layers)]
    assert len(network.layers) == 1, "the projection, whose answer is added to another's"
    expected = copy.deepcopy(network.model)
    for layer in network.layers:
        found = [each[layer.name].mean(axis=(0, 1, 2))
                 for each in engine.activations(expected, iter(images), [layer.name])]  # fmt: skip
        error = means[layer.name] - np.mean(found, axis=0)
        if name == "tflite":
            expected = tflite_weights.with_added_bias(expected, layer.name, error)
        else:
            onnx_graph.add_to_bias(expected, network._biases[layer.name], error)
    uncorrected = copy.deepcopy(network.model)
    correct_biases(network, means, images)
    assert network.model == expected
    assert network.model != uncorrected


def test_a_bias_that_is_changed_where_it_lies_is_the_one_in_the_tree(
    tflite: tuple[Any, int],
) -> None:
    from edgeclf.converters import tflite_weights
    from edgeclf.converters.flatbuffer.tree import text, unpack_graph

    model = tflite[0].convert(INT8).content
    # Packed, a tensor keeps the first of its joined names: how many there are depends on what
    # TensorFlow has named before in this process.
    layer = tflite_weights.linear_layers(tflite[0]._float_graph)[0].partition(";")[0]

    def biases(content: bytes) -> dict[str, np.ndarray]:
        tree, graph = unpack_graph(content)
        return {
            text(graph.tensors[o.outputs[0]].name): np.frombuffer(
                bytes(np.asarray(tree.buffers[graph.tensors[o.inputs[2]].buffer].data)), "<i4"
            ).copy() * np.asarray(graph.tensors[o.inputs[2]].quantization.scale)
            for o in graph.operators
            if len(o.inputs) > 2 and o.inputs[2] >= 0  # a dense layer without any has -1 there
        }  # fmt: skip

    before = biases(model)
    amount = np.linspace(-0.5, 0.5, len(before[layer]))
    after = biases(tflite_weights.with_added_bias(model, layer, amount))
    assert np.abs(after.pop(layer) - before.pop(layer) - amount).max() < 1e-3
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_onnx_takes_over_what_tflite_measured(source: Source, tflite: tuple[Any, int]) -> None:
    pytest.importorskip("tf2onnx", reason="needs edgeclf[convert]")
    from edgeclf.converters.onnx import OnnxConverter

    ours, alone = OnnxConverter(source), OnnxConverter(dataclasses.replace(source, measured=[]))
    with counted_looks() as looks:
        ours.convert(INT8)
    assert tflite[1] and not looks, "what is known was looked at again"
    alone.convert(INT8)
    taken, own = ours._int8, alone._int8
    assert taken is not None and own is not None and own._before is None
    layers = taken._engine.weight_layers(taken._float_graph)
    found = taken.known().factors
    assert found.keys() == {layer.name for layer in layers}
    others = alone._int8._engine.weight_layers(alone._int8._float_graph)
    for layer, other in zip(layers, others, strict=True):  # of the same positions, or nearly so
        upper, drawn = found[layer.name].upper, own.known().factors[other.name].upper
        assert upper.shape == drawn.shape
        diagonals = [np.einsum("gii->gi", each).mean() for each in (upper, drawn)]
        assert diagonals[0] == pytest.approx(diagonals[1], rel=0.1)
    means = [list(each.known().means.values()) for each in (taken, own)]
    assert np.abs(np.subtract(*means)).max() < 1e-4 * np.abs(means[1]).max()
    activated = taken._engine.alike(taken._float_graph)
    assert len(activated) == 4, "those before a ReLU6 are given what is behind it"
    ranges = own.known().ranges["mse"]
    both = taken.known().ranges["mse"].keys() & ranges.keys()
    assert len(both) > len(ranges) / 2
    for name in both - activated.keys():
        known = taken.known().ranges["mse"][name]
        assert known == pytest.approx(ranges[name], rel=0.1, abs=0.05), name
