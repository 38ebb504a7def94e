from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeclf.errors import MissingDependencyError, OptionError, TrainingError
from edgeclf.image import ImageSpec
from edgeclf.train import train
from edgeclf.training.config import TrainingConfig
from edgeclf.training.data import TrainingData

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
optuna = pytest.importorskip("optuna", reason="needs edgeclf[search]")

from edgeclf.training import search  # noqa: E402
from edgeclf.training.fit import TrainingRun  # noqa: E402
from edgeclf.training.search import PruningCallback, Search  # noqa: E402
from edgeclf.training.study_file import opened  # noqa: E402

SPEC = ImageSpec(32, 32)
PHOTOS = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8), np.arange(8) % 2


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Search]:
    """A search of a student from nothing: make(epochs=2, weights="none")."""

    def build(backbone: str = "student-xs", *, weights: str = "none", **options: Any) -> Search:
        config = TrainingConfig(**{"backbone": backbone, "weights": weights, "epochs": 2} | options)
        return Search(
            TrainingRun(PHOTOS, config, validation=PHOTOS), 2, SPEC,
            {"settings": config.record()}, tmp_path / "cats? #1" / "cats-teacher.search.db",
        )  # fmt: skip

    return build


Losses = Callable[[TrainingConfig, int], float]


def far(config: TrainingConfig, epoch: int) -> float:
    """The loss of a made-up network that wants a rate of 5e-3 and no augmentation."""
    assert config.learning_rate is not None
    return abs(math.log(config.learning_rate / 5e-3)) + config.augmentation / 4 + 1 / epoch


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[Losses], list[TrainingConfig]]:
    """Puts made-up losses in the place of training; returns the recipes as they are asked for."""

    def install(losses: Losses) -> list[TrainingConfig]:
        asked = []

        def train_nothing(self: Search, config: TrainingConfig, watcher: PruningCallback) -> int:
            asked.append(config)
            watcher.set_model(SimpleNamespace(stop_training=False))
            for epoch in range(config.epochs):
                loss = losses(config, epoch + 1)
                watcher.on_epoch_end(epoch, {"val_loss": loss, "val_accuracy": 0.5})
                if watcher.model.stop_training:
                    break
            return 1000

        monkeypatch.setattr(Search, "_train", train_nothing)
        return asked

    return install


