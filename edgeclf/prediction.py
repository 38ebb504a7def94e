"""What a classifier answers: small frozen values of plain types."""

from __future__ import annotations

from dataclasses import dataclass


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
        inference_ms: From the tensor to the probabilities.
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
        scores: Every class, most probable first; equal ones in the model's order.
        timing: Time by stage.
    """

    scores: tuple[Score, ...]
    timing: Timing

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.scores[0].label

    @property
    def probability(self) -> float:
        """The probability of the most probable class, 0..1."""
        return self.scores[0].probability

    def top(self, k: int) -> tuple[Score, ...]:
        """The `k` most probable classes, all of them where there are fewer."""
        return self.scores[:k]
