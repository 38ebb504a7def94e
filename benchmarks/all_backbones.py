"""Every backbone to every precision: whether it converts, and how far its answers move.

All networks of `edgeclf backbones` at 96 x 96, with ImageNet weights where a package has them and
random ones elsewhere. Of random weights only fp32 must answer like its source; what int8 loses of
them says nothing. It takes most of an hour on two cores.

    python benchmarks/all_backbones.py [NAME ...]

Target: no failure, and no fp32 that moves a probability by more than 0.001.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import numpy as np

import edgeclf
from edgeclf import ImageSpec, Metadata
from edgeclf.artifact import seal_artifact
from edgeclf.converters.base import Converter, Source
from edgeclf.converters.keras_source import graph_of
from edgeclf.converters.known_answers import probe_pictures
from edgeclf.converters.onnx import OnnxConverter
from edgeclf.converters.tflite import TFLiteConverter
from edgeclf.errors import EdgeclfError
from edgeclf.image import UInt8Array
from edgeclf.networks.applications import flat_layers
from edgeclf.networks.backend import keras
from edgeclf.networks.builder import (
    BACKBONES,
    Backbone,
    build_classifier,
    find_backbone,
    normalization_of,
    part,
)
from edgeclf.networks.registry import weights_state
from edgeclf.runtimes.base import Float32Array

SIZE = 96
LABELS = tuple("abcdefgh")
LIMIT = 0.001  # how far fp32 may move a probability


def source_of(
    backbone: Backbone, weights: str | None, size: int = SIZE
) -> tuple[Source, Float32Array]:
    """The network to convert, and its answers to the calibration pictures."""
    spec = ImageSpec(size, size)
    keras.utils.set_random_seed(0)
    model = build_classifier(backbone, len(LABELS), spec, weights=weights)
    images = probe_pictures(spec)
    if weights is None:
        calm(model)
        spread_activations(model, images)
    spread_answers(model, images)
    metadata = Metadata(
        backbone.name, LABELS, spec, normalization=backbone.normalization,
        parameters=model.count_params(),
    )  # fmt: skip
    answers = np.asarray(model(images, training=False))
    known = backbone.normalization.apply(images), answers
    graph = graph_of(part(model, "normalize", "probabilities"), known=lambda: known)
    return Source(graph, metadata, calibration=images), answers


def calm(model: keras.Model) -> None:
    """Draws kernels at random towards their absolutes.

    Where channels have nothing in common, errors grow from block to block, and int8 answers like
    another network.
    """
    for layer in flat_layers(model):
        for variable in layer.trainable_variables:
            if variable.name.endswith("kernel"):
                values = np.asarray(variable)
                variable.assign((values + np.abs(values)) / 2)


def spread_activations(model: keras.Model, images: UInt8Array) -> None:
    """Keeps activations from dying out from block to block, as training would."""
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        elif layer.name.endswith("layer_scale"):  # at 1e-6, ConvNeXt's blocks are all but off
            layer.gamma.assign(np.full(layer.gamma.shape, 0.5))
    model(images, training=True)


def spread_answers(model: keras.Model, images: UInt8Array) -> None:
    """Lets each picture have an answer of its own: of weights at random all have the same one."""
    floats = normalization_of(model).apply(images)
    features = np.asarray(part(model, "normalize", "features")(floats, training=False))
    kernel = np.random.default_rng(0).normal(size=(features.shape[1], len(LABELS)))
    logits = features.astype(np.float64) @ kernel
    kernel /= logits.std(axis=0)
    bias = -(features @ kernel).mean(axis=0)
    model.get_layer("logits").set_weights([kernel, bias])


def results(backbone: Backbone) -> Iterator[tuple[str, float | str, str]]:
    """For each target its name, the largest change of a probability or why there is none."""
    installed = weights_state(backbone.weights_package, None) == "installed"
    weights = "imagenet" if installed else "random"
    source, expected = source_of(backbone, "imagenet" if installed else None)
    for kind in (TFLiteConverter, OnnxConverter):
        try:
            converter: Converter = kind(source)
        except EdgeclfError as exc:
            yield kind.format, str(exc), weights
            continue
        for precision in converter.precisions:
            if precision == "int8-full" and not backbone.normalization.is_exact:
                continue  # refused by name, as it has no float operation to normalise with
            try:
                converted = converter.convert(converter.recipes(precision)[0])
                metadata = Metadata(
                    backbone.name, LABELS, source.metadata.image, precision,
                    normalization=backbone.normalization,
                )  # fmt: skip
                artifact = seal_artifact(converted.content, metadata)
                with edgeclf.Classifier(artifact) as classifier:
                    assert source.calibration is not None
                    found = classifier.probabilities(source.calibration)
            except EdgeclfError as exc:
                yield f"{precision}.{kind.format}", str(exc), weights
                continue
            yield f"{precision}.{kind.format}", float(np.abs(found - expected).max()), weights


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="which; all by default", metavar="NAME")
    names = parser.parse_args().names or list(BACKBONES)
    failed = 0
    for name in names:
        start = time.monotonic()
        for target, change, weights in results(find_backbone(name)):
            wrong = isinstance(change, str) or (target.startswith("fp32") and change > LIMIT)
            failed += wrong
            shown = change if isinstance(change, str) else f"{change:.5f}"
            print(f"{name} ({weights}) {target}: {'FAILED ' if wrong else ''}{shown}", flush=True)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    print(f"{len(names)} backbones, {failed} failures")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
