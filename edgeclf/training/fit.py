"""Training a classifier: a new head on frozen features, then the upper layers with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from edgeclf.errors import TrainingError
from edgeclf.image import UInt8Array
from edgeclf.progress import Progress, say, track
from edgeclf.recipe import Recipe
from edgeclf.training.augment import augmentation
from edgeclf.training.backbones import part
from edgeclf.training.distribution import open_strategy, prepare_for_workers, twin_of
from edgeclf.training.feed import BATCH_SIZE, Feed
from edgeclf.training.keeper import Keeper
from edgeclf.training.run_folder import RunFolder

_HEAD = "new head"
_HEAD_VIEWS = 1
_HEAD_EPOCHS = 40
_HEAD_LEARNING_RATE = 3e-3
FINE_TUNING_RATE = 3e-4
FROM_SCRATCH_RATE = 2e-3
_RECIPE = Recipe()

Examples = tuple[UInt8Array, npt.NDArray[np.int64]]


def use_seed(seed: int) -> None:
    """Makes weights, dropout and layers without a seed of their own repeatable."""
    keras.utils.set_random_seed(seed)


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
        """Notes the epoch's number, counted from 1, and passes over those of an earlier run."""
        if self._epoch == 0 and epoch > 0:
            self._progress.advance(epoch * self.params["steps"])
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

    def on_train_end(self, logs: Any = None) -> None:
        """Ends the bar of a run that was stopped early."""
        self._progress.close()


