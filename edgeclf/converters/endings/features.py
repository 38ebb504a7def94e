"""The member `features` of a converted model's metadata, from what its graph shows.

Nothing of the source is asked, so it holds for networks of any make.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeclf.artifact import Format, Metadata, seal_artifact
from edgeclf.converters.endings.onnx import OnnxGraph
from edgeclf.converters.endings.steps import Graph, find_ending
from edgeclf.converters.endings.stored import stored_head
from edgeclf.converters.endings.tflite import TFLiteGraph
from edgeclf.errors import ConversionError, EdgeclfError
from edgeclf.inference.classifier import Classifier
from edgeclf.networks.features import features_record
from edgeclf.system.progress import log

_READERS: dict[Format, Callable[[bytes], Graph]] = {"tflite": TFLiteGraph, "onnx": OnnxGraph}
_SAME_ANSWER = 1e-3  # of a probability; fp16 moves the most
_TRIED_IMAGES = 2


def find_features(format_: Format, content: bytes, metadata: Metadata) -> dict[str, Any] | None:
    """What the artifact of a converted model says of its features.

    Args:
        format_: Of the model.
        content: The model, as a converter gave it.
        metadata: Of the artifact.

    Returns:
        The record; None where the network ends otherwise, and, with a line in the log, where its
        engine does not give them beside the same answers.
    """
    if format_ not in _READERS:
        return None
    try:
        record = _from_graph(_READERS[format_](content), content, metadata)
        if record is not None:
            _try(content, dataclasses.replace(metadata, features=record))
    except EdgeclfError as exc:
        log(f"  this file will say nothing of its features: {exc}")
        return None
    return record


def _from_graph(graph: Graph, content: bytes, metadata: Metadata) -> dict[str, Any] | None:
    ending = find_ending(graph)
    name = graph.name_of(ending.tensor) if ending is not None else ""
    if ending is None or not name:
        return None
    shape = graph.shape_of(ending.tensor)
    if len(shape) != 4 or shape[0] != 1:
        raise ConversionError(f"What it averages has the shape {shape}; expected one image's.")
    shape = (*shape[2:], shape[1]) if ending.layout == "nchw" else shape[1:]
    weights = ending.weights
    if weights is not None and weights.shape != (shape[-1], len(metadata.labels)):
        weights = None
    record = features_record(name, ending.layout, shape, weights)
    if weights is not None and record["head"] is None:
        file = seal_artifact(content, metadata).content
        record["head"] = stored_head(graph.stored(), weights, file)
    return record


def _try(content: bytes, metadata: Metadata) -> None:
    """Computes the features once; the answers must stay."""
    image = metadata.image
    shape = (_TRIED_IMAGES, image.height, image.width, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    with Classifier(seal_artifact(content, metadata)) as classifier:
        expected = classifier.probabilities(images)
        probabilities, _ = classifier.features(images)
    change = float(np.abs(probabilities - expected).max())
    if change > _SAME_ANSWER:
        raise ConversionError(f"With them as an output, a probability changes by {change:.6f}.")
