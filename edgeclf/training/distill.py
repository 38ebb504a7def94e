"""Distillation: a small student learns a large teacher's answers to many views of each photo.

After Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015). The teacher
answers each view once; the student then sees the views as often as the epochs ask, with the
answers kept, because on a CPU the teacher's forward pass costs more than the student's training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt

from edgeclf.image import UInt8Array
from edgeclf.progress import Progress
from edgeclf.training.augment import augmentation
from edgeclf.training.backbones import part
from edgeclf.training.fit import (
    ProgressCallback,
    classification_loss,
    cosine_adam,
    in_batches,
    shuffled_batches,
)

_LABEL_WEIGHT = 0.2  # the share of the true labels in the loss; the rest is the teacher's


@dataclass(frozen=True)
class Views:
    """Augmented photos with the teacher's answers.

    Attributes:
        images: uint8 [V * N, h, w, 3] of the student's input size.
        logits: float32 [V * N, classes], the teacher's for the same view at its own size.
        targets: int64 [V * N].
    """

    images: UInt8Array
    logits: npt.NDArray[np.float32]
    targets: npt.NDArray[np.int64]


def teach_views(
    teacher: keras.Model,
    teacher_images: UInt8Array,
    student_images: UInt8Array,
    targets: npt.NDArray[np.int64],
    *,
    views: int,
    seed: int,
) -> Views:
    """Lets the teacher answer `views` variations of every photo; the first is the photo itself.

    Args:
        teacher: From `build_classifier`, trained.
        teacher_images: uint8 [N, H, W, 3] of the teacher's input size.
        student_images: uint8 [N, h, w, 3], the same photos in the student's size.
        targets: int64 [N].
        views: Variations of each photo.
        seed: Decides them.
    """
    logits_of = part(teacher, "normalize", "logits")
    normalize = teacher.get_layer("normalize")
    for_teacher, for_student = augmentation(seed), augmentation(seed)
    images = np.empty((views, *student_images.shape), np.uint8)
    logits = np.empty((views, len(targets), teacher.output_shape[-1]), np.float32)
    batches = math.ceil(len(targets) / len(next(in_batches(targets))))
    progress = Progress("teacher answers the views", views * batches)
    for view in range(views):
        start = 0
        for large, small in zip(
            in_batches(teacher_images), in_batches(student_images), strict=True
        ):
            rows = slice(start, start + len(large))
            start += len(large)
            if view:
                large, small = for_teacher(large, training=True), for_student(small, training=True)
            logits[view, rows] = logits_of.predict_on_batch(normalize(large))
            images[view, rows] = np.clip(np.rint(small), 0, 255)
            progress.advance()
    return Views(
        images.reshape(-1, *images.shape[2:]),
        logits.reshape(-1, logits.shape[-1]),
        np.tile(targets, views),
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
    views: Views,
    *,
    epochs: int,
    temperature: float,
    seed: int,
    unfreeze_from: str | None = None,
    learning_rate: float = 2e-3,
) -> None:
    """Trains `student` in place on the teacher's answers and the true labels.

    Args:
        student: From `build_classifier`.
        views: From `teach_views`.
        epochs: Passes over all views.
        temperature: Softens both distributions before they are compared; above 1, the ratios
            between wrong classes count too.
        seed: Decides the order.
        unfreeze_from: Name of the first layer that is trained; None trains them all.
        learning_rate: The peak rate, which falls to zero along a cosine.
    """
    reached = unfreeze_from is None
    for layer in student.layers:
        reached = reached or layer.name == unfreeze_from
        layer.trainable = reached
    image = keras.Input(views.images.shape[1:], dtype="uint8", name="image")
    answers = keras.Input(views.logits.shape[1:], name="teacher_logits")
    core, normalize = part(student, "normalize", "logits"), student.get_layer("normalize")
    # Keras calls teacher and student with the same inputs; this teacher only reads its answer.
    distiller = keras.distillation.Distiller(
        teacher=keras.Model([image, answers], keras.layers.Identity()(answers), name="answers"),
        student=keras.Model([image, answers], core(normalize(image)), name="student_logits"),
        # An instance: given by name, Keras 3.15 compares raw logits as if they were probabilities.
        distillation_losses=keras.distillation.LogitsDistillation(
            temperature=temperature, loss=keras.losses.KLDivergence()
        ),
        student_loss_weight=_LABEL_WEIGHT,
    )
    batches = shuffled_batches((views.images, views.logits), views.targets, seed)
    distiller.compile(
        optimizer=cosine_adam(learning_rate, epochs * len(batches)),
        loss=classification_loss(views.logits.shape[-1]),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    callback = ProgressCallback("student learns the answers")
    distiller.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=[callback])
