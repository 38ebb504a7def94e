"""Keeping a run: its state goes to disk after each epoch, unless it is one to throw away."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from edgeclf.errors import TrainingError
from edgeclf.networks.backend import keras
from edgeclf.system.progress import log
from edgeclf.training.batch_loader import BatchLoader
from edgeclf.training.run_folder import RunFolder, State


class CheckpointCallback(keras.callbacks.Callback):
    """Logs and saves each epoch, restores the last one, and stops early if asked to.

    Saved are all variables of the trainer, among them BatchNorm's statistics and the states of
    random layers, and the optimizer's.

    Args:
        folder: Where to; None keeps nothing.
        phase: What is being trained.
        patience: After how many epochs without a smaller validation loss to stop; None never.
    """

    def __init__(self, folder: RunFolder | None, phase: str, patience: int | None = None) -> None:
        super().__init__()
        self._folder, self._phase, self._patience = folder, phase, patience
        self._best_loss, self._best_epoch = math.inf, 0
        self._best: State = {}

    @contextmanager
    def watching(self, trainer: keras.Model, feed: BatchLoader) -> Iterator[None]:
        """The block that trains `trainer` from `feed`, whose waits are logged; closes the feed.

        After a loss that is not a number, the trainer holds the last weights that were good.

        Raises:
            TrainingError: The block's; it says so when the run failed there before.
        """
        self._feed = feed
        try:
            yield
        except TrainingError as exc:
            self.restore(trainer)
            if self._folder is not None and self._folder.fail():
                raise TrainingError(
                    f"{exc} It came to this after the same epoch before, and with the same "
                    "settings it always will. Change them, first of all the learning rate: the "
                    "run then starts anew."
                ) from exc
            raise
        finally:
            feed.close()

    def restore(self, trainer: keras.Model) -> int:
        """Puts the saved state of this phase into `trainer`; returns how many epochs are done."""
        folder = self._folder
        if folder is None or folder.phase != self._phase:
            return 0
        trainer.optimizer.build(trainer.trainable_variables)
        restore_state(trainer, folder.state())
        if folder.extra:
            self._best_loss = folder.extra["best_loss"]
            self._best_epoch = folder.extra["best_epoch"]
            self._best = folder.load_arrays("best.npz")
        return folder.epoch

    def stopped(self, epochs_done: int) -> bool:
        """Whether the validation loss has not fallen for as long as the patience allows."""
        return (
            self._patience is not None
            and self._best_epoch > 0
            and epochs_done - self._best_epoch >= self._patience
        )

    def take_best(self, trainer: keras.Model) -> None:
        """Puts the weights of the smallest validation loss into `trainer`."""
        if self._best:
            restore_state(trainer, self._best)
            log(
                f"kept the weights of epoch {self._best_epoch}, "
                f"validation loss {self._best_loss:.3f}"
            )

    def on_train_begin(self, logs: Any = None) -> None:
        """Saves where the phase starts, so that the one before it need not be repeated."""
        if self._folder is not None and self._folder.phase != self._phase:
            self.model.optimizer.build(self.model.trainable_variables)
            self._folder.save(self._phase, 0, trainer_state(self.model))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the epoch's clocks."""
        self._start, self._waited = time.perf_counter(), self._feed.waited_s

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Logs and saves the epoch, or stops the run where it has gone wrong."""
        logs, done = logs or {}, epoch + 1
        state = trainer_state(self.model)
        if not all(np.isfinite(array).all() for array in state.values() if array.dtype.kind == "f"):
            raise TrainingError(
                f"Weights of {self._phase!r} are not numbers after epoch {done}. "
                "Lower the learning rate."
            )
        if self._patience is not None and logs["val_loss"] < self._best_loss:
            self._best_loss, self._best_epoch, self._best = logs["val_loss"], done, state
            if self._folder is not None:
                self._folder.save_arrays("best.npz", state)
        if self.stopped(done):
            self.model.stop_training = True
        if self._folder is not None:
            self._folder.rows.append(self._row(done, logs))
            best = {"best_loss": self._best_loss, "best_epoch": self._best_epoch}
            self._folder.save(self._phase, done, state, **(best if self._best_epoch else {}))

    def _row(self, epoch: int, logs: dict[str, Any]) -> dict[str, Any]:
        seconds = time.perf_counter() - self._start
        # Of several outputs, Keras says which one's accuracy it is.
        accuracy = next(v for k, v in logs.items() if re.fullmatch(r"(?!val_)(\w+_)?accuracy", k))
        row = {
            "phase": self._phase,
            "epoch": epoch,
            "loss": logs["loss"],
            "accuracy": accuracy,
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": seconds,
            "waiting_share": (self._feed.waited_s - self._waited) / seconds,
        }
        for name in ("loss", "accuracy"):
            if f"val_{name}" in logs:
                row[f"validation_{name}"] = logs[f"val_{name}"]
        return row


def trainer_state(trainer: keras.Model) -> State:
    """All variables of a compiled model and of its optimizer, numbered in Keras's order."""
    return {
        f"{kind}/{number:05}": np.array(keras.ops.convert_to_numpy(variable))
        for kind, variables in _variables(trainer)
        for number, variable in enumerate(variables)
    }


def restore_state(trainer: keras.Model, state: State) -> None:
    """Puts what `trainer_state` returned into a model of the same making.

    Raises:
        TrainingError: It was not of the same making.
    """
    for kind, variables in _variables(trainer):
        for number, variable in enumerate(variables):
            array = state.get(f"{kind}/{number:05}")
            if array is None or array.shape != tuple(variable.shape):
                raise TrainingError(
                    f"The checkpoint does not hold {kind} variable {variable.path} of shape "
                    f"{tuple(variable.shape)}. Delete the run folder to train anew."
                )
            variable.assign(array)


def _variables(trainer: keras.Model) -> tuple[tuple[str, Any], ...]:
    return ("model", trainer.variables), ("optimizer", trainer.optimizer.variables)
