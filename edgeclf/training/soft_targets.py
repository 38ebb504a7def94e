"""SoftTargets: varied photos with a teacher's answers, computed once and kept on disk.

The teacher's forward pass costs more than a student's training, so another student, another
temperature or another seed of the training find the answers of the first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.datasets.cache import POLICY_VERSION as PHOTO_VERSION
from edgeclf.datasets.photos import Photos
from edgeclf.image import ImageSpec, UInt8Array
from edgeclf.networks.keras_model import BATCH_SIZE, in_batches
from edgeclf.system import files
from edgeclf.system.environment import library_versions
from edgeclf.system.progress import Progress, log
from edgeclf.training.augment import POLICY_VERSION, Variations
from edgeclf.training.batch_loader import BatchLoader
from edgeclf.training.teachers import Teacher

_Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PhotoPairs:
    """The same photos as teacher and student see them.

    Attributes:
        for_teacher: uint8 [N, H, W, 3] of the teacher's input size.
        for_student: uint8 [N, h, w, 3] of the student's.
        targets: int64 [N].
    """

    for_teacher: UInt8Array
    for_student: UInt8Array
    targets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """N."""
        return len(self.targets)


@dataclass(frozen=True)
class SoftTargets:
    """Varied photos with the teacher's answers.

    Attributes:
        images: uint8 [V * N, h, w, 3] of the student's input size; or float32, what its frozen
            layers make of them.
        logits: float32 [V * N, classes], the teacher's for the same view at its own size.
        targets: int64 [V * N].
        features: float32 [V * N, C], the teacher's pooled features; None unless asked for.
    """

    images: _Array
    logits: npt.NDArray[np.float32]
    targets: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32] | None = None

    @property
    def feature_width(self) -> int | None:
        """C of the features; None where there are none."""
        return None if self.features is None else self.features.shape[-1]

    @property
    def examples(self) -> _Array:
        """Some images as the student is given them."""
        return self.images[:BATCH_SIZE]

    def __len__(self) -> int:
        """How many views an epoch has."""
        return len(self.targets)

    def feed(self, seed: int, *, features: bool = False, first_epoch: int = 0) -> BatchLoader:
        """Batches of (images, logits[, features]) and targets, in an order that `seed` decides.

        Args:
            seed: Decides the order, together with the epoch's number and nothing else.
            features: Whether the teacher's features are among them.
            first_epoch: Number of the epoch that comes first.
        """
        shown: tuple[_Array, ...] = (self.images, self.logits)
        if features:
            assert self.features is not None, "asked before"
            shown = (*shown, self.features)
        return BatchLoader(shown, self.targets, seed, first_epoch=first_epoch)


@dataclass(frozen=True)
class SoftTargetCache:
    """Where soft targets are kept.

    Attributes:
        folder: Beside the decoded photos.
        photos: Whose views they are.
    """

    folder: Path
    photos: Photos

    def path(self, kind: str, *key: Any) -> Path:
        """The file of arrays that depend on the photos' content and order, and on `key`."""
        # The views are drawn batch by batch, by the framework's random numbers. Which engine gave
        # the answers is not told apart: it has proved that they are the same, and of one engine
        # another processor's last bits differ as well.
        policy = [PHOTO_VERSION, POLICY_VERSION, BATCH_SIZE, library_versions(("tensorflow",))]
        digest = files.sha256_of(json.dumps([policy, *key]), "".join(self.photos.content_sha256))
        return self.folder / f"{kind}-{digest[:16]}.npy"


@dataclass(frozen=True)
class _Views:
    """Which variations: so many of each photo, drawn from a seed, mirrored or not."""

    count: int
    seed: int
    mirror: bool

    @property
    def key(self) -> tuple[Any, ...]:
        """What files of them are told by."""
        return (self.count, self.seed) if self.mirror else (self.count, self.seed, "no mirror")


