"""Online distillation: the teacher answers fresh views while the student trains; none is kept.

The student never sees the same view twice, and no disk holds views. The price is the teacher's
forward pass for every view that the student sees, anew for every student.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.image import UInt8Array
from edgeclf.networks.backend import tf
from edgeclf.networks.keras_model import BATCH_SIZE
from edgeclf.training.augment import Variations
from edgeclf.training.batch_loader import BatchLoader
from edgeclf.training.soft_targets import PhotoPairs
from edgeclf.training.teachers import Teacher


@dataclass(frozen=True)
class OnlineSoftTargets:
    """Photos whose variations the teacher answers as they are needed.

    Attributes:
        teacher: Answers images of its own input size.
        photos: At both sizes.
        views: How often an epoch goes through the photos, each time with other variations.
        mirror: Whether variations may be mirrored.
    """

    teacher: Teacher
    photos: PhotoPairs
    views: int
    mirror: bool = True

    @property
    def feature_width(self) -> int | None:
        """Width of the teacher's pooled features; None where it shows none."""
        return self.teacher.feature_width

    @property
    def examples(self) -> UInt8Array:
        """Some images as the student is given them."""
        return self.photos.for_student[:BATCH_SIZE]

    def __len__(self) -> int:
        """How many views an epoch has."""
        return self.views * len(self.photos)

    def feed(self, seed: int, *, features: bool = False, first_epoch: int = 0) -> BatchLoader:
        """Batches of (images, logits[, features]) and targets; see `BatchLoader`.

        Args:
            seed: Decides order and variations, together with the epoch's number and nothing else.
            features: Whether the teacher's pooled features are among them.
            first_epoch: Number of the epoch that comes first.
        """
        return _OnlineLoader(self, seed, features, first_epoch)


class _OnlineLoader(BatchLoader):
    """Both sides see the same views, each at its own size, made in the feed's thread."""

    def __init__(
        self, online: OnlineSoftTargets, seed: int, features: bool, first_epoch: int
    ) -> None:
        self._online, self._view_seed, self._features = online, seed, features
        photos = online.photos
        super().__init__((photos.for_student,), photos.targets, seed, first_epoch=first_epoch)

    def _specs(self) -> list[tf.TensorSpec]:
        images, targets = super()._specs()
        widths = [len(self._online.teacher.labels)]
        if self._features:
            assert self._online.feature_width is not None, "asked before"
            widths.append(self._online.feature_width)
        return [images, *(tf.TensorSpec((None, width), np.float32) for width in widths), targets]

    def _order_of(self, epoch: int) -> npt.NDArray[np.int64]:
        passes = range(epoch * self._online.views, (epoch + 1) * self._online.views)
        return np.concatenate([super(_OnlineLoader, self)._order_of(number) for number in passes])

    def _load(self, index: int) -> list[npt.NDArray[Any]]:
        if index == 0:  # two of the same seed, for the same variations at two sizes
            draw = np.random.default_rng((self._view_seed, self._epoch, 1))  # not the order's
            seed = int(draw.integers(2**31))
            mirror = self._online.mirror
            self._vary = Variations(seed, mirror=mirror), Variations(seed, mirror=mirror)
        rows, photos = self._rows(index), self._online.photos
        sizes = (photos.for_teacher, photos.for_student)
        for_teacher, for_student = (
            vary.pixels_of(images[rows]) for vary, images in zip(self._vary, sizes, strict=True)
        )
        answers = self._online.teacher.answer(for_teacher)
        told = [answers.logits, answers.features] if self._features else [answers.logits]
        return [for_student, *told, photos.targets[rows]]
