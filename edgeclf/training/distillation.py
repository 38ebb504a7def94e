"""Distillation: a small student learns a large teacher's answers to many views of each photo.

After Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015). The teacher
answers each view once; the student then sees the views as often as the epochs ask, with the
answers kept, because on a CPU the teacher's forward pass costs more than the student's training.
Or the teacher answers other views in every epoch while the student trains: `OnlineSoftTargets`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.image import ImageSpec
from edgeclf.networks.backend import keras
from edgeclf.networks.builder import Backbone, build_classifier
from edgeclf.networks.engines import Engine, KerasEngine, fastest
from edgeclf.networks.keras_model import BATCH_SIZE, in_batches
from edgeclf.system.progress import track
from edgeclf.training.checkpoint import CheckpointCallback
from edgeclf.training.distillation_config import DistillationConfig
from edgeclf.training.fit import use_seed
from edgeclf.training.frozen import FrozenPart, frozen_end
from edgeclf.training.lean_layers import lean
from edgeclf.training.online_distillation import OnlineSoftTargets
from edgeclf.training.optimization import classification_loss, cosine_adam
from edgeclf.training.progress_callback import ProgressCallback
from edgeclf.training.run_folder import MAPS, RunFolder, engines_of
from edgeclf.training.soft_targets import SoftTargets, kept
from edgeclf.training.teachers import Teacher

LOGITS = "student_logits"
_MOST_BYTES = 2**30  # of what the frozen layers answer: 20,000 views for the usual student


def distillation_settings(config: DistillationConfig, teacher: Teacher) -> dict[str, Any]:
    """What decides how a student ends, beside its photos, as plain JSON types."""
    return {"teacher_sha256": teacher.sha256, **config.record()}


def train_student(
    backbone: Backbone,
    spec: ImageSpec,
    teacher: Teacher,
    soft_targets: SoftTargets | OnlineSoftTargets,
    config: DistillationConfig,
) -> tuple[keras.Model, int]:
    """Builds a student, starts it from a Keras teacher's first layers, and trains it.

    Args:
        backbone: The student's network.
        spec: How photos become its input.
        teacher: Whose classes it learns; only one with a Keras model gives weights to inherit.
        soft_targets: From `compute_soft_targets`, or online.
        config: How it is taught; its seed decides its weights and the order, and nothing that came
            before this call.

    Returns:
        (the student, how many of its layers started from the teacher's).
    """
    model, inherited = start_student(backbone, spec, teacher, seed=config.seed)
    distill_student(model, backbone, inherited, soft_targets, config)
    return model, inherited


def start_student(
    backbone: Backbone, spec: ImageSpec, teacher: Teacher, *, seed: int
) -> tuple[keras.Model, int]:
    """The student before it is taught, and how many layers it has from the teacher."""
    use_seed(seed)
    model = build_classifier(backbone, len(teacher.labels), spec)
    return model, 0 if teacher.model is None else inherit_weights(model, teacher.model)


def distill_student(
    model: keras.Model,
    backbone: Backbone,
    inherited: int,
    soft_targets: SoftTargets | OnlineSoftTargets,
    config: DistillationConfig,
    folder: RunFolder | None = None,
) -> None:
    """Trains what `start_student` returned; see `fit_student`."""
    unfreeze_from = train_from(model, inherited, backbone.unfreeze_from)
    fit_student(
        model,
        soft_targets,
        config,
        unfreeze_from=unfreeze_from,
        folder=folder,
    )


def inherit_weights(student: keras.Model, teacher: keras.Model) -> int:
    """Starts the student's first layers from the teacher's, as far as name and shape agree.

    It ends at the first layer that differs: what comes after it would read other features than it
    was made for. After Sanh et al., "DistilBERT" (2019), section 3, who take a student's layers
    from its teacher.

    Returns:
        How many layers took their weights; 0 for a teacher of another design.
    """
    of_teacher = {layer.name: layer for layer in teacher.layers}
    inherited = 0
    for layer in _with_weights(student):
        same = of_teacher.get(layer.name)
        if same is None or _shapes(same) != _shapes(layer):
            break
        layer.set_weights(same.get_weights())
        inherited += 1
    return inherited


def train_from(student: keras.Model, inherited: int, unfreeze_from: str) -> str | None:
    """The first layer to train in a student of which `inherited` layers know something.

    Args:
        student: From `build_classifier`.
        inherited: What `inherit_weights` returned.
        unfreeze_from: The first layer to train where everything below it was inherited.

    Returns:
        A layer's name for `fit_student`, or None to train them all.
    """
    names: list[str] = [layer.name for layer in _with_weights(student)]
    if not inherited:
        return None
    return names[min(inherited, names.index(unfreeze_from))]


def _with_weights(model: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in model.layers if layer.weights]


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def fit_student(
    student: keras.Model,
    soft_targets: SoftTargets | OnlineSoftTargets,
    config: DistillationConfig,
    *,
    unfreeze_from: str | None = None,
    folder: RunFolder | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains `student` in place on the teacher's answers and the true labels.

    The loss is ``label_weight`` times the cross-entropy with the labels, plus the rest times the
    sum of the divergence from the teacher's answers and ``feature_weight`` times the mean squared
    error of the student's pooled features, brought to the teacher's width by a linear layer that
    is trained along and thrown away. After Romero et al., "FitNets" (2015).

    Args:
        student: From `build_classifier`.
        soft_targets: From `compute_soft_targets`, or online; with features where ``feature_weight``
            is above 0.
        config: How it is taught; its seed decides the order.
        unfreeze_from: Name of the first layer that is trained; None trains them all.
        folder: Keeps the run's state and log, and gives back that of a run that was stopped.
        callbacks: More to call as it learns.

    Raises:
        TrainingError: The loss is not a number; `student` then holds the last weights that were
            good, if a `folder` kept them.
    """
    reached = unfreeze_from is None
    for layer in student.layers:
        reached = reached or layer.name == unfreeze_from
        layer.trainable = reached
    with_features = config.feature_weight > 0
    soft_targets, below = _below(student, soft_targets, folder)
    width = soft_targets.feature_width if with_features else None
    distiller = _distiller(student, config, width, below)
    steps = config.epochs * math.ceil(len(soft_targets) / BATCH_SIZE)
    optimizer = cosine_adam(config.learning_rate, steps)
    loss = classification_loss(student.output_shape[-1])
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    if with_features:
        # Two outputs, of which labels belong to the first alone.
        distiller.compile(optimizer, loss=(loss, _nothing), metrics=[[accuracy], []])
    else:
        distiller.compile(optimizer, loss=loss, metrics=[accuracy])
    title = f"student learns the {'labels' if config.label_weight == 1 else 'answers'}"
    metric = f"{LOGITS}_accuracy" if with_features else "accuracy"
    checkpoints = CheckpointCallback(folder, title)
    done = checkpoints.restore(distiller)
    feed = soft_targets.feed(config.seed, features=with_features, first_epoch=done)
    batches = feed.dataset
    if with_features:
        batches = batches.map(lambda given, targets: (given, (targets, targets)))
    with checkpoints.watching(distiller, feed), lean(distiller.student):
        if done < config.epochs:
            distiller.fit(
                batches,
                epochs=config.epochs,
                initial_epoch=done,
                shuffle=False,
                verbose=0,
                callbacks=[ProgressCallback(title, metric), checkpoints, *callbacks],
            )


@dataclass(frozen=True)
class _Below:
    """What stands below the layers that are trained.

    Attributes:
        given: What is fed: images, or maps that were computed before.
        layer: Makes of it what the layer `end` of the student answers.
        end: The last layer that is not among those trained here.
    """

    given: keras.KerasTensor
    layer: keras.layers.Layer
    end: str


def _below(
    student: keras.Model, soft_targets: SoftTargets | OnlineSoftTargets, folder: RunFolder | None
) -> tuple[SoftTargets | OnlineSoftTargets, _Below]:
    """What the student is fed, and how its frozen layers are run.

    Of views that stay, they answer each once, not in every epoch, as long as the answers are no
    larger than `_MOST_BYTES`; else they run in every step, by an engine that is faster than Keras.
    """
    image = keras.Input(student.input_shape[1:], dtype="uint8", name="image")
    whole = _Below(image, student.get_layer("normalize"), "normalize")
    end = frozen_end(student)
    if end is None:
        return soft_targets, whole
    shape = student.get_layer(end).output.shape[1:]
    examples = soft_targets.examples
    with engines_of(folder) as engines:
        engine = fastest(student, [end], examples, f"layers to {end}", engines=engines)
    if isinstance(soft_targets, SoftTargets):
        size = (len(soft_targets), *shape)
        if 4 * math.prod(size) <= _MOST_BYTES:
            maps = _maps(engine, soft_targets, size, folder)
            fed = keras.Input(shape, dtype="float32", name="maps")
            return replace(soft_targets, images=maps), _Below(fed, keras.layers.Identity(), end)
    if engine.name == KerasEngine.name:
        return soft_targets, whole
    return soft_targets, _Below(image, FrozenPart(engine, shape), end)


def _maps(
    engine: Engine, soft_targets: SoftTargets, size: tuple[int, ...], folder: RunFolder | None
) -> npt.NDArray[np.float32]:
    """What the frozen layers answer each view, kept in the run's folder until it is finished."""

    def answer(arrays: Sequence[npt.NDArray[Any]]) -> None:
        (maps,), start = arrays, 0
        batches = math.ceil(size[0] / BATCH_SIZE)
        for batch in track(in_batches(soft_targets.images), "frozen layers, once", batches):
            (maps[start : start + len(batch)],) = engine(batch)
            start += len(batch)

    paths = None if folder is None else [folder.path / MAPS]
    (maps,) = kept(paths, [(size, np.float32)], answer)
    return maps


def _distiller(
    student: keras.Model, config: DistillationConfig, feature_width: int | None, below: _Below
) -> keras.distillation.Distiller:
    """Keras calls teacher and student with the same inputs; this teacher only reads its answers.

    With features, both are networks of two outputs. `keras.distillation.FeatureDistillation` can
    also look into layers by name, but runs the student a second time in every step to do so.
    """
    widths = {"logits": student.output_shape[-1]}
    if feature_width is not None:
        widths["features"] = feature_width
    given = [keras.Input((width,), name=f"teacher_{end}") for end, width in widths.items()]
    inputs = [below.given, *given]
    told: Any = [keras.layers.Identity()(answer) for answer in given]
    ends = [student.get_layer(name).output for name in widths]
    core = keras.Model(student.get_layer(below.end).output, ends)
    learnt: Any = core(below.layer(below.given))
    learnt = list(learnt) if isinstance(learnt, list | tuple) else [learnt]
    # Instances: given by name, Keras 3.15 compares raw logits as if they were probabilities.
    divergence, error = keras.losses.KLDivergence(), keras.losses.MeanSquaredError()
    if feature_width is not None:
        if learnt[1].shape[-1] != feature_width:
            learnt[1] = keras.layers.Dense(feature_width, name="projection")(learnt[1])
        told = tuple(told)
        learnt = (keras.layers.Identity(name=LOGITS)(learnt[0]), learnt[1])
        losses = [
            keras.distillation.LogitsDistillation(config.temperature, loss=(divergence, None)),
            keras.distillation.FeatureDistillation(loss=(None, error)),
        ]
        weights = [1.0, config.feature_weight]
    else:
        told, learnt = told[0], learnt[0]
        losses = [keras.distillation.LogitsDistillation(config.temperature, loss=divergence)]
        weights = [1.0]
    return keras.distillation.Distiller(
        teacher=keras.Model(inputs, told, name="answers"),
        student=keras.Model(inputs, learnt, name="learner"),
        distillation_losses=losses,
        distillation_loss_weights=weights,
        student_loss_weight=config.label_weight,
    )


def _nothing(targets: Any, features: Any) -> Any:
    """The labels' loss on features: none."""
    return 0.0 * keras.ops.mean(features)
