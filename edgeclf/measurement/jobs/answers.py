"""What a model answers, from a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgeclf.measurement.jobs.base import ModelJob


@dataclass(frozen=True)
class AnswersResult:
    """Answers.

    Attributes:
        probabilities: Of every image in order, float32 as lists, a row each.
    """

    probabilities: tuple[list[float], ...]


@dataclass(frozen=True, kw_only=True)
class AnswersJob(ModelJob[AnswersResult]):
    """The probabilities of images.

    Attributes:
        images: Paths of image files.
    """

    kind: ClassVar[str] = "answers"
    result: ClassVar[type] = AnswersResult

    images: tuple[str, ...]

    @property
    def pictures(self) -> int:
        """See `Job.pictures`."""
        return len(self.images)

    def run(self, started_s: float) -> AnswersResult:
        """See `Job.run`."""
        return AnswersResult(tuple(self.load_lean().probabilities(self.images).tolist()))
