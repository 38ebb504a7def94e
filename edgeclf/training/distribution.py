"""Training on several devices or machines at once, by `tf.distribute`.

Every batch is split among the replicas and their gradients are added up, so batch size, steps and
learning rate mean what they mean on one device.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from typing import Any

from edgeclf.errors import OptionError
from edgeclf.networks.backend import keras, tf
from edgeclf.system.progress import log
from edgeclf.training.data import TrainingData
from edgeclf.training.run_folder import discard

_EXPECTED = (
    'TF_CONFIG={"cluster": {"worker": ["host1:port", "host2:port"]}, '
    '"task": {"type": "worker", "index": 0}}, with another index on each machine'
)


@functools.cache
def open_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of that name; several machines must be joined before TensorFlow does anything.

    Args:
        name: ``none``, ``mirrored`` (the devices of
            this machine) or ``multi-worker`` (the machines that TF_CONFIG lists, one process each).

    Raises:
        OptionError: The devices or machines for it are not there.
    """
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if len(found) < 2:
            raise OptionError(
                f"'mirrored' needs two devices; TensorFlow finds {found[0].name} only. "
                "Train without --distribute."
            )
        return tf.distribute.MirroredStrategy([device.name for device in found])
    worker_index()  # refuses a TF_CONFIG that TensorFlow would wait for without end
    return tf.distribute.MultiWorkerMirroredStrategy()


def worker_index() -> int:
    """This process's number among the workers of TF_CONFIG; 0 is the one that writes results.

    Raises:
        OptionError: TF_CONFIG does not say.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        index = int(task["index"])
    except (ValueError, KeyError, TypeError):
        raise OptionError(
            f"'multi-worker' is set up by TF_CONFIG, which is {text!r}; expected {_EXPECTED}."
        ) from None
    if task.get("type") != "worker" or not 0 <= index < len(workers):
        raise OptionError(f"TF_CONFIG names no worker of its cluster; expected {_EXPECTED}.")
    return index


def data_of_worker(data: TrainingData, run: str) -> TrainingData:
    """The task of this process among several: all but the first write into folders of their own.

    Epochs end on all machines together, but are saved by each for itself: machines that were
    stopped in between could go on from different ones. So what an earlier run left is removed.

    Args:
        data: What all of them work on.
        run: Name of the run folder.
    """
    index = worker_index()
    folder = data.folder / f"worker-{index}" if index else data.folder
    if discard(folder / run):
        log(f"starting anew: what an earlier run left in {folder / run} is removed")
    return dataclasses.replace(data, folder=folder)


def prepare_for_replicas(trainer: keras.Model, batch: tuple[Any, Any]) -> None:
    """Makes `fit` of a compiled model right over several devices or machines; Keras 3 errs there.

    To build the metrics Keras reads a batch: over several devices every epoch then gets the photos
    of the next one's order, over several machines the strategy forbids it. They are built here
    instead. Over several machines Keras's own step also reduces scalars along an axis that they do
    not have (keras-team/keras#20585), and is replaced. On one device nothing changes.

    Args:
        trainer: Made and compiled in the strategy's scope.
        batch: Inputs and targets of a few examples.
    """
    strategy = trainer.distribute_strategy
    machines = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    if not machines and strategy.num_replicas_in_sync == 1:
        return
    with strategy.scope():
        trainer._symbolic_build(data_batch=tuple(map(tf.constant, batch)))
    trainer._maybe_symbolic_build = lambda **_: None
    if not machines:
        return

    def step(iterator: Any) -> dict[str, tf.Tensor]:
        logs = strategy.run(trainer.train_step, args=(next(iterator),))
        return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

    trainer.train_function = tf.function(step, reduce_retracing=True)


def twin_of(model: keras.Model) -> keras.Model:
    """A copy of `model` whose variables belong to the strategy in whose scope this is called."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin
