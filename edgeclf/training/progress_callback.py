"""The progress of a Keras training run, drawn as edgeclf's bar."""

from __future__ import annotations

import math
from typing import Any

from edgeclf.errors import TrainingError
from edgeclf.networks.backend import keras
from edgeclf.system.progress import Progress


class ProgressCallback(keras.callbacks.Callback):
    """Draws edgeclf's bar over all epochs and stops a run whose loss is not a number.

    Args:
        title: What is being trained.
        metric: Keras' name of the accuracy shown beside the loss.
    """

    def __init__(self, title: str, metric: str = "accuracy") -> None:
        super().__init__()
        self._title, self._metric = title, metric
        self._epoch = self._steps = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts the bar."""
        self._progress = Progress(self._title, self.params["epochs"] * self.params["steps"])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch's number, counted from 1, and passes over those of an earlier run."""
        if self._epoch == 0 and epoch > 0:
            self._progress.advance(epoch * self.params["steps"])
        self._epoch, self._steps = epoch + 1, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Advances the bar by the steps that were taken at once, or stops the run."""
        logs = logs or {}
        loss = logs.get("total_loss", logs.get("loss", 0.0))
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss of {self._title!r} became {loss} in epoch {self._epoch}. "
                "Lower the learning rate, or check the photos of that class."
            )
        note = f"epoch {self._epoch}  loss {loss:.3f}"
        if self._metric in logs:
            note += f"  accuracy {logs[self._metric]:.3f}"
        steps = min(batch + 1, self.params["steps"])
        self._progress.advance(steps - self._steps, note)
        self._steps = steps

    def on_train_end(self, logs: Any = None) -> None:
        """Ends the bar of a run that was stopped early."""
        self._progress.close()
