"""The search within a budget: which trials go on, and that a stop changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeclf.errors import ConversionError, TrainingError
from edgeclf.training.budget_config import BudgetConfig

pytest.importorskip("keras", reason="needs edgeclf[train]")
optuna = pytest.importorskip("optuna", reason="needs edgeclf[search]")

from edgeclf.training import budget  # noqa: E402
from edgeclf.training.budget import Budget, Candidate, Room, find_room  # noqa: E402
from edgeclf.training.design_search import (  # noqa: E402
    DesignSearch,
    GoOn,
    Judgement,
    finalists,
    fronts,
    place_of,
    rungs,
)
from edgeclf.training.study_file import opened  # noqa: E402
from support.budgets import MadeUpTable  # noqa: E402

Loss = Callable[[Candidate, int], float]


@pytest.fixture(scope="module")
def room() -> Room:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "INPUT_SIZES", (64, 96, 128))
        patch.setattr(budget, "BLOCKS", (4, 6, 8))
        config = BudgetConfig(teacher="T.keras", device="pi.json", max_latency_ms=1.0)
        return find_room(Budget(config, MadeUpTable(), 4))


def likes_depth(found: Candidate, epoch: int) -> float:
    """The loss of a made-up family in which deep networks of small photos are the best."""
    return 1 / found.design.blocks + found.design.input_size / 1e3 + 0.2 / epoch


class Made:
    """A search whose students cost nothing."""

    def __init__(self, room: Room, folder: Path, loss: Loss = likes_depth, seed: int = 0) -> None:
        self.asked: list[str] = []
        self.learnt: list[int] = []
        self._loss = loss
        self.search = DesignSearch(
            room, self.train, 4, {"settings": {"seed": seed}}, folder / "m.fit.db", epochs=4,
            seed=seed,
        )  # fmt: skip

    def train(self, found: Candidate, epochs: Sequence[int], go_on: GoOn) -> None:
        self.asked.append(str(found.design))
        for epoch in epochs:
            self.learnt.append(epoch)
            if not go_on(Judgement(epoch, self._loss(found, epoch), 0.8, 0.8)):
                return


def plain(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in each.items() if k != "seconds"} for each in made]


def test_trials_are_judged_after_a_quarter_half_and_all_epochs() -> None:
    assert rungs(4) == (1, 2, 4) and rungs(3) == (1, 2, 3) and rungs(1) == (1,)
    assert rungs(12) == (3, 6, 12)


def test_the_largest_design_comes_first_and_no_design_twice(room: Room, tmp_path: Path) -> None:
    made = Made(room, tmp_path)
    results = made.search.run(9)
    assert made.asked[0] == str(room.within[0].design)
    assert len(set(made.asked)) == len(made.asked) == len(results) == 9
    assert all(each["load"] <= 1 for each in results)
    stopped = [each for each in results if each["outcome"] == "stopped"]
    assert 1 < len(stopped) < 9 and {len(each["rungs"]) for each in stopped} <= {1, 2}
    assert {len(each["rungs"]) for each in results if each["outcome"] == "complete"} == {3}


def test_a_search_that_is_stopped_ends_as_one_that_is_not(
    room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Made(room, tmp_path / "whole").search.run(6)
    left = 8

    def until_stopped(found: Candidate, epoch: int) -> float:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return likes_depth(found, epoch)

    with pytest.raises(KeyboardInterrupt):
        Made(room, tmp_path, until_stopped).search.run(6)
    assert "the same command goes on with trial " in capsys.readouterr().err
    rest = Made(room, tmp_path)
    assert plain(rest.search.run(6)) == plain(whole)
    assert 0 < len(rest.asked) < 6
    again = Made(room, tmp_path)
    assert plain(again.search.run(6)) == plain(whole) and not again.asked
    assert plain(again.search.run(3)) == plain(whole[:3])
    other = Made(room, tmp_path, seed=1)
    assert plain(other.search.run(3)) != plain(whole[:3])
    assert "searching anew: seed was 0, is 1" in capsys.readouterr().err


def test_what_int8_breaks_is_stopped_at_once_and_told_as_bad(room: Room, tmp_path: Path) -> None:
    made = Made(room, tmp_path)

    def train(found: Candidate, epochs: Sequence[int], go_on: GoOn) -> None:
        is_broken = found.design.blocks < 8
        for epoch in epochs:
            top1 = 0.25 if is_broken else 0.8
            if not go_on(Judgement(epoch, likes_depth(found, epoch), top1, 0.8)):
                return
        assert not is_broken

    made.search._train = train
    results = made.search.run(7)
    broken = [each for each in results if each["outcome"] == "broken"]
    assert broken and {each["note"] for each in broken} == {"55 points of top-1 lost as int8"}
    assert all(len(each["rungs"]) == 1 and each["design"]["blocks"] < 8 for each in broken)
    assert all(each["design"]["blocks"] == 8 for each in finalists(results, 9))
    with opened(tmp_path / "m.fit.db") as storage:
        (name,) = optuna.get_all_study_names(storage)
        trials = optuna.load_study(study_name=name, storage=storage).trials
    assert {trial.state.name for trial in trials} == {"COMPLETE"}, "the sampler learns from others"
    told = {trial.user_attrs["result"]["name"]: trial.values[0] for trial in trials}
    assert {told[each["name"]] for each in broken} == {2 * math.log(4)}


def test_a_trial_that_fails_does_not_end_the_search(room: Room, tmp_path: Path) -> None:
    def loss(found: Candidate, epoch: int) -> float:
        if found.design == room.within[0].design:
            raise ConversionError("It cannot be converted.")
        return math.nan if found.design.input_size != 96 else likes_depth(found, epoch)

    results = Made(room, tmp_path, loss).search.run(5)
    notes = {each["note"] for each in results if each["outcome"] == "failed"}
    assert notes == {"It cannot be converted.", "The loss became nan."}
    with pytest.raises(TrainingError, match="None of 3 trials came to its end"):
        Made(room, tmp_path / "all", lambda *_: math.inf).search.run(3)


def test_a_search_ends_where_no_design_is_left(room: Room, tmp_path: Path) -> None:
    few = Room(room.within[:2], room.looked_at)
    results = Made(few, tmp_path).search.run(9)
    assert 1 <= len(results) <= 2


def test_fronts_and_places() -> None:
    good, cheap, worse, worst = (0.1, 2.0), (0.3, 1.0), (0.2, 3.0), (0.4, 4.0)
    assert list(fronts([worst, good, worse, cheap])) == [[good, cheap], [worse], [worst]]
    assert place_of(good, [cheap, worse, worst]) == 0
    assert place_of(cheap, [good, worse, worst]) == 1
    assert place_of(worst, [good, cheap, worse]) == 3


def test_finalists_are_those_that_no_other_beats_the_most_accurate_first() -> None:
    def trial(name: str, loss: float, ms: float, outcome: str = "complete") -> dict[str, Any]:
        predicted = {"int8.tflite": {"latency_ms": ms}}
        return {"name": name, "outcome": outcome, "predicted": predicted,
                "rungs": [{"loss": loss}]}  # fmt: skip

    made = [trial("a", 0.3, 1.0), trial("b", 0.1, 2.0), trial("c", 0.2, 2.5),
            trial("d", 0.0, 0.1, "stopped"), trial("e", 0.2, 1.5)]  # fmt: skip
    assert [each["name"] for each in finalists(made, 3)] == ["b", "e", "a"]
    assert [each["name"] for each in finalists(made, 2)] == ["b", "e"]
