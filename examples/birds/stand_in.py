"""A stand-in for the bird model: the same signature, the same size, and no knowledge of birds.

It is written as TensorFlow Hub's older modules are: a graph with variables and no tags, with the
signatures `default` and `image_classifier`, from `images` float32 [N, 224, 224, 3] of 0 to 1 to
965 scores. Its network is a MobileNetV2 whose filters are drawn by chance; its last layer tells the
twelve kinds that `pictures.py` draws from each other, so that top 3, gate and monitoring have
something to work on.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pictures import KINDS, SMALL, draw

from edgeclf.system import files
from edgeclf.system.progress import log

Blocks = tuple[tuple[int, ...], ...]

SIDE = 224
CLASSES = 965
NOTICE = (
    "This is a stand-in: its filters are drawn by chance, and it has never seen a bird. It tells "
    "drawings apart, so that everything around a model can be tried; its answers mean nothing."
)
# Of MobileNetV2 (Sandler et al., 2018), table 2: expansion, channels, repeats, stride.
MOBILENET = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
             (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
TINY = ((1, 16, 1, 2), (4, 24, 1, 2), (4, 32, 1, 2))  # to see it run
_GENERA = ("Fict", "Simul", "Imit", "Effig", "Larv", "Umbr", "Spec", "Ment", "Vac", "Null")
_KINDS_OF_GENUS = ("ornis", "avis", "ptera", "cephalus")
_EPITHETS = ("alba", "nigra", "rubra", "viridis", "lutea", "minor", "major", "borealis",
             "australis", "montana", "palustris", "silvatica", "vulgaris", "rara", "velox",
             "tarda", "canora", "tacita", "longirostris", "brevicauda", "cristata", "maculata",
             "striata", "nocturna", "matutina")  # fmt: skip
_OF_A_KIND = 20  # pictures that the last layer is fitted to
_SURE = 12.0  # the score of the right kind, 0 being that of the others
_OTHERS, _SPREAD = -5.0, 1.0  # mean and deviation of the scores of those that are never drawn
_RIDGE = 0.3
_EARLY = 3  # layers whose means are looked at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for birds/ and map.csv")
    parser.add_argument("--tiny", action="store_true", help="a network of a few layers, in seconds")
    args = parser.parse_args()
    make_stand_in(args.out, tiny=args.tiny)


def make_stand_in(out: Path, *, tiny: bool = False) -> None:
    """Writes `birds/`, `map.csv` and `STAND-IN.txt`; the same ones each time."""
    log(f"stand-in: {NOTICE}")
    out.mkdir(parents=True, exist_ok=True)
    write_labels(out / "map.csv")
    write_model(out / "birds", TINY if tiny else MOBILENET, 128 if tiny else 1280)
    files.write_text(out / "STAND-IN.txt", NOTICE + "\n")


def labels() -> list[str]:
    """964 names that no bird has, and `background`, in the order of the scores."""
    names = [
        f"{first}{second} {epithet}"
        for epithet in _EPITHETS
        for second in _KINDS_OF_GENUS
        for first in _GENERA
    ]
    return [*names[: CLASSES - 1], "background"]


def places() -> list[int]:
    """Which of the scores the kinds that are drawn have, and the landscape last."""
    return [*(41 + 73 * kind for kind in range(KINDS)), CLASSES - 1]


def write_labels(path: Path) -> None:
    """Writes ids and names, in no order: who takes the lines for one is wrong."""
    rows = list(enumerate(labels()))
    random.Random(0).shuffle(rows)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("id", "name"), *rows])


def write_model(path: Path, blocks: Blocks, features: int) -> None:
    """Draws the filters, fits the last layer and writes the graph."""
    from edgeclf.networks.backend import tf  # TensorFlow, which then says less

    arrays: list[np.ndarray] = []
    pixels, targets = _lesson()
    first = pixels[:: len(pixels) // 32]
    network(tf, tf.constant(first), blocks, features, _drawn(tf, arrays))
    filters = iter(arrays)

    def repeat(make: Callable[..., Any], x: Any, *_: Any) -> Any:
        return make(x, tf.constant(next(filters))) + next(filters)

    seen = []
    for start in range(0, len(pixels), 16):
        filters = iter(arrays)
        x = tf.constant(pixels[start : start + 16])
        seen.append(network(tf, x, blocks, features, repeat).numpy())
    arrays += _last_layer(np.concatenate(seen), targets, features)
    _write_graph(tf, path, blocks, features, arrays)


def network(tf: Any, x: Any, blocks: Blocks, features: int, layer: Callable[..., Any]) -> Any:
    """From pictures [N, 224, 224, 3] of 0 to 1 to features [N, F + E].

    So deep behind filters drawn by chance, all pictures look alike. So what tells the drawings
    apart are E means of early layers, which a real MobileNetV2 does not look at.

    Args:
        tf: TensorFlow.
        x: The pictures.
        blocks: Expansion, channels, repeats and stride of each group of blocks.
        features: F.
        layer: Runs a convolution, with filters of a shape that it is told, and adds a bias.
    """
    early: list[Any] = []

    def dense(x: Any, channels: int, size: int = 1, stride: int = 1) -> Any:
        shape = (size, size, int(x.shape[-1]), channels)
        return layer(lambda x, w: tf.nn.conv2d(x, w, stride, "SAME"), x, shape)

    def depthwise(x: Any, stride: int) -> Any:
        strides = [1, stride, stride, 1]
        shape = (3, 3, int(x.shape[-1]), 1)
        return layer(lambda x, w: tf.nn.depthwise_conv2d(x, w, strides, "SAME"), x, shape)

    x = tf.nn.relu6(dense(x * 2.0 - 1.0, 32, 3, 2))
    early.append(tf.reduce_mean(x, [1, 2]))
    for expansion, channels, repeats, stride in blocks:
        for index in range(repeats):
            y = x if expansion == 1 else tf.nn.relu6(dense(x, expansion * int(x.shape[-1])))
            if y.shape[1] <= SIDE // 4 and len(early) < _EARLY:
                early.append(tf.reduce_mean(y, [1, 2]))
            y = dense(tf.nn.relu6(depthwise(y, 1 if index else stride)), channels)
            x = x + 0.3 * y if index else y
    last = tf.reduce_mean(tf.nn.relu6(dense(x, features)), [1, 2])
    return tf.concat([last, *early], 1)


def _drawn(tf: Any, arrays: list[np.ndarray]) -> Callable[..., Any]:
    """Draws each layer's filters, and scales them so that its answers have mean 0 and spread 1."""
    rng = np.random.default_rng(0)

    def layer(make: Callable[..., Any], x: Any, shape: tuple[int, ...]) -> Any:
        kernel = rng.normal(0, 1, shape).astype(np.float32)
        y = make(x, tf.constant(kernel))
        mean, variance = (each.numpy() for each in tf.nn.moments(y, [0, 1, 2]))
        scale = 1 / np.sqrt(variance + 1e-3)
        kernel *= scale if shape[-1] == len(scale) else scale[:, None]  # depthwise: [.., C, 1]
        bias = (0.3 - mean * scale).astype(np.float32)
        arrays.extend((kernel, bias))
        return y * scale + bias

    return layer


