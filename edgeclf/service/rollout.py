"""How a new version earns its place: unseen beside the present one, then by a share of requests.

In the shadow it answers copies of pictures for which a worker is free, and nobody waits for them;
what counts is how often it names the same class. It is judged once, when it has seen as many as
were asked for: looking again and again until the figure pleases would let every version pass. As a
canary it answers some requests for real, and the first that its engine fails sends it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from edgeclf.errors import InferenceError
from edgeclf.inference.prediction import Prediction
from edgeclf.metrics.statistics import wilson_interval
from edgeclf.service.pool import Answered
from edgeclf.service.problem import Problem

if TYPE_CHECKING:
    from edgeclf.image import ImageSource
    from edgeclf.monitoring.metrics import Metrics
    from edgeclf.service.catalog import Catalog, Model, Version
    from edgeclf.service.config import ServiceConfig

Stage = Literal["shadow", "canary"]
Verdict = Literal["goes on", "passed", "rejected"]
Ask = Callable[["Version", "ImageSource"], "asyncio.Future[Answered] | None"]


@dataclass(eq=False)
class Trial:
    """A new version that may come to answer for its model.

    Attributes:
        candidate: The new one.
        present: The one that answers.
        stage: What is done with the new one.
        share: Of pictures or requests that it gets in this stage.
        wanted: Pictures after which it is judged.
        agreement: What the lower end of the interval must reach in the shadow.
        seen: Pictures that it has answered in this stage.
        agreed: Of those, how many have the same class.
        failed: Of those, how many its engine failed.
        asked: Pictures that it answers unseen at the moment.
        canary: Share and pictures of the stage after the shadow; None without one.
    """

    candidate: Version
    present: Version
    stage: Stage
    share: float
    wanted: int
    agreement: float
    seen: int = 0
    agreed: int = 0
    failed: int = 0
    asked: int = 0
    canary: tuple[float, int] | None = None
    _due: float = field(default=0.0, repr=False)

    @classmethod
    def of(cls, candidate: Version, present: Version, config: ServiceConfig) -> Trial | None:
        """The trial that a config asks for; None if it asks for none."""
        canary = (config.canary, config.canary_pictures) if config.canary else None
        if config.shadow:
            return cls(candidate, present, "shadow", config.shadow, config.shadow_pictures,
                       config.agreement, canary=canary)  # fmt: skip
        if canary is not None:
            return cls(candidate, present, "canary", *canary, config.agreement)
        return None

    def takes(self) -> bool:
        """Whether the next one is the candidate's, so that it gets its share, evenly spread."""
        self._due += self.share
        if self._due < 1:
            return False
        self._due -= 1
        return True

    def note(self, *, agreed: bool, failed: bool = False) -> Verdict:
        """Counts a picture that the candidate has answered, or failed to.

        Args:
            agreed: Whether it named the present one's class; a canary is not compared.
            failed: Whether its engine failed.

        Returns:
            ``passed`` at the end of the last stage; the first one is followed by the next.
        """
        self.seen += 1
        self.agreed += agreed
        self.failed += failed
        if self.stage == "canary":
            if failed:
                return "rejected"
            return "passed" if self.seen >= self.wanted else "goes on"
        if self.seen < self.wanted:
            return "goes on"
        if self.interval[0] < self.agreement:
            return "rejected"
        if self.canary is None:
            return "passed"
        self.stage, (self.share, self.wanted), self.canary = "canary", self.canary, None
        self.seen = self.agreed = self.failed = 0
        self._due = 0.0
        return "goes on"

    @property
    def interval(self) -> tuple[float, float]:
        """Of the agreement, 95 %, after Wilson; everything before the first picture."""
        return wilson_interval(self.agreed, self.seen) if self.seen else (0.0, 1.0)

    def text(self) -> str:
        """What is known so far, for people."""
        if self.stage == "canary":
            return (
                f"as a canary it answers {self.share:.1%} of the requests: {self.seen} of "
                f"{self.wanted} pictures, {self.failed} failed"
            )
        low, high = self.interval
        return (
            f"in the shadow of version {self.present.number} it named the same class for "
            f"{self.agreed} of {self.seen} pictures (95 % interval {low:.4f} to {high:.4f}; after "
            f"{self.wanted} its lower end must reach {self.agreement}), {self.failed} failed"
        )

    def entry(self) -> dict[str, Any]:
        """The same as JSON types."""
        shadow = self.stage == "shadow"
        return {
            "version": self.candidate.number,
            "sha256": self.candidate.sha256,
            "present": self.present.number,
            "stage": self.stage,
            "share": self.share,
            "pictures": self.seen,
            "pictures_wanted": self.wanted,
            "failed": self.failed,
            "agreed": self.agreed if shadow else None,
            "agreement_interval_95": list(self.interval) if shadow and self.seen else None,
            "agreement_wanted": self.agreement if shadow else None,
        }


