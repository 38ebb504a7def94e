"""What a classifier answers: small frozen values of plain types."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from edgeclf.errors import ImageError, OptionError

if TYPE_CHECKING:
    from edgeclf.image import ImageSource


@dataclass(frozen=True)
class Score:
    """One class and how probable it is.

    Attributes:
        index: Position of the class in the model's output, from 0.
        label: Its name.
        probability: 0..1; the probabilities of a prediction sum to 1.
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
    """

    labels: tuple[str, ...] = field(repr=False)
    probabilities: tuple[float, ...]
    timing: Timing

    @property
    def label(self) -> str:
        """The most probable class; of equal ones, the model's first."""
        return self.labels[self.probabilities.index(self.probability)]

    @property
    def probability(self) -> float:
        """The probability of the most probable class, 0..1."""
        return max(self.probabilities)

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
    """

    index: int
    image: ImageSource = field(repr=False)
    answer: Prediction | Failure
    dropped: int