def compute_soft_targets(
    teacher: Teacher,
    photos: PhotoPairs,
    *,
    student_spec: ImageSpec,
    views: int,
    seed: int,
    mirror: bool = True,
    features: bool = False,
    cache: SoftTargetCache | None = None,
) -> SoftTargets:
    """Lets the teacher answer `views` variations of every photo; the first is the photo itself.

    Args:
        teacher: Answers images of its own input size.
        photos: At both sizes.
        student_spec: How photos become the student's input.
        views: Variations of each photo.
        seed: Decides them.
        mirror: Whether they may be mirrored.
        features: Whether to keep the teacher's features too.
        cache: Where answers and views are kept, and found again; None computes them anew.

    Raises:
        OptionError: `features` of a teacher that shows none.
    """
    drawn = _Views(views, seed, mirror)
    logits, *rest = _answers(teacher, photos.for_teacher, drawn, features, cache)

    def vary_for_student(arrays: Sequence[_Array]) -> None:
        (images,) = arrays
        for rows, batch in _views(photos.for_student, drawn, "views for the student"):
            images[rows] = batch

    paths = None
    if cache is not None:
        paths = [cache.path("views", student_spec.to_dict(), *drawn.key)]
    shapes = [((views * len(photos), *photos.for_student.shape[1:]), np.uint8)]
    (images,) = kept(paths, shapes, vary_for_student)
    return SoftTargets(images, logits, np.tile(photos.targets, views), rest[0] if rest else None)


def _answers(
    teacher: Teacher,
    images: UInt8Array,
    views: _Views,
    features: bool,
    cache: SoftTargetCache | None,
) -> list[_Array]:
    """The teacher's logits and, where asked for, features."""
    total = views.count * len(images)
    shapes: list[tuple[tuple[int, ...], Any]] = [((total, len(teacher.labels)), np.float32)]
    if features:
        assert teacher.feature_width is not None, "asked before"
        shapes.append(((total, teacher.feature_width), np.float32))

    def ask(arrays: Sequence[_Array]) -> None:
        for rows, batch in _views(images, views, "teacher answers the views"):
            answers = teacher.answer(batch)
            arrays[0][rows] = answers.logits
            if features:
                arrays[1][rows] = answers.features

    paths = None
    if cache is not None:
        key = (teacher.sha256, teacher.labels, teacher.spec.to_dict(), *views.key)
        kinds = ("answers", "features") if features else ("answers",)
        paths = [cache.path(kind, *key) for kind in kinds]
        if all(path.exists() for path in paths):
            log(f"teacher's answers reused: {views.count} views of {len(images)} photos")
    return kept(paths, shapes, ask)


def _views(images: UInt8Array, views: _Views, title: str) -> Iterator[tuple[slice, UInt8Array]]:
    """Batches uint8 [n, h, w, 3] of every view, and the rows they stand for."""
    vary = Variations(views.seed, mirror=views.mirror)
    progress = Progress(title, views.count * math.ceil(len(images) / BATCH_SIZE))
    start = 0
    for view in range(views.count):
        for batch in in_batches(images):
            yield slice(start, start + len(batch)), vary.pixels_of(batch) if view else batch
            start += len(batch)
            progress.advance()


def kept(
    paths: Sequence[Path] | None,
    shapes: Sequence[tuple[tuple[int, ...], Any]],
    fill: Callable[[Sequence[_Array]], None],
) -> list[_Array]:
    """Arrays that are mapped from disk, filled first where one of them is not there.

    Args:
        paths: A file an array; None keeps them in memory.
        shapes: Shape and dtype of each.
        fill: Writes their numbers into the arrays it is given.
    """
    if paths is None:
        arrays: list[_Array] = [np.empty(shape, dtype) for shape, dtype in shapes]
        fill(arrays)
        return arrays
    if not all(path.exists() for path in paths):
        with _new_files(paths, shapes) as arrays:
            fill(arrays)
    return [np.load(path, mmap_mode="r") for path in paths]


@contextmanager
def _new_files(
    paths: Sequence[Path], shapes: Sequence[tuple[tuple[int, ...], Any]]
) -> Iterator[list[_Array]]:
    """Writable arrays that become the files `paths` when the block succeeds."""
    with ExitStack() as stack:
        arrays: list[np.memmap[Any, Any]] = []
        for path, (shape, dtype) in zip(paths, shapes, strict=True):
            temporary = stack.enter_context(files.replacing(path))
            arrays.append(np.lib.format.open_memmap(temporary, "w+", dtype, shape))
            files.reserve(temporary)
        yield list(arrays)
        for array in arrays:
            array.flush()
