"""A pretrained network and a head, in the words of Keras 2: each a model within a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf.converters import keras_source
from edgeclf.errors import ConversionError
from edgeclf.networks.backend import keras, layers

SHAPE = (8, 8, 3)


def layer(kind: str, name: str, *given: str, use: int = 0, **said: Any) -> dict[str, Any]:
    """A layer as Keras 2.13 and later told it, with the first uses of those it takes from."""
    nodes = [[[each, use, 0, {}] for each in given]] if given else []
    return {
        "module": "keras.layers", "class_name": kind, "config": {"name": name, **said},
        "registered_name": None, "build_config": {}, "name": name, "inbound_nodes": nodes,
    }  # fmt: skip


def functional(name: str, inside: list[Any], first: str, last: str) -> dict[str, Any]:
    graph = {"name": name, "layers": inside, "input_layers": [[first, 0, 0]],
             "output_layers": [[last, 0, 0]]}  # fmt: skip
    return {"module": "keras.src.engine.functional", "class_name": "Functional", "config": graph,
            "registered_name": "Functional"}  # fmt: skip


def inner() -> dict[str, Any]:
    image = {"batch_input_shape": [None, *SHAPE], "dtype": "float32", "sparse": False}
    separable = {"kernel_initializer": {"class_name": "Zeros", "config": {}},
                 "kernel_regularizer": None, "kernel_constraint": None}  # fmt: skip
    return functional("base", [
        layer("InputLayer", "input_1", **image),
        layer("RandomFlip", "flip", "input_1", rng_type="stateful"),
        layer("Conv2D", "c/conv", "flip", filters=4, kernel_size=[3, 3], groups=1),
        layer("BatchNormalization", "c/bn", "c/conv", axis=[3]),
        layer("DepthwiseConv2D", "d", "c/bn", kernel_size=[3, 3], groups=1),
        layer("SeparableConv2D", "s", "d", filters=4, kernel_size=[3, 3], groups=1, **separable),
    ], "input_1", "s")  # fmt: skip


HEAD = (
    ("GlobalAveragePooling2D", "pool", {}),
    ("Dense", "dense", {"units": 3, "activation": "softmax"}),
)


def in_a_functional() -> dict[str, Any]:
    base = {**inner(), "name": "base", "inbound_nodes": [[["input_2", 0, 0, {}]]]}
    pool = layer("GlobalAveragePooling2D", "pool", "base", use=1)  # the second, as it counted
    image = {"batch_input_shape": [None, *SHAPE], "dtype": "float32", "sparse": False}
    dense = layer("Dense", "dense", "pool", units=3, activation="softmax")
    inside = [layer("InputLayer", "input_2", **image), base, pool, dense]
    return functional("model", inside, "input_2", "dense")


def in_a_sequential() -> dict[str, Any]:
    """As Teachable Machine's: a network and a head, each a Sequential."""
    pool, dense = (layer(kind, name, **said) for kind, name, said in HEAD)
    parts = [{"class_name": "Sequential", "config": {"name": name, "layers": inside}}
             for name, inside in (("features", [inner(), pool]), ("head", [dense]))]  # fmt: skip
    return {"class_name": "Sequential", "config": {"name": "whole", "layers": parts}}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., tuple[Path, Any]]:
    """Writes a file of Keras 2, and gives the same model of Keras 3."""

    def write(config: dict[str, Any], *, nested: bool) -> tuple[Path, Any]:
        base = keras.Sequential([
            keras.Input(SHAPE), layers.Conv2D(4, 3), layers.BatchNormalization(),
            layers.DepthwiseConv2D(3), layers.SeparableConv2D(4, 3),
        ])  # fmt: skip
        pool, dense = layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")
        parts = [keras.Sequential([base, pool]), keras.Sequential([dense])]
        model = keras.Sequential([keras.Input(SHAPE), *(parts if nested else [base, pool, dense])])
        rng = np.random.default_rng(0)
        model.set_weights([rng.uniform(0, 0.3, w.shape) for w in model.get_weights()])
        import h5py

        model.save(tmp_path / "m.h5")
        with h5py.File(tmp_path / "m.h5", "a") as file:
            file.attrs["model_config"] = json.dumps(config)
            file.attrs["keras_version"] = "2.15.0"
        return tmp_path / "m.h5", model

    return write


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("make", [in_a_functional, in_a_sequential])
def test_a_network_inside_of_another(
    make: Callable[[], dict[str, Any]], written: Callable[..., tuple[Path, Any]]
) -> None:
    path, model = written(make(), nested=make is in_a_sequential)
    before = path.read_bytes()
    images = np.random.default_rng(1).uniform(0, 1, (4, *SHAPE)).astype(np.float32)
    found = np.asarray(keras_source.load(path, trust=False)(images, training=False))
    expected = np.asarray(model(images, training=False))
    assert np.ptp(expected, axis=0).max() > 0.01
    assert np.abs(found - expected).max() < 1e-6
    assert path.read_bytes() == before


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_what_calls_tensorflow_without_a_layer_is_named(
    written: Callable[..., tuple[Path, Any]],
) -> None:
    """As Keras 2 had it in MobileNetV3."""
    config = in_a_functional()
    config["config"]["layers"].append(layer("TFOpLambda", "tf.math.multiply", "dense"))
    path, _ = written(config, nested=False)
    with pytest.raises(ConversionError, match=r"TFOpLambda tf\.math\.multiply.*export\('exported"):
        keras_source.load(path, trust=True)
