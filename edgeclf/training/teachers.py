"""Teachers: models of any format that answer photos with logits.

A ``.keras`` artifact answers with the logits of its own layer, and with its pooled features where
they are wanted. Any other artifact is run by its runtime, a model from elsewhere by the engine of
its format. Those give probabilities p; log(max(p, 1e-7)) stands for the logits, because
softmax(log p) is p again, and at a temperature T softmax(log(p) / T) is what the network's own
logits would give, as they differ from log p by one constant a photo. What an int8 output rounds to
zero stays unknown: its teacher's smallest probability is 1e-7 instead of what the network had
computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Artifact
from edgeclf.converters.sources import SourceModel
from edgeclf.datasets.labels import class_finder
from edgeclf.errors import ArtifactError, listed
from edgeclf.image import ImageSpec, UInt8Array
from edgeclf.networks.backend import keras
from edgeclf.networks.engines import Engine, fastest
from edgeclf.networks.keras_model import in_batches, load_model
from edgeclf.runtimes import DEFAULT_RUNTIME, load_runtime
from edgeclf.system.files import sha256_of
from edgeclf.system.progress import log

_LEAST = 1e-7  # of a probability: float32 tells 1 from 1 - 1e-7 just so


@dataclass(frozen=True)
class Answers:
    """What a teacher says of a batch.

    Attributes:
        logits: float32 [N, classes].
        features: float32 [N, C], the pooled features below them; None where the teacher shows
            none, or where they were not asked for.
    """

    logits: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32] | None = None


class Teacher(Protocol):
    """A model to learn from.

    Attributes:
        labels: Class names in the order of the logits.
        spec: How photos become its input.
        sha256: Of its file; of a model from elsewhere, of all that decides its answers.
        model: The network, to inherit weights from; None for a teacher that is no Keras model.
        feature_width: C of its pooled features; None where it shows none.
    """

    @property
    def labels(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def spec(self) -> ImageSpec: ...  # noqa: D102

    @property
    def sha256(self) -> str: ...  # noqa: D102

    @property
    def model(self) -> keras.Model | None: ...  # noqa: D102

    @property
    def feature_width(self) -> int | None: ...  # noqa: D102

    def answer(self, images: UInt8Array) -> Answers:
        """Logits, and features where there are any, for uint8 [N, H, W, 3] of its input size."""
        ...


@dataclass(frozen=True)
class KerasTeacher:
    """A network in the frame of `build_classifier`; see `Teacher`."""

    labels: tuple[str, ...]
    spec: ImageSpec
    sha256: str
    model: keras.Model

    def __post_init__(self) -> None:
        object.__setattr__(self, "_engine", [])  # none, until there are pictures to choose it by

    @property
    def feature_width(self) -> int:
        """Width of the pooled features."""
        return int(self.model.get_layer("features").output.shape[-1])

    def answer(self, images: UInt8Array) -> Answers:
        """Logits and pooled features."""
        engine: list[Engine] = self._engine  # type: ignore[attr-defined]
        if not engine:
            ends = ("logits", "features")
            engine.append(fastest(self.model, ends, images, "answers of the teacher"))
        return Answers(*engine[0](images))


class RuntimeTeacher:
    """Any other artifact, run by its runtime; its logits are log(max(p, 1e-7)). See `Teacher`.

    Args:
        artifact: What to run.
    """

    model = None
    feature_width = None

    def __init__(self, artifact: Artifact) -> None:
        self.labels = artifact.metadata.labels
        self.spec = artifact.metadata.image
        self.sha256 = artifact.sha256
        self._runtime = load_runtime(DEFAULT_RUNTIME[artifact.format], artifact)

    def answer(self, images: UInt8Array) -> Answers:
        """Logits alone."""
        return Answers(_logits(self._runtime.run(images)))


class ForeignTeacher:
    """A model from elsewhere, run as it is; its logits are log(max(p, 1e-7)). See `Teacher`.

    Args:
        opened: From `edgeclf.converters.sources.open_model`.
    """

    model = None
    feature_width = None

    def __init__(self, opened: SourceModel) -> None:
        metadata = opened.source.metadata
        self.labels, self.spec = metadata.labels, metadata.image
        # Of the same file, another range of the input, scale of the output or order of the classes
        # gives other answers.
        said = (metadata.normalization, opened.scores, metadata.labels)
        self.sha256 = sha256_of(opened.sha256, repr(said))
        self._answers = opened.answers

    def answer(self, images: UInt8Array) -> Answers:
        """Logits alone."""
        return Answers(_logits(self._answers(images)))


class ReorderedTeacher:
    """A teacher whose classes stand in another order, or are more, than those to learn.

    Args:
        teacher: Answers in its own order.
        labels: The classes to answer; of those left out, the logits are not looked at, so that
            what remains are the teacher's probabilities given that it is one of `labels`.
    """

    model = None  # its last layer knows the classes in another order

    def __init__(self, teacher: Teacher, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.spec, self.sha256 = teacher.spec, teacher.sha256
        self.feature_width = teacher.feature_width
        self._teacher = teacher
        known = _named_as(labels, teacher.labels)
        self._order = [known.index(label) for label in labels]

    def answer(self, images: UInt8Array) -> Answers:
        """The teacher's answers, in the order of `labels`."""
        answers = self._teacher.answer(images)
        return Answers(np.ascontiguousarray(answers.logits[:, self._order]), answers.features)


