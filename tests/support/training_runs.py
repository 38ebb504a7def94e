"""Training runs that are stopped or go wrong in their midst, and what they leave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from edgeclf.artifact import Artifact
from edgeclf.networks.keras_model import load_model
from edgeclf.training.checkpoint import CheckpointCallback


def weights_of(artifact: Artifact) -> np.ndarray:
    return np.concatenate([w.ravel() for w in load_model(artifact).get_weights()])


@contextmanager
def no_feed_left() -> Iterator[None]:
    """A block that ends every thread of a feed that it starts."""
    before = threading.enumerate()
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert not [thread for thread in left if thread.name.startswith("edgeclf-feed")]


@contextmanager
def interrupted(kept: int = 1) -> Iterator[None]:
    """A block whose training is interrupted: it keeps some epochs, the next is trained and lost."""
    original = CheckpointCallback.on_epoch_end

    def interrupt(self: CheckpointCallback, epoch: int, logs: Any = None) -> None:
        if epoch == kept:
            raise KeyboardInterrupt
        original(self, epoch, logs)

    with pytest.MonkeyPatch.context() as patch, no_feed_left(), pytest.raises(KeyboardInterrupt):
        patch.setattr(CheckpointCallback, "on_epoch_end", interrupt)
        yield


@contextmanager
def going_wrong() -> Iterator[None]:
    """A block in which weights are no numbers from the second epoch on."""
    original = CheckpointCallback.on_epoch_begin

    def spoil(self: CheckpointCallback, epoch: int, logs: Any = None) -> None:
        original(self, epoch, logs)
        if epoch == 1:
            variable = self.model.trainable_variables[0]
            variable.assign(variable * np.nan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointCallback, "on_epoch_begin", spoil)
        yield
