"""Training a classifier: a new head on frozen features, then the upper layers with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgeclf.errors import TrainingError
from edgeclf.image import UInt8Array
from edgeclf.progress import Progress, track
from edgeclf.training.augment import augmentation
from edgeclf.training.backbones import part

BATCH_SIZE = 32
_HEAD_VIEWS = 1
_HEAD_EPOCHS = 40
_HEAD_LEARNING_RATE = 3e-3
_LABEL_SMOOTHING = 0.05


def use_seed(seed: int) -> None:
    """Makes weights, dropout and layers without a seed of their own repeatable."""
    keras.utils.set_random_seed(seed)


def shuffled_batches(
    inputs: tuple[npt.NDArray[Any], ...], targets: npt.NDArray[np.int64], seed: int
) -> tf.data.Dataset:
    """Batches read from (memory-mapped) arrays, shuffled anew each time they are iterated.

    Keras's `PyDataset` and `Dataset.from_generator`, which it is made of, keep one of two CPUs
    busy in the kernel while a student trains: its step takes twice as long.

    Args:
        inputs: Arrays with one row an example; several give a tuple a batch.
        targets: int64 [N].
        seed: Decides the order.
    """
    rng = np.random.default_rng(seed)
    order = np.arange(len(targets))
    arrays = (*inputs, targets)

    def load(index: np.int64) -> list[npt.NDArray[Any]]:
        if index == 0:
            rng.shuffle(order)
        # Sorted rows are read from the map in one sweep; order within a batch has no effect.
        rows = np.sort(order[index * BATCH_SIZE : (index + 1) * BATCH_SIZE])
        return [array[rows] for array in arrays]

    def batch(index: tf.Tensor) -> tuple[Any, tf.Tensor]:
        loaded = tf.numpy_function(load, [index], [array.dtype for array in arrays])
        *given, answers = (
            tf.ensure_shape(tensor, (None, *array.shape[1:]))
            for tensor, array in zip(loaded, arrays, strict=True)
        )
        return tuple(given) if len(given) > 1 else given[0], answers

    count = math.ceil(len(targets) / BATCH_SIZE)
    return tf.data.Dataset.range(count).map(batch).prefetch(2)


class ProgressCallback(keras.callbacks.Callback):
    """Draws edgeclf's bar over all epochs and stops a run whose loss is not a number.

    Args:
        title: What is being trained.
        metric: Name of the metric shown beside the loss.
    """

    def __init__(self, title: str, metric: str = "accuracy") -> None:
        super().__init__()
        self._title, self._metric = title, metric
        self._epoch = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts the bar."""
        self._progress = Progress(self._title, self.params["epochs"] * self.params["steps"])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch's number, counted from 1."""
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Advances the bar, or stops the run."""
        logs = logs or {}
        loss = logs.get("total_loss", logs.get("loss", 0.0))
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss of {self._title!r} became {loss} in epoch {self._epoch}. "
                "Lower the learning rate, or check the photos of that class."
            )
        note = f"epoch {self._epoch}  loss {loss:.3f}"
        if self._metric in logs:
            note += f"  {self._metric} {logs[self._metric]:.3f}"
        self._progress.advance(note=note)


def fit_pretrained(
    model: keras.Model,
    images: UInt8Array,
    targets: npt.NDArray[np.int64],
    *,
    unfreeze_from: str,
    epochs: int,
    seed: int,
    learning_rate: float = 3e-4,
) -> None:
    """Transfer learning in two phases; `model` is trained in place.

    First the new head alone, on features that are computed once. Then everything from
    `unfreeze_from` on, with augmentation. BatchNorm keeps its ImageNet statistics throughout:
    those of a few hundred photos are worse.

    Args:
        model: From `build_classifier`, with weights that know photos already.
        images: uint8 [N, H, W, 3] of the model's input size.
        targets: int64 [N].
        unfreeze_from: Name of the first layer that is fine-tuned.
        epochs: Passes of the second phase.
        seed: Decides order and augmentation.
        learning_rate: The second phase's peak rate, which falls to zero along a cosine.
    """
    _fit_head(model, images, targets, seed)
    reached = False
    for layer in model.layers:
        reached = reached or layer.name == unfreeze_from
        layer.trainable = reached and not isinstance(layer, keras.layers.BatchNormalization)
    fit_augmented(
        model,
        images,
        targets,
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        title="fine-tune the upper layers",
    )


def fit_from_scratch(
    model: keras.Model,
    images: UInt8Array,
    targets: npt.NDArray[np.int64],
    *,
    epochs: int,
    seed: int,
    learning_rate: float = 2e-3,
) -> None:
    """Trains a whole network that knows nothing yet; `model` is trained in place.

    Args:
        model: From `build_classifier`.
        images: uint8 [N, H, W, 3] of the model's input size.
        targets: int64 [N].
        epochs: Passes over the photos.
        seed: Decides order and augmentation.
        learning_rate: The peak rate, which falls to zero along a cosine.
    """
    fit_augmented(
        model,
        images,
        targets,
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        title="train from scratch",
    )


def fit_augmented(
    model: keras.Model,
    images: UInt8Array,
    targets: npt.NDArray[np.int64],
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    title: str,
) -> None:
    """Trains the layers of `model` that are trainable, on augmented photos, in place.

    The augmentation stands before the model, in a trainer that is thrown away; the model itself
    never holds it.

    Args:
        model: From `build_classifier`.
        images: uint8 [N, H, W, 3].
        targets: int64 [N].
        epochs: Passes over the photos.
        learning_rate: The peak rate, which falls to zero along a cosine.
        seed: Decides order and augmentation.
        title: For the progress bar.
    """
    image = keras.Input(images.shape[1:], dtype="uint8")
    normalized = model.get_layer("normalize")(augmentation(seed)(image))
    trainer = keras.Model(image, part(model, "normalize", "logits")(normalized))
    batches = shuffled_batches((images,), targets, seed)
    trainer.compile(
        optimizer=cosine_adam(learning_rate, epochs * len(batches)),
        loss=classification_loss(model.output_shape[-1]),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    trainer.fit(
        batches, epochs=epochs, shuffle=False, verbose=0, callbacks=[ProgressCallback(title)]
    )


def _fit_head(
    model: keras.Model, images: UInt8Array, targets: npt.NDArray[np.int64], seed: int
) -> None:
    extractor = part(model, "normalize", "features")
    vary, normalize = augmentation(seed), model.get_layer("normalize")
    total = (1 + _HEAD_VIEWS) * math.ceil(len(images) / BATCH_SIZE)

    def features() -> Iterator[npt.NDArray[np.float32]]:
        for view in range(1 + _HEAD_VIEWS):
            for batch in in_batches(images):
                varied = vary(batch, training=True) if view else batch
                yield extractor.predict_on_batch(normalize(varied))

    rows = np.concatenate(list(track(features(), "features of the backbone", total)))
    labels = np.tile(targets, 1 + _HEAD_VIEWS)
    inputs = keras.Input(rows.shape[1:])
    head = keras.Model(inputs, model.get_layer("logits")(inputs))
    batches = shuffled_batches((rows,), labels, seed)
    head.compile(
        optimizer=cosine_adam(_HEAD_LEARNING_RATE, _HEAD_EPOCHS * len(batches)),
        loss=classification_loss(model.output_shape[-1]),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    head.fit(
        batches,
        epochs=_HEAD_EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[ProgressCallback("new head")],
    )


def in_batches(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Slices of `BATCH_SIZE` rows in order."""
    for start in range(0, len(array), BATCH_SIZE):
        yield array[start : start + BATCH_SIZE]


def cosine_adam(learning_rate: float, steps: int) -> keras.optimizers.Optimizer:
    """Adam with a short linear warm-up and a cosine down to zero.

    Args:
        learning_rate: The peak.
        steps: All batches of the run.
    """
    warmup = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 10,
        decay_steps=max(1, steps - warmup),
        warmup_target=learning_rate,
        warmup_steps=warmup,
    )
    return keras.optimizers.Adam(schedule)


def classification_loss(classes: int) -> Any:
    """Cross-entropy of logits against class indices, with label smoothing.

    Smoothing after Szegedy et al., "Rethinking the Inception Architecture" (2016), section 7.
    """
    cross_entropy = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=_LABEL_SMOOTHING
    )

    def loss(targets: Any, logits: Any) -> Any:
        indices = keras.ops.cast(keras.ops.reshape(targets, (-1,)), "int32")
        return cross_entropy(keras.ops.one_hot(indices, classes), logits)

    return loss


def predict_probabilities(model: keras.Model, images: UInt8Array) -> npt.NDArray[np.float32]:
    """Probabilities float32 [N, classes] for uint8 [N, H, W, 3]."""
    return np.concatenate([model.predict_on_batch(batch) for batch in in_batches(images)])
