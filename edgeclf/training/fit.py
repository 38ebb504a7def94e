"""Training a classifier: a new head on frozen features, then the upper layers with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.image import UInt8Array
from edgeclf.networks.backend import keras
from edgeclf.networks.builder import part
from edgeclf.networks.engines import KerasEngine, fastest
from edgeclf.networks.keras_model import BATCH_SIZE, in_batches
from edgeclf.system.progress import log, track
from edgeclf.training.augment import Variations, augmentation
from edgeclf.training.batch_loader import BatchLoader
from edgeclf.training.checkpoint import CheckpointCallback
from edgeclf.training.config import TrainingConfig
from edgeclf.training.distribution import open_strategy, prepare_for_replicas, twin_of
from edgeclf.training.frozen import FrozenPart, frozen_end
from edgeclf.training.lean_layers import lean
from edgeclf.training.optimization import balanced_weights, classification_loss, cosine_adam
from edgeclf.training.progress_callback import ProgressCallback
from edgeclf.training.run_folder import RunFolder, engines_of

_HEAD = "new head"
_HEAD_VIEWS = 1
_HEAD_EPOCHS = 40
_HEAD_LEARNING_RATE = 3e-3
FINE_TUNING_RATE = 3e-4
FROM_SCRATCH_RATE = 2e-3

Examples = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]  # inputs, a row each, and targets


def use_seed(seed: int) -> None:
    """Makes weights, dropout and layers without a seed of their own repeatable."""
    keras.utils.set_random_seed(seed)


@dataclass(frozen=True)
class TrainingRun:
    """What a network is trained on, how, and where its state is kept.

    Attributes:
        examples: Images uint8 [N, H, W, 3] of the model's input size, and targets int64 [N].
        config: How it learns; its seed decides order and augmentation.
        validation: Other examples to judge each epoch by; early stopping needs them.
        folder: Keeps the run's state and log, and gives back that of a run that was stopped.
        callbacks: More to call as it learns from augmented photos.
    """

    examples: Examples
    config: TrainingConfig
    validation: Examples | None = None
    folder: RunFolder | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()


def fit_pretrained(model: keras.Model, run: TrainingRun, *, unfreeze_from: str) -> None:
    """Transfer learning in two phases; `model` is trained in place.

    First the new head alone, on features that are computed once. Then everything from
    `unfreeze_from` on, with augmentation. BatchNorm keeps its ImageNet statistics throughout:
    those of a few hundred photos are worse.

    Args:
        model: From `build_classifier`, with weights that know photos already.
        run: Its epochs are those of the second phase.
        unfreeze_from: Name of the first layer that is fine-tuned.
    """
    if run.folder is None or run.folder.phase in (None, _HEAD):
        fit_head(model, run)
    fine_tune(model, run, unfreeze_from=unfreeze_from)


def fit_head(model: keras.Model, run: TrainingRun) -> None:
    """The first phase of `fit_pretrained`: trains the dense layer of `model` alone, in place.

    Args:
        model: From `build_classifier`, with weights that know photos already.
        run: Its epochs, learning rate, validation and callbacks are for the second phase.
    """
    images, targets = run.examples
    rows = run.folder.features() if run.folder is not None else None
    if rows is None:
        with engines_of(run.folder) as engines:
            rows = _features(model, images, run.config, engines)
        if run.folder is not None:
            run.folder.save_features(rows)
    log(f"features of {len(rows)} views computed once instead of {_HEAD_EPOCHS} times")
    inputs = keras.Input(rows.shape[1:])
    on_features = replace(
        run,
        examples=(rows, np.tile(targets, 1 + _HEAD_VIEWS)),
        config=replace(run.config, epochs=_HEAD_EPOCHS),
        validation=None,
        callbacks=(),
    )
    trainer = keras.Model(inputs, model.get_layer("logits")(inputs))
    # A step is so short that asking for each takes longer.
    epoch = math.ceil(len(rows) / run.config.batch_size)
    _fit(trainer, on_features, learning_rate=_HEAD_LEARNING_RATE, title=_HEAD, steps_at_once=epoch)


def fine_tune(model: keras.Model, run: TrainingRun, *, unfreeze_from: str) -> None:
    """The second phase of `fit_pretrained`, after `fit_head`; `model` is trained in place.

    Args:
        model: Its head knows the classes already.
        run: What it learns from, and how.
        unfreeze_from: Name of the first layer that is trained.
    """
    reached = False
    for layer in model.layers:
        reached = reached or layer.name == unfreeze_from
        layer.trainable = reached and not isinstance(layer, keras.layers.BatchNormalization)
    rate = run.config.learning_rate or FINE_TUNING_RATE
    fit_augmented(model, run, learning_rate=rate, title="fine-tune the upper layers")


def fit_from_scratch(model: keras.Model, run: TrainingRun) -> None:
    """Trains a whole network from `build_classifier` that knows nothing yet, in place."""
    rate = run.config.learning_rate or FROM_SCRATCH_RATE
    fit_augmented(model, run, learning_rate=rate, title="train from scratch")


def fit_augmented(
    model: keras.Model, run: TrainingRun, *, learning_rate: float, title: str
) -> None:
    """Trains the layers of `model` that are trainable, on augmented photos, in place.

    The augmentation stands before the model, in a trainer that is thrown away; the model itself
    never holds it.

    Args:
        model: From `build_classifier`.
        run: What it learns from, and how.
        learning_rate: The peak rate, which falls to zero along a cosine.
        title: For the progress bar and the log.
    """
    config = run.config
    if config.tensorboard and run.folder is not None:
        logs = str(run.folder.path / "tensorboard")
        writer = keras.callbacks.TensorBoard(logs, write_graph=False)
        run = replace(run, callbacks=(*run.callbacks, writer))
    with open_strategy(config.distribute).scope():
        taught = model if config.distribute == "none" else twin_of(model)
        image = keras.Input(run.examples[0].shape[1:], dtype="uint8")
        vary = augmentation(config.seed, config.augmentation, mirror=not config.no_mirror)
        below, end = _below(taught, run)
        trainer = keras.Model(image, part(taught, end, "logits")(below(vary(image))))
        try:
            _fit(trainer, run, learning_rate=learning_rate, title=title)
        finally:
            if taught is not model:
                model.set_weights(taught.get_weights())


def _below(model: keras.Model, run: TrainingRun) -> tuple[keras.layers.Layer, str]:
    """What stands below the layers that are trained, and up to which layer it answers.

    Where an engine is faster than Keras, that is all that is frozen; else the normalisation alone.
    """
    end = frozen_end(model) if run.config.distribute == "none" else None
    if end is not None:
        with engines_of(run.folder) as engines:
            engine = fastest(model, [end], run.examples[0], f"layers to {end}", engines=engines)
        if engine.name != KerasEngine.name:
            return FrozenPart(engine, model.get_layer(end).output.shape[1:]), end
    return model.get_layer("normalize"), "normalize"


def _features(
    model: keras.Model, images: UInt8Array, config: TrainingConfig, engines: dict[str, str]
) -> npt.NDArray[np.float32]:
    """The pooled features of the photos, then of variations of them: float32 [2 N, C]."""
    extractor = fastest(model, ["features"], images, "features of the backbone", engines=engines)
    vary = Variations(config.seed, config.augmentation, mirror=not config.no_mirror)
    total = (1 + _HEAD_VIEWS) * math.ceil(len(images) / BATCH_SIZE)

    def features() -> Iterator[npt.NDArray[np.float32]]:
        for view in range(1 + _HEAD_VIEWS):
            for batch in in_batches(images):
                yield extractor(vary.of(batch) if view else batch)[0]

    return np.concatenate(list(track(features(), "features of the backbone", total)))


def _fit(
    trainer: keras.Model,
    run: TrainingRun,
    *,
    learning_rate: float,
    title: str,
    steps_at_once: int = 1,
) -> None:
    """Trains `trainer`, which answers logits, from where the run's folder says it was."""
    (inputs, targets), config, judged = run.examples, run.config, run.validation
    classes = trainer.output_shape[-1]
    steps = config.epochs * math.ceil(len(targets) / config.batch_size)
    optimizer = cosine_adam(learning_rate, steps)
    if config.mixed_precision:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    weights = balanced_weights(targets, classes) if config.class_weights == "balanced" else None
    trainer.compile(
        optimizer=optimizer,
        loss=classification_loss(classes, config.label_smoothing, weights),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        steps_per_execution=steps_at_once,
        auto_scale_loss=False,
    )
    prepare_for_replicas(trainer, (inputs[:2], targets[:2]))
    checkpoints = CheckpointCallback(
        run.folder, title, config.early_stopping if judged is not None else None
    )
    done = checkpoints.restore(trainer)
    feed = BatchLoader((inputs,), targets, config.seed, config.batch_size, first_epoch=done)
    judge = (
        BatchLoader(judged[:1], judged[1], None, config.batch_size) if judged is not None else None
    )
    leaner = lean(trainer) if config.distribute == "none" else nullcontext()
    with checkpoints.watching(trainer, feed), closing(judge) if judge else nullcontext(), leaner:
        if done < config.epochs and not checkpoints.stopped(done):
            trainer.fit(
                feed.dataset,
                epochs=config.epochs,
                initial_epoch=done,
                shuffle=False,
                verbose=0,
                validation_data=judge.dataset if judge else None,
                callbacks=[ProgressCallback(title), checkpoints, *run.callbacks],
            )
    checkpoints.take_best(trainer)