def open_teacher(given: Artifact | SourceModel, labels: Sequence[str]) -> Teacher:
    """Opens any model as a teacher of the classes `labels`, in that order.

    Args:
        given: A ``.keras``, ``.tflite`` or ``.onnx`` artifact, or a model from elsewhere.
        labels: The classes of the photos; the teacher's may stand in another order.

    Raises:
        ArtifactError: It does not know one of the classes, or Keras cannot read it.
        RuntimeLoadError: Its runtime cannot load it.
    """
    if isinstance(given, SourceModel):
        name, known = given.source.metadata.name, given.source.metadata.labels
    else:
        name, known = str(given.path or "The teacher"), given.metadata.labels
    known = _named_as(labels, known)
    if missing := [label for label in labels if label not in known]:
        raise ArtifactError(
            f"{name} knows the classes {listed(known)}; the photos are of {listed(labels)}. "
            f"It cannot teach {listed(missing)}. Train the teacher on these photos first."
        )
    if gone := sorted(set(known) - set(labels)):
        log(f"left out of the teacher's answers, as there are no photos of it: {listed(gone)}")
    teacher: Teacher
    if isinstance(given, SourceModel):
        teacher = ForeignTeacher(given)
    elif given.format == "keras":
        model = load_model(given)
        if len(known) == len(labels) and known != tuple(labels):
            # In place, so that a student that inherits this layer too has the classes in order.
            order, logits = [known.index(label) for label in labels], model.get_layer("logits")
            logits.set_weights([weights[..., order] for weights in logits.get_weights()])
            known = tuple(labels)
        teacher = KerasTeacher(known, given.metadata.image, given.sha256, model)
    else:
        teacher = RuntimeTeacher(given)
    return teacher if teacher.labels == tuple(labels) else ReorderedTeacher(teacher, labels)


def _named_as(labels: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The classes a teacher knows, those among `labels` spelt as there."""
    find = class_finder(known)
    spelling = {find(label): label for label in labels}
    return tuple(spelling.get(name, name) for name in known)


def _logits(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    logits: npt.NDArray[np.float32] = np.log(np.maximum(probabilities, np.float32(_LEAST)))
    return logits


def teacher_logits(teacher: Teacher, images: UInt8Array) -> npt.NDArray[np.float32]:
    """A teacher's logits, float32 [N, classes], for uint8 [N, H, W, 3] of its input size."""
    return np.concatenate([teacher.answer(batch).logits for batch in in_batches(images)])