def table(made: Search) -> list[dict[str, str]]:
    with made.path.with_suffix(".csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def states(made: Search) -> list[str]:
    with opened(made.path) as storage:
        names = optuna.get_all_study_names(storage)
        studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
        return [trial.state.name for study in studies for trial in study.trials]


def test_what_was_asked_for_comes_first_and_the_best_is_no_worse(
    make: Callable[..., Search],
    made_up: Callable[[Losses], list[TrainingConfig]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked, made = made_up(far), make()
    best = made.run(12)
    assert (asked[0].learning_rate, asked[0].augmentation) == (2e-3, 1.0)
    rows = table(made)
    assert [row["trial"] for row in rows] == [str(k) for k in range(1, 13)]
    assert rows[0]["backbone"] == "student-xs" and rows[0]["outcome"] == "complete"
    complete = [float(row["validation_loss"]) for row in rows if row["outcome"] == "complete"]
    assert far(best, 2) == min(complete) < complete[0]
    assert len({row["backbone"] for row in rows}) > 2 and len(set(map(str, asked))) > 6
    said = capsys.readouterr().err
    assert "trial 12 of 12: --backbone student" in said
    flags = said.split("the same without --search: ")[1].split()
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    assert given == {
        "--backbone": best.backbone, "--input-size": "32", "--augmentation":
        f"{best.augmentation}", "--learning-rate": f"{best.learning_rate}",
    }  # fmt: skip
    assert len(f"{best.learning_rate:.0e}".split("e")[0]) <= 3, "a rate that can be typed"


def test_the_settings_that_were_asked_for_may_be_the_best(
    make: Callable[..., Search],
    made_up: Callable[[Losses], list[TrainingConfig]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    made_up(lambda tried, epoch: float(tried.learning_rate != 1.2345e-3))
    made = make(learning_rate=1.2345e-3, augmentation=0.3)
    assert made.run(4) == made.asked.config
    assert "the settings that were asked for, which are kept" in capsys.readouterr().err
    assert table(made)[0]["learning_rate"] == "0.0012345"


def test_a_search_that_is_stopped_ends_as_one_that_is_not(
    make: Callable[..., Search],
    made_up: Callable[[Losses], list[TrainingConfig]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    left = 1

    def stop_soon(config: TrainingConfig, epoch: int) -> float:
        nonlocal left
        if epoch == 2:
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return far(config, epoch)

    made_up(stop_soon)
    made = make()
    with pytest.raises(KeyboardInterrupt):
        made.run(14)
    assert "the same command goes on with trial 2 of 14" in capsys.readouterr().err
    assert states(made) == ["COMPLETE", "RUNNING"]
    left = 3
    with pytest.raises(KeyboardInterrupt):
        make().run(14)
    assert "trials made before: 1\n" in capsys.readouterr().err
    left = 20
    best = make().run(14)
    stopped = table(made)
    assert states(made).count("FAIL") == 2 and "RUNNING" not in states(made)

    made.path.unlink()
    made_up(far)
    assert make().run(14) == best
    assert table(made) == stopped


def test_trials_of_other_settings_are_kept_apart(
    make: Callable[..., Search],
    made_up: Callable[[Losses], list[TrainingConfig]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = made_up(far)
    make().run(3)
    make(seed=1).run(2)
    assert "with other settings; searching anew: seed was 0, is 1\n" in capsys.readouterr().err
    first, second = (dataclasses.replace(config, seed=0) for config in asked[3:])
    assert len(asked) == 5 and asked[0] == first and asked[1] != second
    make().run(4)
    assert len(asked) == 6 and "trials made before: 3\n" in capsys.readouterr().err
    make().run(2)
    assert len(asked) == 6, "more were made than are asked for now"


def test_a_trial_that_is_no_number_does_not_end_the_search(
    make: Callable[..., Search],
    made_up: Callable[[Losses], list[TrainingConfig]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    made_up(lambda config, epoch: math.nan if config.learning_rate == 2e-3 else 1.0)
    made = make()
    assert made.run(4).learning_rate != 2e-3
    assert [row["outcome"] for row in table(made)] == ["failed", *["complete"] * 3]
    said = capsys.readouterr().err
    assert "failed after 0 epochs: The validation loss became nan in epoch 1." in said
    assert "with the settings that were asked for: failed" in said

    made_up(lambda config, epoch: math.inf)
    with pytest.raises(TrainingError, match="None of 3 trials came to its end"):
        make(seed=5).run(3)


def test_a_trial_behind_the_others_is_stopped_and_the_first_epochs_are_not_judged(
    make: Callable[..., Search], made_up: Callable[[Losses], list[TrainingConfig]]
) -> None:
    made_up(far)
    made = make(epochs=6)
    made.run(16)
    rows = table(made)
    stopped = [int(row["epochs"]) for row in rows if row["outcome"] == "stopped"]
    assert stopped and set(stopped) <= {3, 4, 5}
    assert {row["epochs"] for row in rows if row["outcome"] == "complete"} == {"6"}


@pytest.mark.parametrize(("patience", "loss"), [(None, "3"), (2, "1")])
def test_a_run_that_stops_early_is_judged_by_the_weights_it_keeps(
    make: Callable[..., Search],
    made_up: Callable[[Losses], list[TrainingConfig]],
    patience: int | None,
    loss: str,
) -> None:
    made_up(lambda config, epoch: abs(epoch - 2) + 1)
    made = make(epochs=4, early_stopping=patience)
    made.run(1)
    assert table(made)[0]["validation_loss"] == loss


def test_only_a_student_from_nothing_has_widths(
    make: Callable[..., Search],
    made_up: Callable[[Losses], list[TrainingConfig]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    made_up(far)
    for backbone, weights in (("student-s", "a.h5"), ("efficientnet-lite0", "none")):
        made = make(backbone, weights=weights)
        made.run(5)
        assert {row["backbone"] for row in table(made)} == {backbone}
        said = capsys.readouterr().err
        assert f"no width, {backbone} has one" in said and "--backbone" not in said


def test_heads_of_the_same_augmentation_are_fitted_once(
    make: Callable[..., Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[float] = []
    heads: list[tuple[float, float]] = []

    def fit_head(model: Any, run: TrainingRun) -> None:
        strength = run.config.augmentation
        fitted.append(strength)
        kernel, bias = model.get_layer("logits").get_weights()
        model.get_layer("logits").set_weights([kernel, bias + 1 + strength])

    def fine_tune(model: Any, run: TrainingRun, *, unfreeze_from: str) -> None:
        bias = float(model.get_layer("logits").get_weights()[1][0])
        heads.append((run.config.augmentation, bias))
        (watcher,) = run.callbacks
        watcher.set_model(SimpleNamespace(stop_training=False))
        for epoch in range(2):
            watcher.on_epoch_end(epoch, {"val_loss": 1.0, "val_accuracy": 0.5})

    monkeypatch.setattr(search, "fit_head", fit_head)
    monkeypatch.setattr(search, "fine_tune", fine_tune)
    monkeypatch.setattr("edgeclf.networks.builder.find_weights", lambda *_, **__: None)
    make(weights="imagenet").run(6)
    assert len(heads) == 6 and sorted(fitted) == sorted({strength for strength, _ in heads})
    assert all(bias == 1 + strength for strength, bias in heads)


def test_another_file_is_refused(make: Callable[..., Search]) -> None:
    made = make()
    made.path.parent.mkdir()
    made.path.write_bytes(b"no database at all" * 100)
    with pytest.raises(TrainingError, match="is no search that this version of Optuna reads"):
        made.run(1)


@pytest.fixture
def two_widths(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only the two smallest students, which compile in a second or two."""
    monkeypatch.setattr(search, "STUDENTS", ("student-xs", "student-s"))
    yield


@pytest.mark.slow
@pytest.mark.usefixtures("two_widths")
def test_the_best_trial_is_trained_and_no_evaluation_photo_decides(
    make_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos, out = make_folder(cat=20, dog=20), tmp_path / "out"
    options: dict[str, Any] = {
        "backbone": "student-xs", "weights": "none", "input_size": 32, "epochs": 1, "out": out,
    }  # fmt: skip
    looked_at: list[Path] = []
    original, run = TrainingData.images, Search.run

    def look(self: TrainingData, wanted: Any, spec: ImageSpec) -> Any:
        looked_at.extend(wanted.paths)
        return original(self, wanted, spec)

    def run_and_check(self: Search, trials: int) -> Any:
        assert len(self.asked.validation[1]) == 6 and len(self.asked.examples[1]) == 28
        found = run(self, trials)
        assert len(set(looked_at)) == 34, "15 % of 40 are for evaluation"
        return found

    monkeypatch.setattr(TrainingData, "images", look)
    monkeypatch.setattr(Search, "run", run_and_check)
    artifact = train(photos, search=3, **options)
    said = capsys.readouterr().err
    assert "trial 3 of 3: complete after 1 epochs, validation loss " in said
    with (out / "data-teacher.search.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == search.COLUMNS and len(rows) == 3
    best = min(rows, key=lambda row: float(row["validation_loss"]))
    settings = artifact.metadata.training["settings"]  # type: ignore[index]
    assert settings["search"] == 3 and settings["backbone"] == best["backbone"]
    assert settings["augmentation"] == float(best["augmentation"])
    assert settings["learning_rate"] in (None, float(best["learning_rate"]))
    assert {int(row["parameters"]) for row in rows} >= {artifact.metadata.parameters}
    assert len(set(looked_at)) == 40


def test_what_cannot_be_searched_is_said_before_the_photos_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path / "no photos here"
    with pytest.raises(OptionError, match="search is 0; expected at least 1"):
        train(nowhere, search=0)
    with pytest.raises(OptionError, match="'multi-worker' and search 2; expected none or mirrored"):
        train(nowhere, search=2, distribute="multi-worker")
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeclf\[search\]'"):
        train(nowhere, search=2)