def fit_pretrained(
    model: keras.Model,
    images: UInt8Array,
    targets: npt.NDArray[np.int64],
    *,
    unfreeze_from: str,
    epochs: int,
    seed: int,
    recipe: Recipe = _RECIPE,
    validation: Examples | None = None,
    folder: RunFolder | None = None,
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
        recipe: The other settings.
        validation: Images and targets that early stopping judges by.
        folder: Keeps the run's state and log, and gives back that of a run that was stopped.
    """
    if folder is None or folder.phase in (None, _HEAD):
        fit_head(model, images, targets, seed=seed, recipe=recipe, folder=folder)
    fine_tune(
        model,
        images,
        targets,
        unfreeze_from=unfreeze_from,
        epochs=epochs,
        seed=seed,
        recipe=recipe,
        validation=validation,
        folder=folder,
    )


def fine_tune(
    model: keras.Model,
    images: UInt8Array,
    targets: npt.NDArray[np.int64],
    *,
    unfreeze_from: str,
    epochs: int,
    seed: int,
    recipe: Recipe = _RECIPE,
    validation: Examples | None = None,
    folder: RunFolder | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """The second phase of `fit_pretrained`, after `fit_head`; `model` is trained in place.

    Args:
        model: Its head knows the classes already.
        images: uint8 [N, H, W, 3] of the model's input size.
        targets: int64 [N].
        unfreeze_from: Name of the first layer that is trained.
        epochs: Passes over the photos.
        seed: Decides order and augmentation.
        recipe: The other settings.
        validation: Images and targets to judge each epoch by.
        folder: Keeps the run's state and log, and gives back that of a run that was stopped.
        callbacks: More to call as it learns.
    """
    reached = False
    for layer in model.layers:
        reached = reached or layer.name == unfreeze_from
        layer.trainable = reached and not isinstance(layer, keras.layers.BatchNormalization)
    fit_augmented(
        model,
        images,
        targets,
        epochs=epochs,
        learning_rate=recipe.learning_rate or FINE_TUNING_RATE,
        seed=seed,
        title="fine-tune the upper layers",
        recipe=recipe,
        validation=validation,
        folder=folder,
        callbacks=callbacks,
    )


def fit_from_scratch(
    model: keras.Model,
    images: UInt8Array,
    targets: npt.NDArray[np.int64],
    *,
    epochs: int,
    seed: int,
    recipe: Recipe = _RECIPE,
    validation: Examples | None = None,
    folder: RunFolder | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains a whole network that knows nothing yet; `model` is trained in place.

    Args:
        model: From `build_classifier`.
        images: uint8 [N, H, W, 3] of the model's input size.
        targets: int64 [N].
        epochs: Passes over the photos.
        seed: Decides order and augmentation.
        recipe: The other settings.
        validation: Images and targets that early stopping judges by.
        folder: Keeps the run's state and log, and gives back that of a run that was stopped.
        callbacks: More to call as it learns.
    """
    fit_augmented(
        model,
        images,
        targets,
        epochs=epochs,
        learning_rate=recipe.learning_rate or FROM_SCRATCH_RATE,
        seed=seed,
        title="train from scratch",
        recipe=recipe,
        validation=validation,
        folder=folder,
        callbacks=callbacks,
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
    recipe: Recipe = _RECIPE,
    validation: Examples | None = None,
    folder: RunFolder | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
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
        title: For the progress bar and the log.
        recipe: The other settings.
        validation: Images and targets that early stopping judges by.
        folder: Keeps the run's state and log, and gives back that of a run that was stopped.
        callbacks: More to call as it learns.
    """
    watching = [*callbacks]
    if recipe.tensorboard and folder is not None:
        logs = str(folder.path / "tensorboard")
        watching.append(keras.callbacks.TensorBoard(logs, write_graph=False))
    with open_strategy(recipe.distribute).scope():
        taught = model if recipe.distribute == "none" else twin_of(model)
        image = keras.Input(images.shape[1:], dtype="uint8")
        normalized = taught.get_layer("normalize")(augmentation(seed, recipe.augmentation)(image))
        trainer = keras.Model(image, part(taught, "normalize", "logits")(normalized))
        try:
            _fit(
                trainer,
                (images, targets),
                epochs=epochs,
                learning_rate=learning_rate,
                seed=seed,
                title=title,
                recipe=recipe,
                validation=validation,
                folder=folder,
                callbacks=watching,
            )
        finally:
            if taught is not model:
                model.set_weights(taught.get_weights())


def fit_head(
    model: keras.Model,
    images: UInt8Array,
    targets: npt.NDArray[np.int64],
    *,
    seed: int,
    recipe: Recipe = _RECIPE,
    folder: RunFolder | None = None,
) -> None:
    """The first phase of `fit_pretrained`: trains the dense layer of `model` alone, in place.

    Args:
        model: From `build_classifier`, with weights that know photos already.
        images: uint8 [N, H, W, 3] of the model's input size.
        targets: int64 [N].
        seed: Decides order and augmentation.
        recipe: The other settings; its learning rate is that of the second phase alone.
        folder: Keeps the run's state and log, and gives back that of a run that was stopped.
    """
    rows = folder.features() if folder is not None else None
    if rows is None:
        rows = _features(model, images, seed, recipe.augmentation)
        if folder is not None:
            folder.save_features(rows)
    say(f"features of {len(rows)} views computed once instead of {_HEAD_EPOCHS} times")
    inputs = keras.Input(rows.shape[1:])
    _fit(
        keras.Model(inputs, model.get_layer("logits")(inputs)),
        (rows, np.tile(targets, 1 + _HEAD_VIEWS)),
        epochs=_HEAD_EPOCHS,
        learning_rate=_HEAD_LEARNING_RATE,
        seed=seed,
        title=_HEAD,
        recipe=recipe,
        folder=folder,
    )


def _features(
    model: keras.Model, images: UInt8Array, seed: int, strength: float
) -> npt.NDArray[np.float32]:
    """The pooled features of the photos, then of variations of them: float32 [2 N, C]."""
    extractor = part(model, "normalize", "features")
    vary, normalize = augmentation(seed, strength), model.get_layer("normalize")
    total = (1 + _HEAD_VIEWS) * math.ceil(len(images) / BATCH_SIZE)

    def features() -> Iterator[npt.NDArray[np.float32]]:
        for view in range(1 + _HEAD_VIEWS):
            for batch in in_batches(images):
                varied = vary(batch, training=True) if view else batch
                yield np.asarray(extractor.predict_on_batch(normalize(varied)), np.float32)

    return np.concatenate(list(track(features(), "features of the backbone", total)))


def _fit(
    trainer: keras.Model,
    examples: tuple[npt.NDArray[Any], npt.NDArray[np.int64]],
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    title: str,
    recipe: Recipe,
    validation: Examples | None = None,
    folder: RunFolder | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains `trainer`, which answers logits, from where `folder` says it was."""
    (inputs, targets), classes = examples, trainer.output_shape[-1]
    steps = epochs * math.ceil(len(targets) / recipe.batch_size)
    optimizer = cosine_adam(learning_rate, steps)
    if recipe.mixed_precision:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    weights = balanced_weights(targets, classes) if recipe.balanced else None
    trainer.compile(
        optimizer=optimizer,
        loss=classification_loss(classes, recipe.label_smoothing, weights),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        auto_scale_loss=False,
    )
    prepare_for_workers(trainer, (inputs[:2], targets[:2]))
    patience = recipe.early_stopping if validation is not None else None
    keeper = Keeper(folder, title, patience)
    done = keeper.restore(trainer)
    feed = Feed((inputs,), targets, seed, recipe.batch_size, first_epoch=done)
    judge = Feed(validation[:1], validation[1], None, recipe.batch_size) if validation else None
    with keeper.watching(trainer, feed), closing(judge) if judge else nullcontext():
        if done < epochs and not keeper.stopped(done):
            trainer.fit(
                feed.dataset,
                epochs=epochs,
                initial_epoch=done,
                shuffle=False,
                verbose=0,
                validation_data=judge.dataset if judge else None,
                callbacks=[ProgressCallback(title), keeper, *callbacks],
            )
    keeper.take_best(trainer)


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


def classification_loss(
    classes: int,
    label_smoothing: float = _RECIPE.label_smoothing,
    weights: npt.NDArray[np.float32] | None = None,
) -> Any:
    """Cross-entropy of logits against class indices, with label smoothing.

    Smoothing after Szegedy et al., "Rethinking the Inception Architecture" (2016), section 7.

    Args:
        classes: Number of classes.
        label_smoothing: The share of each label that is spread over all classes.
        weights: float32 [classes], how much an example of each counts; all the same by default.
    """
    cross_entropy = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing
    )

    def loss(targets: Any, logits: Any) -> Any:
        indices = keras.ops.cast(keras.ops.reshape(targets, (-1,)), "int32")
        counts = None if weights is None else keras.ops.take(weights, indices)
        return cross_entropy(keras.ops.one_hot(indices, classes), logits, sample_weight=counts)

    return loss


def balanced_weights(targets: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float32]:
    """Weights float32 [classes] by which all classes count the same, 1 on average over `targets`.

    After King and Zeng, "Logistic Regression in Rare Events Data" (2001), section 4.2.
    """
    counts = np.bincount(targets, minlength=classes)
    return (len(targets) / (classes * np.maximum(counts, 1))).astype(np.float32)


def predict_probabilities(model: keras.Model, images: UInt8Array) -> npt.NDArray[np.float32]:
    """Probabilities float32 [N, classes] for uint8 [N, H, W, 3]."""
    return np.concatenate([model.predict_on_batch(batch) for batch in in_batches(images)])
