"""Searching a run's settings: trials, judged by training photos that are set aside.

Optuna (Akiba et al., 2019) proposes the settings and stops trials that fall behind.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import time
from pathlib import Path
from typing import Any

import numpy.typing as npt
import optuna
from optuna.trial import Trial, TrialState

from edgeclf.errors import TrainingError
from edgeclf.image import ImageSpec
from edgeclf.networks.backend import keras
from edgeclf.networks.builder import BACKBONES, build_classifier
from edgeclf.networks.student import STUDENTS
from edgeclf.system import files
from edgeclf.system.progress import log
from edgeclf.system.words import csv_cell
from edgeclf.training.config import TrainingConfig
from edgeclf.training.fit import (
    FINE_TUNING_RATE,
    FROM_SCRATCH_RATE,
    TrainingRun,
    fine_tune,
    fit_from_scratch,
    fit_head,
    use_seed,
)
from edgeclf.training.precision import computing_in
from edgeclf.training.study_file import ended_trials, open_study, opened, sampler_of

COLUMNS = (
    "trial",
    "outcome",
    "backbone",
    "parameters",
    "learning_rate",
    "augmentation",
    "epochs",
    "validation_loss",
    "validation_accuracy",
    "seconds",
)
_RATE_FACTOR = 10  # each way from the rate of the first trial
_STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0)
_RESULT = "result"  # of a trial: a column of the table each


class Search:
    """Trials of settings, kept in a file.

    The first trial is what was asked for. From it, the others differ in the peak learning rate
    (up to ten times, each way), the strength of augmentation and, for a student that starts from
    nothing, the width. All have the same photos, seed and epochs.

    Args:
        asked: The run that was asked for. Its config says where each trial starts, its seed decides
            the proposals too, and its validation is what the trials are judged by.
        classes: How many.
        spec: How photos become the input of every network tried.
        conditions: All that decides how a trial ends, as nested dictionaries of plain JSON types.
            Trials under others are kept apart.
        path: The SQLite file; the table of the trials lies beside it as ``.csv``.
    """

    def __init__(
        self,
        asked: TrainingRun,
        classes: int,
        spec: ImageSpec,
        conditions: dict[str, Any],
        path: Path,
    ) -> None:
        self.asked, self.path = asked, path
        self._config = asked.config
        self._classes, self._spec, self._conditions = classes, spec, conditions
        self._heads: dict[float, list[npt.NDArray[Any]]] = {}

    def run(self, trials: int) -> TrainingConfig:
        """Makes as many trials as are left to make `trials`, and picks the best of all.

        Returns:
            What was asked for, with the settings of the smallest validation loss.

        Raises:
            TrainingError: The file is no search of ours, or no trial came to its end.
        """
        with opened(self.path) as storage:
            study = self._study(storage)
            try:
                while (done := len(ended_trials(study))) < trials:
                    self._make_trial(study, done, trials)
                    self._write_table(study)
            except KeyboardInterrupt:
                log(f"\ninterrupted; the same command goes on with trial {done + 1} of {trials}")
                raise
            self._write_table(study)
            return self._best(study)

    def _study(self, storage: optuna.storages.RDBStorage) -> optuna.Study:
        """The study under these conditions, new or as far as it got."""
        # Until the rate has warmed up, losses tell little.
        pruner = optuna.pruners.MedianPruner(n_warmup_steps=1 + self._config.epochs // 3)
        study, is_new = open_study(storage, self.path, self._conditions, pruner=pruner)
        if not is_new:
            return study
        assert self.asked.validation is not None
        widths = self._widths
        width = f"width {', '.join(widths)}" if widths[1:] else f"no width, {widths[0]} has one"
        log(
            f"search {study.study_name} in {self.path}: learning rate "
            f"{self._rate / _RATE_FACTOR:g} to {self._rate * _RATE_FACTOR:g}, "
            f"augmentation {', '.join(map(str, self._strengths))}, {width}; "
            f"judged by {len(self.asked.validation[1])} training photos set aside"
        )
        return study

    @property
    def _rate(self) -> float:
        default = FROM_SCRATCH_RATE if self._config.weights == "none" else FINE_TUNING_RATE
        return self._config.learning_rate or default

    @property
    def _strengths(self) -> tuple[float, ...]:
        return tuple(sorted({*_STRENGTHS, self._config.augmentation}))

    @property
    def _widths(self) -> tuple[str, ...]:
        free = self._config.backbone in STUDENTS and self._config.weights == "none"
        return tuple(STUDENTS) if free else (self._config.backbone,)

    @property
    def _first(self) -> dict[str, Any]:
        """The settings that were asked for, by Optuna's names."""
        return {
            "learning_rate": self._rate,
            "augmentation": self._config.augmentation,
            "backbone": self._config.backbone,
        }

    def _propose(self, study: optuna.Study, done: int) -> Trial:
        """The trial that comes after `done` others."""
        if done == 0 and not study.get_trials(states=(TrialState.WAITING,)):
            study.enqueue_trial(self._first)
        study.sampler = sampler_of(self._config.seed, done)
        trial = study.ask()
        rate = self._rate
        trial.suggest_float("learning_rate", rate / _RATE_FACTOR, rate * _RATE_FACTOR, log=True)
        trial.suggest_categorical("augmentation", self._strengths)
        trial.suggest_categorical("backbone", self._widths)
        return trial

    def _make_trial(self, study: optuna.Study, done: int, trials: int) -> None:
        trial = self._propose(study, done)
        config = self._settings(trial.params)
        title = f"trial {done + 1} of {trials}"
        log(f"{title}: {self._flags(config)}")
        start, parameters = time.perf_counter(), None
        watcher = PruningCallback(trial, self._config.epochs)
        try:
            parameters = self._train(config, watcher)
        except TrainingError as exc:
            outcome, note = "failed", f": {exc}"
        else:
            outcome, note = "complete", ""
            if watcher.behind:
                outcome, note = "stopped", ": behind the median of the trials before"
        # A run that stops early keeps its best weights, any other one its last.
        results = watcher.results
        stops = self._config.early_stopping is not None
        loss, accuracy = (min(results) if stops else results[-1]) if results else (None, None)
        result = {
            "outcome": outcome,
            "parameters": parameters,
            "epochs": len(results),
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            "seconds": round(time.perf_counter() - start, 3),
        }
        trial.set_user_attr(_RESULT, result)
        if outcome == "complete":
            study.tell(trial, loss)
        else:
            study.tell(trial, state=TrialState.PRUNED)
        judged = "" if loss is None else f", validation loss {loss:.4f}, top-1 {accuracy:.1%}"
        log(f"{title}: {outcome} after {len(results)} epochs{judged}{note}")

    def _train(self, config: TrainingConfig, watcher: PruningCallback) -> int:
        """Trains a network as `edgeclf.train` would; returns how many weights it has."""
        backbone = BACKBONES[config.backbone]
        use_seed(config.seed)
        with computing_in(config):
            model = build_classifier(
                backbone, self._classes, self._spec, weights=config.weights,
                download=config.download,
            )  # fmt: skip
        run = dataclasses.replace(self.asked, config=config, callbacks=(watcher,))
        if config.weights == "none":
            fit_from_scratch(model, run)
        else:
            # The head learns from frozen features, which only the augmentation changes.
            head = model.get_layer("logits")
            if config.augmentation not in self._heads:
                fit_head(model, run)
                self._heads[config.augmentation] = head.get_weights()
            head.set_weights(self._heads[config.augmentation])
            use_seed(config.seed)  # the same with a head from before
            fine_tune(model, run, unfreeze_from=backbone.unfreeze_from)
        return int(model.count_params())

    def _settings(self, params: dict[str, Any]) -> TrainingConfig:
        """A trial's settings; the rate is rounded to what is printed."""
        rate = params["learning_rate"]
        if rate != self._rate:
            rate = float(f"{rate:.2g}")
        return dataclasses.replace(self._config, **params | {"learning_rate": rate})

    def _flags(self, config: TrainingConfig) -> str:
        """The options of the command line that give these settings."""
        size = self._spec.height
        own = "" if size == BACKBONES[config.backbone].input_size else f" --input-size {size}"
        width = f"--backbone {config.backbone}{own} " if self._widths[1:] else ""
        rate, strength = config.learning_rate, config.augmentation
        return f"{width}--learning-rate {rate} --augmentation {strength}"

    def _best(self, study: optuna.Study) -> TrainingConfig:
        ended = ended_trials(study)
        complete = [trial for trial in ended if trial.state == TrialState.COMPLETE]
        if not complete:
            raise TrainingError(
                f"None of {len(ended)} trials came to its end; the reasons are above. Lower "
                "--learning-rate, or train without --search to see what is wrong."
            )
        best = min(complete, key=lambda trial: (trial.value, trial.number))
        number = ended.index(best) + 1
        result = (
            f"trial {number} of {len(ended)}, validation loss {best.value:.4f}, "
            f"top-1 {best.user_attrs[_RESULT]['validation_accuracy']:.1%}"
        )
        log(f"the trials are in {self._table}")
        if best.params == self._first:
            log(f"best: {result}: the settings that were asked for, which are kept")
            return self._config
        first, before = ended[0], "failed"
        if first in complete:
            before = f"{first.value:.4f}, {first.user_attrs[_RESULT]['validation_accuracy']:.1%}"
        config = self._settings(best.params)
        log(f"best: {result}; with the settings that were asked for: {before}")
        log(f"the same without --search: {self._flags(config)}")
        return config

    @property
    def _table(self) -> Path:
        return self.path.with_suffix(".csv")

    def _write_table(self, study: optuna.Study) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for number, trial in enumerate(ended_trials(study), 1):
            config = self._settings(trial.params)
            settings = {
                "trial": number,
                "backbone": config.backbone,
                "learning_rate": config.learning_rate,
                "augmentation": config.augmentation,
            }
            cells = settings | trial.user_attrs[_RESULT]
            writer.writerow({name: csv_cell(value) for name, value in cells.items()})
        files.write_text(self._table, text.getvalue())


class PruningCallback(keras.callbacks.Callback):
    """Tells Optuna how a trial does, and stops it where it falls behind.

    Args:
        trial: The trial.
        epochs: How many it may take; after the last, nothing is left to stop.

    Attributes:
        results: Validation loss and accuracy after each epoch.
        behind: Whether it was stopped.
    """

    def __init__(self, trial: Trial, epochs: int) -> None:
        super().__init__()
        self._trial, self._epochs = trial, epochs
        self.results: list[tuple[float, float]] = []
        self.behind = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Reports the epoch."""
        loss, accuracy = logs["val_loss"], logs["val_accuracy"]
        if not math.isfinite(loss):
            raise TrainingError(f"The validation loss became {loss} in epoch {epoch + 1}.")
        self.results.append((loss, accuracy))
        self._trial.report(loss, epoch + 1)
        over = epoch + 1 == self._epochs or self.model.stop_training
        if not over and self._trial.should_prune():
            self.behind = self.model.stop_training = True
