"""Feeding a network from arrays: batches in a repeatable order, loaded ahead, the wait measured."""

from __future__ import annotations

import math
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.networks.backend import tf
from edgeclf.networks.keras_model import BATCH_SIZE

_AHEAD = 3  # batches


class BatchLoader:
    """Batches of (memory-mapped) arrays as a `tf.data.Dataset`, loaded by one thread.

    The order of an epoch depends on nothing but the seed and the epoch's number, so that a run
    which starts in its midst sees what an uninterrupted one would have seen. The thread lives as
    long as an epoch has batches left, or until `close`.

    Keras's `PyDataset` and `Dataset.from_generator`, which it is made of, keep one of two CPUs
    busy in the kernel while a student trains: its step takes twice as long.

    A subclass whose batches lie in no arrays overrides `_specs`, `_order_of` and `_load`.

    Args:
        inputs: Arrays with one row an example; several give a tuple a batch.
        targets: int64 [N].
        seed: Decides the order; None keeps that of the arrays.
        batch_size: Examples a batch.
        first_epoch: Number of the epoch that comes first.

    Attributes:
        dataset: The batches of one epoch; each time it is iterated, of the next one.
        waited_s: How long its readers have waited for data so far, in seconds.
    """

    def __init__(
        self,
        inputs: tuple[npt.NDArray[Any], ...],
        targets: npt.NDArray[np.int64],
        seed: int | None,
        batch_size: int = BATCH_SIZE,
        first_epoch: int = 0,
    ) -> None:
        self._arrays: tuple[npt.NDArray[Any], ...] = (*inputs, targets)
        self._seed, self._batch_size = seed, batch_size
        self._epoch = first_epoch
        self._order = self._order_of(first_epoch)
        self._count = math.ceil(len(self._order) / batch_size)
        self._submitted = 0
        self._pending: deque[Future[list[npt.NDArray[Any]]]] = deque()
        self._executor: ThreadPoolExecutor | None = None
        self.waited_s = 0.0
        self.dataset = self._make_dataset()

    def close(self) -> None:
        """Ends the thread, if one is left."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
            self._executor = None
        self._pending.clear()

    def _specs(self) -> list[tf.TensorSpec]:
        """Shapes and types of a batch's arrays, the targets last."""
        return [tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in self._arrays]

    def _order_of(self, epoch: int) -> npt.NDArray[np.int64]:
        """The rows in the order in which the epoch goes through them."""
        count = len(self._arrays[-1])
        if self._seed is None:
            return np.arange(count)
        return np.random.default_rng((self._seed, epoch)).permutation(count)

    def _make_dataset(self) -> tf.data.Dataset:
        specs = self._specs()

        def batch(index: tf.Tensor) -> tuple[Any, tf.Tensor]:
            loaded = tf.numpy_function(self._next, [index], [spec.dtype for spec in specs])
            *given, answers = (
                tf.ensure_shape(tensor, spec.shape)
                for tensor, spec in zip(loaded, specs, strict=True)
            )
            return tuple(given) if len(given) > 1 else given[0], answers

        dataset = tf.data.Dataset.range(self._count).map(batch)
        options = tf.data.Options()
        # Otherwise TensorFlow fetches ahead on its own, and the wait would not be seen here.
        options.experimental_optimization.inject_prefetch = False
        # There is nothing to tune, and an iterator that is dropped, as Keras does after each
        # epoch, waits for the tuner's sleep to end: 10 ms at first, then twice as long each time.
        options.autotune.enabled = False
        return dataset.with_options(options)

    def _next(self, index: np.int64) -> list[npt.NDArray[Any]]:
        start = time.perf_counter()
        if index == 0:
            self._start_epoch()
        self._load_ahead()
        arrays = self._pending.popleft().result()
        self._load_ahead()
        if not self._pending:
            self.close()
        self.waited_s += time.perf_counter() - start
        return arrays

    def _start_epoch(self) -> None:
        self.close()
        self._order = self._order_of(self._epoch)
        self._epoch += 1
        self._submitted = 0
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="edgeclf-feed")

    def _load_ahead(self) -> None:
        while self._executor and self._submitted < self._count and len(self._pending) < _AHEAD:
            self._pending.append(self._executor.submit(self._load, self._submitted))
            self._submitted += 1

    def _rows(self, index: int) -> npt.NDArray[np.int64]:
        # Sorted rows are read from the map in one sweep; order within a batch has no effect.
        return np.sort(self._order[index * self._batch_size : (index + 1) * self._batch_size])

    def _load(self, index: int) -> list[npt.NDArray[Any]]:
        """The arrays of a batch; called for one after the other, in the feed's own thread."""
        rows = self._rows(index)
        return [np.asarray(array[rows]) for array in self._arrays]


def shuffled_batches(
    inputs: tuple[npt.NDArray[Any], ...], targets: npt.NDArray[np.int64], seed: int
) -> tf.data.Dataset:
    """The dataset of a `BatchLoader`, shuffled anew each time it is iterated.

    Args:
        inputs: Arrays with one row an example; several give a tuple a batch.
        targets: int64 [N].
        seed: Decides the order.
    """
    return BatchLoader(inputs, targets, seed).dataset
