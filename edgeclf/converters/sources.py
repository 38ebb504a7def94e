"""Models to convert: edgeclf's own artifacts, and models from elsewhere.

Whatever it was, it becomes a `Source`: a network from normalised float32 images to probabilities,
and the answers of the original to any images, computed outside of any converter: by its own engine,
or by one that is shown to answer the same. A converter's result is judged by those.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact, Format, Metadata, is_artifact, load_artifact
from edgeclf.converters.base import FileGraph, Graph, Source, TensorFlowGraph
from edgeclf.converters.channels import count_of, from_rgb_in_tensorflow
from edgeclf.converters.evaluation import in_parts
from edgeclf.converters.file_kinds import kind_of
from edgeclf.converters.known_answers import check_known_answers, probe_pictures, scores_of
from edgeclf.converters.labels import read_labels
from edgeclf.converters.readers.base import ForeignModel, answering
from edgeclf.converters.readers.keras import read_keras
from edgeclf.converters.readers.onnx import read_onnx
from edgeclf.converters.readers.saved_model import read_saved_model
from edgeclf.converters.readers.tflite import read_tflite
from edgeclf.converters.scores import (
    Head,
    check_alone,
    check_numbers,
    check_probabilities,
    find_head,
)
from edgeclf.converters.source_spec import LABEL_FILE, SourceSpec
from edgeclf.errors import ArtifactError, ConversionError, OptionError
from edgeclf.image import ImageSpec, UInt8Array
from edgeclf.runtimes.base import Float32Array
from edgeclf.system.files import sha256_of

_READERS = {
    "keras": read_keras,
    "h5": read_keras,
    "saved_model": read_saved_model,
    "tflite": read_tflite,
    "onnx": read_onnx,
}


@dataclass(frozen=True)
class SourceModel:
    """A model that is ready to be converted.

    Attributes:
        source: The network; calibration images are added later.
        answers: From uint8 [N, H, W, 3] to the original's probabilities float32 [N, classes].
        format: What it was read from.
        sha256: Of the file, or of all files of a SavedModel.
        size_bytes: Of the same.
        scores: What the file itself answers; of an artifact always ``probabilities``.
    """

    source: Source
    answers: Callable[[UInt8Array], Float32Array] = field(repr=False)
    format: str
    sha256: str
    size_bytes: int
    scores: str = "probabilities"


def open_model(path: Path, source_spec: SourceSpec) -> SourceModel:
    """Reads a model of any kind that can be converted.

    Args:
        path: A ``.keras`` artifact of edgeclf, or from elsewhere ``.keras``, ``.h5``,
            ``.tflite``, ``.onnx`` or the folder of a SavedModel.
        source_spec: What a model from elsewhere expects; not used for an artifact.

    Raises:
        ArtifactError: There is no such file, or it cannot be read as what it claims to be.
        ConversionError: It holds code and is not trusted, or is no image classifier.
        OptionError: The labels do not fit, or another convention is not what the model shows.
    """
    try:
        present = path.exists()
    except (OSError, ValueError) as exc:  # of a name that no file can have, or a folder kept shut
        reason = getattr(exc, "strerror", None) or str(exc)
        raise ArtifactError(f"Cannot read the model {str(path)!r}: {reason}.") from exc
    if not present:
        raise ArtifactError(f"There is no model {path}.")
    if path.is_file() and is_artifact(path.read_bytes()):
        return _open_artifact(load_artifact(path))
    read = _READERS[kind_of(path)]
    return _open_foreign(path, source_spec, read(path, source_spec))


def _open_artifact(artifact: Artifact) -> SourceModel:
    if artifact.format != "keras":
        raise ArtifactError(
            f"{artifact.path} is an artifact already, in {artifact.format}; convert the .keras one "
            "that it was made from."
        )
    from edgeclf.converters.keras_source import ModelAnswers, graph_of
    from edgeclf.converters.written import Known
    from edgeclf.networks.builder import part
    from edgeclf.networks.engines import PICTURES
    from edgeclf.networks.keras_model import load_model

    model = load_model(artifact)
    asked = ModelAnswers(model, 0, artifact.metadata.name)

    def answers(images: UInt8Array) -> Float32Array:
        return np.concatenate([asked.of(few) for few in in_parts(images)])

    def known() -> Known:
        pictures = probe_pictures(artifact.metadata.image)[:PICTURES]
        return artifact.metadata.normalization.apply(pictures), asked.of(pictures)

    network = part(model, "normalize", "probabilities")
    return SourceModel(
        Source(graph_of(network, known=known), artifact.metadata),
        answers,
        artifact.format,
        artifact.sha256,
        artifact.size_bytes,
    )


def _open_foreign(path: Path, source_spec: SourceSpec, model: ForeignModel) -> SourceModel:
    """What all models from elsewhere share."""
    if model.input_range is not None:
        source_spec = dataclasses.replace(
            source_spec, input_range=model.input_range, mean=0.0, std=1.0
        )
    if source_spec.labels is None:
        raise OptionError(
            f"{path} does not say what its classes are called. Add --labels labels.txt, one name a "
            f"line in the order of the output; {LABEL_FILE}."
        )
    labels, sha256 = read_labels(source_spec.labels), _hash(path, model.files)
    if len(labels) == 1:
        raise OptionError(
            f"{source_spec.labels} names one label, {labels[0]!r}; expected at least two. One "
            "score stands for two labels: name both, the second is what 1 stands for."
        )
    height, width = _input_size(path, model.input_shape, source_spec)
    metadata = Metadata(
        name=path.stem,
        labels=labels,
        image=ImageSpec(height, width),
        normalization=source_spec.normalization(),
        parameters=model.parameters,
        training={"origin": {"file": path.name, "sha256": sha256}},
    )
    logits = source_spec.scores == "logits"

    def scores_for(images: UInt8Array) -> Float32Array:
        with answering("Its engine", path, "image", images.shape):
            return scores_of(model.predict, images, source_spec)

    # Says now what does not fit.
    pictures = probe_pictures(metadata.image)
    scores = scores_for(pictures)
    head = find_head(scores, labels, logits=logits, file=path, softmax=model.softmax)
    quantized = isinstance(model.graph, FileGraph) and model.graph.quantized is not None
    if not quantized:  # else images of a batch may share a scale
        for index in (0, 1):  # the black one and the white, which differ most from the others
            one = slice(index, index + 1)
            check_alone(scores[one], scores_for(pictures[one]), path)

    def answers(images: UInt8Array) -> Float32Array:
        scores = scores_for(images)
        check_numbers(scores, path)
        if not logits:
            check_probabilities(scores, path)
        return head.apply(scores)

    if source_spec.check is not None:
        check_known_answers(path, metadata, model.predict, head, source_spec)
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    size = sum(file.stat().st_size for file in (*files, *model.files))
    source = Source(_with_edges(model.graph, source_spec, head, len(labels)), metadata)
    return SourceModel(source, answers, model.format, sha256, size, source_spec.scores)


def _with_edges(graph: Graph, source_spec: SourceSpec, head: Head, classes: int) -> Graph:
    """The model's own graph as one from RGB to probabilities."""
    channels_first = source_spec.layout == "nchw"

    def with_edges(file: FileGraph) -> FileGraph:
        return dataclasses.replace(
            file,
            channels_first=channels_first,
            channels=source_spec.channels,
            logits=head.logits,
            single=head.single,
        )

    if isinstance(graph, FileGraph):
        return with_edges(graph)
    scores_of_own, written_plain = graph.function, graph.written

    def written(format_: Format) -> FileGraph | None:
        file = written_plain(format_)
        return with_edges(file) if file is not None else None

    def probabilities(image: Any) -> Any:
        import tensorflow as tf

        image = from_rgb_in_tensorflow(image, source_spec.channels)
        if channels_first:
            image = tf.transpose(image, (0, 3, 1, 2))
        scores = scores_of_own(image)
        if scores.shape.rank != 2:  # as [N, 1, 1, C]
            scores = tf.reshape(scores, (-1, 1 if head.single else classes))
        return head.apply_in_tensorflow(scores)

    return TensorFlowGraph(probabilities, graph.variables, written)


def _input_size(
    path: Path, shape: Sequence[int | None], source_spec: SourceSpec
) -> tuple[int, int]:
    spatial, channels = (shape[1:3], shape[3:]) if source_spec.layout == "nhwc" else (
        shape[2:4], shape[1:2])  # fmt: skip
    count = count_of(source_spec.channels)
    if len(shape) != 4 or tuple(channels) not in ((count,), (None,)):
        raise ConversionError(
            f"{path} takes the shape {tuple(shape)}; expected {source_spec.channels} images in the "
            f"layout {source_spec.layout}. {_advice_on_shape(shape, source_spec)}"
        )
    asked = source_spec.input_size
    if None in spatial:
        if asked is None:
            raise OptionError(
                f"{path} leaves its input size open: {tuple(shape)}. Add --input-size ROWS COLUMNS."
            )
        return asked
    size = (int(spatial[0] or 0), int(spatial[1] or 0))
    if asked is not None and asked != size:
        raise OptionError(f"{path} takes {size[0]}x{size[1]} pixels, not {asked[0]}x{asked[1]}.")
    return size


def _advice_on_shape(shape: Sequence[int | None], source_spec: SourceSpec) -> str:
    for layout, place in (("nhwc", 3), ("nchw", 1)):
        for channels, count in (("rgb", 3), ("grey", 1)):
            if len(shape) == 4 and shape[place] == count:
                advice = [
                    f"--layout {layout}" if layout != source_spec.layout else "",
                    f"--channels {channels}" if count != count_of(source_spec.channels) else "",
                ]
                return f"As its channels are, add {' '.join(filter(None, advice))}."
    return "An image classifier takes [N, rows, columns, channels] of one or three channels."


def _hash(path: Path, beside: Sequence[Path]) -> str:
    if path.is_file():
        return sha256_of(path, *beside)
    return sha256_of(*_names_and_files(path))


def _names_and_files(folder: Path) -> Iterator[str | Path]:
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        yield str(file.relative_to(folder))
        yield file
