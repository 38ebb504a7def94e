"""Searching designs that keep to a budget: trials that are stopped early where they fall behind.

Optuna's sampler (TPE of two values, Ozaki et al. 2020) proposes input size, depth, expansion, head
and the share of the budget to use; the width is the widest that this leaves room for. Of designs
that cost the same, those with more multiply-adds tend to be the more accurate ones (Lin et al.,
"MCUNet", 2020, section 3.1), which is also why the first trial is the one that has the most.

A trial is judged after a quarter, half and all of its epochs, by the answers of the file that a
device would run. It goes on while it is in the better half of those that came as far before it
(Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020). Whatever stops a trial,
the sampler is told a value, as it learns nothing from trials that are told as failed.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from edgeclf.errors import ConversionError, TrainingError
from edgeclf.system.progress import log
from edgeclf.training.budget import Candidate, Room
from edgeclf.training.study_file import ended_trials, open_study, opened, sampler_of

SHARES = (1.0, 0.75, 0.5)  # of the budget
_STARTUP = 5  # trials at random, before the sampler learns from them
_KEPT = 0.5  # of the trials that come to a rung, those that go on
_BROKEN = 0.1  # of top-1: so much less right as int8 than as float is no loss, but a failure
_WORST = 2.0  # times the loss of a network that knows nothing: what a trial that failed is told
_FRUITLESS = 20  # proposals one after the other, all of which were made before or have no room
_RESULT = "result"  # of a trial
TRAINED = ("complete", "stopped", "broken", "failed")  # outcomes that took work

Point = tuple[float, float]  # loss and latency


@dataclass(frozen=True)
class Judgement:
    """How a student does on the photos set aside, at a rung.

    Attributes:
        epoch: How many epochs it had learnt for.
        loss: Cross-entropy of the file's answers with the labels at the temperature that suits
            them best, in nats.
        top1: Of the file, 0..1.
        float_top1: Of the network before it was converted, 0..1.
    """

    epoch: int
    loss: float
    top1: float
    float_top1: float


GoOn = Callable[[Judgement], bool]
Train = Callable[[Candidate, Sequence[int], GoOn], None]


def rungs(epochs: int) -> tuple[int, ...]:
    """After how many epochs trials are judged: a quarter, half and all of them."""
    return tuple(sorted({math.ceil(epochs / 4), math.ceil(epochs / 2), epochs}))


class DesignSearch:
    """Trials of designs, kept in a file.

    Args:
        room: The designs that keep to the budget.
        train: Trains a candidate, asks at each of the given epochs whether to go on, and returns
            where it must not.
        classes: How many.
        conditions: See `edgeclf.training.study_file.open_study`.
        path: The SQLite file.
        epochs: Of a trial that is not stopped.
        seed: Decides the proposals.
    """

    def __init__(
        self,
        room: Room,
        train: Train,
        classes: int,
        conditions: dict[str, Any],
        path: Path,
        *,
        epochs: int,
        seed: int,
    ) -> None:
        self._room, self._train, self._conditions, self._path = room, train, conditions, path
        self._rungs, self._seed = rungs(epochs), seed
        self._bad = _WORST * math.log(classes)

    def run(self, trials: int) -> list[dict[str, Any]]:
        """Makes as many trials as are left to make `trials`.

        Returns:
            What came of each that was trained, in order, as plain JSON types; fewer where the
            budget has room for fewer designs.

        Raises:
            TrainingError: The file is no search of ours, or no trial came to its end.
        """
        with opened(self._path) as storage:
            study, _ = open_study(
                storage, self._path, self._conditions, directions=("minimize", "minimize")
            )
            try:
                while len(_trained(study)) < trials and self._is_worth_asking(study, trials):
                    self._make_trial(study, trials)
            except KeyboardInterrupt:
                done = len(_trained(study))
                log(f"\ninterrupted; the same command goes on with trial {done + 1} of {trials}")
                raise
            made = [trial.user_attrs[_RESULT] for trial in _trained(study)][:trials]
        if not any(each["outcome"] == "complete" for each in made):
            raise TrainingError(
                f"None of {len(made)} trials came to its end; the reasons are above. Lower "
                "--learning-rate, or distil one student with 'edgeclf distill' to see what is "
                "wrong."
            )
        return made

    def _is_worth_asking(self, study: optuna.Study, trials: int) -> bool:
        """Whether there may be designs left that no trial has had."""
        outcomes = [trial.user_attrs[_RESULT]["outcome"] for trial in ended_trials(study)]
        tried = sum(outcome in TRAINED for outcome in outcomes)
        latest = outcomes[-_FRUITLESS:]
        found = len(latest) < _FRUITLESS or any(outcome in TRAINED for outcome in latest)
        if found and tried < len(self._room.within):
            return True
        log(f"after {tried} of {trials} trials, hardly any other design is left in the budget")
        return False

    def _make_trial(self, study: optuna.Study, trials: int) -> None:
        trial = self._propose(study)
        found = self._candidate(trial.params)
        dearest = max(each.latency_ms for each in self._room.within)
        if found is None:
            self._tell(study, trial, (self._bad, dearest), {"outcome": "no room", "name": None})
            return
        name = str(found.design)
        for earlier in _trained(study):
            if earlier.user_attrs[_RESULT]["name"] == name:
                self._tell(study, trial, _point(earlier), {"outcome": "repeated", "name": name})
                return
        number = len(_trained(study)) + 1
        title = f"trial {number} of {trials}"
        log(f"{title}: {name}, {found.latency_ms:.3g} ms predicted, {found.load:.0%} of the budget")
        self._tell(study, trial, *self._result(study, found, title))

    def _result(
        self, study: optuna.Study, found: Candidate, title: str
    ) -> tuple[Point, dict[str, Any]]:
        """Trains a candidate: (what the sampler is told, what is kept of it)."""
        start = time.perf_counter()
        judged: list[Judgement] = []
        outcome, note = "complete", ""

        def go_on(judgement: Judgement) -> bool:
            nonlocal outcome, note
            if not math.isfinite(judgement.loss):
                raise TrainingError(f"The loss became {judgement.loss}.")
            judged.append(judgement)
            lost = judgement.float_top1 - judgement.top1
            if lost > _BROKEN:
                outcome, note = "broken", f": {100 * lost:.0f} points of top-1 lost as int8"
            elif judgement.epoch < self._rungs[-1] and not self._is_ahead(study, found, judgement):
                outcome, note = "stopped", ": behind the better half of those before"
            return outcome == "complete"

        try:
            self._train(found, self._rungs, go_on)
        except (TrainingError, ConversionError) as exc:
            outcome, note = "failed", f": {exc}"
        loss = judged[-1].loss if judged else self._bad
        if outcome in ("broken", "failed"):
            loss = max(loss, self._bad)
        shown = f", top-1 {judged[-1].top1:.1%}, loss {judged[-1].loss:.3f}" if judged else ""
        epochs = judged[-1].epoch if judged else 0
        log(f"{title}: {outcome} after {epochs} of {self._rungs[-1]} epochs{shown}{note}")
        return (loss, found.latency_ms), {
            "outcome": outcome,
            "note": note.removeprefix(": "),
            "name": str(found.design),
            "design": dataclasses.asdict(found.design),
            "multiply_adds": found.multiply_adds,
            "load": found.load,
            "predicted": {name: dataclasses.asdict(cost) for name, cost in found.costs.items()},
            "rungs": [dataclasses.asdict(each) for each in judged],
            "seconds": round(time.perf_counter() - start, 1),
        }

    def _is_ahead(self, study: optuna.Study, found: Candidate, judgement: Judgement) -> bool:
        others: list[Point] = [
            (rung["loss"], _point(trial)[1])
            for trial in _trained(study)
            for rung in trial.user_attrs[_RESULT]["rungs"]
            if rung["epoch"] == judgement.epoch
        ]
        mine = (judgement.loss, found.latency_ms)
        return place_of(mine, others) < math.ceil(_KEPT * (len(others) + 1))

    def _propose(self, study: optuna.Study) -> Trial:
        done = len(ended_trials(study))
        first = self._room.within[0].design
        if done == 0 and not study.get_trials(states=(TrialState.WAITING,)):
            asked = {name: getattr(first, name) for name in self._space}
            study.enqueue_trial({**asked, "share": SHARES[0]})
        study.sampler = sampler_of(self._seed, done, n_startup_trials=_STARTUP)
        trial = study.ask()
        for name, values in self._space.items():
            trial.suggest_categorical(name, values)
        trial.suggest_categorical("share", SHARES)
        return trial

    @property
    def _space(self) -> dict[str, tuple[Any, ...]]:
        names = ("input_size", "blocks", "expansion", "head")
        return {name: self._room.values(name) for name in names}

    def _candidate(self, params: dict[str, Any]) -> Candidate | None:
        return self._room.find(**params)

    def _tell(
        self, study: optuna.Study, trial: Trial, values: Point, result: dict[str, Any]
    ) -> None:
        trial.set_user_attr(_RESULT, result)
        study.tell(trial, values)


def place_of(mine: Point, others: Sequence[Point]) -> int:
    """How many of the others come before: first those that none beats in both, the best loss first.

    Args:
        mine: (loss, latency).
        others: The same of each other.
    """
    before = 0
    for front in fronts([*others, mine]):
        if mine in front:
            return before + sum(each[0] < mine[0] for each in front)
        before += len(front)
    raise AssertionError("it is in one of them")


def fronts(points: Sequence[Point]) -> Iterator[list[Point]]:
    """The points that no other beats in both values; then those of what is left, and so on."""
    left = list(points)
    while left:
        front = [each for each in left if not any(_beats(other, each) for other in left)]
        yield front
        left = [each for each in left if each not in front]


def _beats(one: Point, other: Point) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]


def finalists(made: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Of the trials that came to their end those that no other beats, the most accurate first."""
    complete = [each for each in made if each["outcome"] == "complete"]
    points = {each["name"]: (each["rungs"][-1]["loss"], _latency(each)) for each in complete}
    front = next(fronts(list(points.values())), [])
    best = sorted(
        (each for each in complete if points[each["name"]] in front),
        key=lambda each: points[each["name"]],
    )
    return best[:count]


def _latency(result: dict[str, Any]) -> float:
    return float(next(iter(result["predicted"].values()))["latency_ms"])


def _point(trial: FrozenTrial) -> Point:
    loss, latency = trial.values
    return loss, latency


def _trained(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that took work, in order."""
    return [
        trial for trial in ended_trials(study) if trial.user_attrs[_RESULT]["outcome"] in TRAINED
    ]