class Trials:
    """The trials that are going on, one a model at most; used on the loop's thread.

    Args:
        catalog: Where the models are.
        metrics: Where the agreement is shown.
        judged: Called at the end of a trial, whether the candidate passed, and why.
    """

    def __init__(
        self, catalog: Catalog, metrics: Metrics, judged: Callable[[Trial, bool, str], None]
    ) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._judged = judged
        self._by_model: dict[str, Trial] = {}

    def of(self, model: str) -> Trial | None:
        """The trial of a model; asked for each request."""
        return self._by_model.get(model)

    def versions(self) -> list[Version]:
        """Every version that takes part in one."""
        return [v for t in self._by_model.values() for v in (t.candidate, t.present)]

    def begin(self, model: Model, trial: Trial) -> None:
        """Starts a trial."""
        model.trial = self._by_model[model.name] = trial
        trial.candidate.reason = trial.text()

    def end(self, model: Model) -> Trial | None:
        """Ends the trial of a model without a verdict, and returns it."""
        trial, model.trial = model.trial, None
        self._by_model.pop(model.name, None)
        if trial is not None:
            trial.candidate.reason = ""
        return trial

    def note(
        self, trial: Trial, images: Sequence[ImageSource], answers: Sequence[Answered], ask: Ask
    ) -> None:
        """Shows a trial what the present version, or the canary, has answered.

        Args:
            trial: Of the model that was asked.
            images: What was asked.
            answers: What came, in the same order.
            ask: Asks a version unseen; gives None where no worker is free.
        """
        for image, answered in zip(images, answers, strict=True):
            result = answered.result
            if self._by_model.get(trial.candidate.model) is not trial:
                return
            if trial.stage == "canary":
                failed = isinstance(result, InferenceError)
                if failed or isinstance(result, Prediction):
                    self._count(trial, trial.note(agreed=False, failed=failed), result)
            elif isinstance(result, Prediction) and not trial.asked and trial.takes():
                self._ask(trial, image, result, ask)

    def _ask(self, trial: Trial, image: ImageSource, present: Prediction, ask: Ask) -> None:
        future = ask(trial.candidate, image)
        if future is None:
            return
        trial.asked += 1

        def compare(future: asyncio.Future[Answered]) -> None:
            trial.asked -= 1
            result = None if future.cancelled() else future.result().result
            # One that came too late says nothing of the version.
            if result is None or isinstance(result, Problem) or trial.stage != "shadow":
                return
            if self._by_model.get(trial.candidate.model) is trial:
                is_answer = isinstance(result, Prediction)
                agreed = isinstance(result, Prediction) and _class(result) == _class(present)
                self._count(trial, trial.note(agreed=agreed, failed=not is_answer), result)

        future.add_done_callback(compare)

    def _count(self, trial: Trial, verdict: Verdict, last: object) -> None:
        candidate = trial.candidate
        if trial.stage == "shadow":
            agreement = self._metrics.shadow_agreement
            agreement.labels(candidate.model, candidate.number).set(trial.agreed / trial.seen)
        candidate.reason = text = trial.text()
        if verdict == "goes on":
            return
        if isinstance(last, Exception):
            text += f"; the last one: {last}"
        self.end(self._catalog.models[candidate.model])
        self._judged(trial, verdict == "passed", text)


def _class(prediction: Prediction) -> str:
    """The most probable class, whether or not the picture is said to be unknown."""
    return prediction.labels[prediction.probabilities.index(prediction.probability)]