def _lesson() -> tuple[np.ndarray, np.ndarray]:
    """Pictures float32 [N, 224, 224, 3] of 0 to 1, and which kind each is."""
    made = [(kind, index) for kind in range(KINDS + 1) for index in range(_OF_A_KIND)]
    random.Random(0).shuffle(made)
    pixels = [
        np.asarray(draw(kind, random.Random(f"lesson/{kind}/{index}"), SMALL).resize((SIDE, SIDE)))
        for kind, index in made
    ]
    return np.stack(pixels).astype(np.float32) / 255, np.array([kind for kind, _ in made])


def _last_layer(
    seen: np.ndarray, targets: np.ndarray, features: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [F + E, 965] and bias [965]: a ridge regression on the kinds, chance for the rest."""
    mean = seen.mean(axis=0)
    centred = seen - mean
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 1, (seen.shape[1], CLASSES))
    weights[features:] = 0
    weights *= _SPREAD / np.std(centred @ weights)
    bias = np.full(CLASSES, _OTHERS)
    wanted = np.eye(KINDS + 1)[targets] * _SURE
    spread = seen[:, features:].std(axis=0) + 1e-3
    early = centred[:, features:] / spread
    gram = early @ early.T + _RIDGE * early.shape[1] * np.eye(len(early))
    known = early.T @ np.linalg.solve(gram, wanted - wanted.mean(axis=0))
    columns = places()
    weights[:, columns], bias[columns] = 0, wanted.mean(axis=0)
    weights[features:, columns] = known / spread[:, None]
    return weights.astype(np.float32), (bias - mean @ weights).astype(np.float32)


def _write_graph(
    tf: Any, path: Path, blocks: Blocks, features: int, arrays: list[np.ndarray]
) -> None:
    v1 = tf.compat.v1
    variables: list[Any] = []

    def variable() -> Any:
        name, shape = f"v{len(variables)}", arrays[len(variables)].shape
        variables.append(v1.get_variable(name, shape, use_resource=False))
        return variables[-1]

    def layer(make: Callable[..., Any], x: Any, *_: Any) -> Any:
        return make(x, variable()) + variable()

    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, SIDE, SIDE, 3], name="images")
        seen = network(tf, images, blocks, features, layer)
        scores = tf.nn.softmax(tf.matmul(seen, variable()) + variable(), name="scores")
        for each, array in zip(variables, arrays, strict=True):
            session.run(each.initializer, {each.initializer.inputs[1]: array})
        signature = v1.saved_model.build_signature_def(
            {"images": _tensor_info(images)}, {"default": _tensor_info(scores)}
        )
        shutil.rmtree(path, ignore_errors=True)
        builder = v1.saved_model.Builder(str(path))
        named = {"default": signature, "image_classifier": signature}
        builder.add_meta_graph_and_variables(session, [], named)
        builder.save()


def _tensor_info(tensor: Any) -> Any:
    """TensorFlow's own function for it warns that it is old."""
    from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

    kind, shape = tensor.dtype.as_datatype_enum, tensor.shape.as_proto()
    return TensorInfo(name=tensor.name, dtype=kind, tensor_shape=shape)


if __name__ == "__main__":
    main()
