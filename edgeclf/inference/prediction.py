"""What a classifier answers: small frozen values of plain types."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from edgeclf.errors import ImageError, OptionError
from edgeclf.inference.confidence import UNKNOWN_LABEL, PredictionSets

if TYPE_CHECKING:
    from edgeclf.image import ImageSource


@dataclass(frozen=True)
class Score:
    """One class and how probable it is.

    Attributes:
        index: Position of the class in the model's output, from 0.
        label: Its name.
        probability: 0..1; the probabilities of a prediction sum to 1.

    Examples:
        >>> from edgeclf import Score
        >>> Score(0, "mug", 0.75)
        Score(index=0, label='mug', probability=0.75)
    """

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Timing:
    """Where the time of one call went, in milliseconds of wall clock.

    Attributes:
        decode_ms: From the source to an upright RGB picture.
        preprocess_ms: From that picture to the input tensor.
        inference_ms: From the tensor to the probabilities; in a batch, its share of the batch's.

    Examples:
        >>> from edgeclf import Timing
        >>> Timing(decode_ms=2.0, preprocess_ms=0.5, inference_ms=1.5).total_ms
        4.0
    """

    decode_ms: float
    preprocess_ms: float
    inference_ms: float

    @property
    def total_ms(self) -> float:
        """The sum of the stages."""
        return self.decode_ms + self.preprocess_ms + self.inference_ms


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture.

    Attributes:
        labels: Every class, in the model's order.
        probabilities: Theirs, in the same order, 0..1, summing to 1.
        timing: Time by stage.
        confidence: How probable it is that the most probable class is right, 0..1; None like the
            next two where the file was not calibrated, see `edgeclf.calibrate`.
        unknown: Whether the picture shows what the model has never seen; None where that is not
            asked for, or file or runtime cannot tell.
        novelty: How far it is from what the model knows: above 1 it is unknown.
        sets: How `set` makes its sets.
        names_unknown: Whether `label` says so of an unknown picture.

    Examples:
        >>> from edgeclf import Prediction, Timing
        >>> timing = Timing(decode_ms=1.0, preprocess_ms=0.5, inference_ms=2.0)
        >>> answer = Prediction(("cat", "dog", "mug"), (0.25, 0.0625, 0.6875), timing)
        >>> answer.label, answer.probability
        ('mug', 0.6875)
        >>> [score.label for score in answer.top(2)]
        ['mug', 'cat']
        >>> [score.label for score in answer.top(deny=["mug"], threshold=0.1)]
        ['cat']
    """

    labels: tuple[str, ...] = field(repr=False)
    probabilities: tuple[float, ...]
    timing: Timing
    confidence: float | None = None
    unknown: bool | None = None
    novelty: float | None = None
    sets: PredictionSets | None = field(default=None, repr=False, compare=False)
    names_unknown: bool = field(default=False, repr=False)

    @property
    def label(self) -> str:
        """The most probable class; of equal ones, the model's first.

        ``unknown`` for an unknown picture where `Classifier.classify` was told ``unknown="label"``.
        """
        if self.names_unknown and self.unknown:
            return UNKNOWN_LABEL
        return self.labels[self.probabilities.index(self.probability)]

    @property
    def probability(self) -> float:
        """The probability of the most probable class, 0..1."""
        return max(self.probabilities)

    def set(self, coverage: float = 0.9) -> tuple[str, ...] | None:
        """Labels of which one is right for at least this share of pictures.

        That holds on average over pictures like those that the file was calibrated on, whatever
        the model; it says nothing of one picture, nor of unknown ones.

        Args:
            coverage: Above 0. Of the file's levels, the first that is no less is taken.

        Returns:
            Most probable first, at least one; None where the file was not calibrated.

        Raises:
            OptionError: The file has no level that high.
        """
        if self.sets is None:
            return None
        return tuple(self.labels[i] for i in self.sets.members(self.probabilities, coverage))

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        """Every class, most probable first; equal ones in the model's order."""
        # Made when asked for: a thousand of them take longer than many a model.
        order = sorted(range(len(self.labels)), key=self.probabilities.__getitem__, reverse=True)
        return tuple(Score(i, self.labels[i], self.probabilities[i]) for i in order)

    def top(
        self,
        k: int | None = None,
        *,
        allow: Iterable[str] | None = None,
        deny: Iterable[str] = (),
        threshold: float = 0.0,
    ) -> tuple[Score, ...]:
        """The most probable classes, or those of them that are wanted.

        Args:
            k: How many at most; None for all.
            allow: Labels that may be answered; None for all.
            deny: Labels that may not.
            threshold: The least probability, 0..1.

        Returns:
            Most probable first. Fewer than `k` where there are fewer, perhaps none.

        Raises:
            OptionError: `allow` or `deny` name a label that the model does not have.
        """
        if k is not None and k < 1:
            raise OptionError(f"k is {k}; expected at least 1, or None for all.")
        if allow is None and not deny and threshold <= 0:
            return self.scores[:k]
        allowed = set(self.labels) if allow is None else set(allow)
        denied = set(deny)
        unknown = sorted((allowed | denied).difference(self.labels))
        if unknown:
            raise OptionError(
                f"The model has no label {', '.join(map(repr, unknown))}; it has "
                f"{len(self.labels)}: {', '.join(self.labels[:8])}"
                f"{', …' * (len(self.labels) > 8)}."
            )
        wanted = (
            score
            for score in self.scores
            if score.label in allowed
            and score.label not in denied
            and score.probability >= threshold
        )
        return tuple(wanted)[:k]


@dataclass(frozen=True)
class Failure:
    """In place of a prediction: a picture that could not be classified.

    Attributes:
        error: Why.

    Examples:
        >>> from edgeclf import Failure, ImageError
        >>> str(Failure(ImageError("Cannot open photo.jpg.")).error)
        'Cannot open photo.jpg.'
    """

    error: ImageError


@dataclass(frozen=True)
class Frame:
    """One frame of a stream with its answer.

    Attributes:
        index: Its position among all frames of the source, from 0.
        image: The frame as the source gave it.
        answer: What it shows, or why it could not be classified.
        dropped: Frames passed over until now, because newer ones had come.

    Examples:
        >>> import numpy as np
        >>> from edgeclf import Classifier
        >>> from edgeclf.runtimes.fake import fake_artifact
        >>> classifier = Classifier(fake_artifact(["dark", "bright"]), runtime="fake")
        >>> (frame,) = classifier.stream([np.zeros((48, 64, 3), np.uint8)])
        >>> frame.index, frame.answer.label, frame.dropped
        (0, 'dark', 0)
    """

    index: int
    image: ImageSource = field(repr=False)
    answer: Prediction | Failure
    dropped: int
