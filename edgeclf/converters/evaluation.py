"""What a conversion is judged on: labelled photos, unlabelled ones, or generated pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeclf.datasets.cache import cache_photos
from edgeclf.datasets.folders import find_folders, reading
from edgeclf.datasets.manifest import Split, is_table
from edgeclf.datasets.photos import Photos, find_photos, find_unlabelled
from edgeclf.datasets.validation import check_contents
from edgeclf.errors import DataError
from edgeclf.image import ImageSpec, UInt8Array
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.base import Float32Array
from edgeclf.system.files import sha256_of
from edgeclf.system.progress import log

_GENERATED = 64
_AT_ONCE = 8  # images that an artifact is asked
_PIXELS_AT_ONCE = 300_000  # that a source is asked


@dataclass(frozen=True)
class Evaluation:
    """Images with or without the right answers.

    Attributes:
        kind: ``labelled`` photos tell how much accuracy a conversion costs; ``unlabelled`` ones
            how often its answer changes; ``generated`` pictures how far its figures move.
        images: uint8 [N, H, W, 3] of the model's input size.
        targets: int64 [N]; None without labels.
        photos: The files; None for generated pictures.
        sha256: Of all images and labels.
    """

    kind: Literal["labelled", "unlabelled", "generated"]
    images: UInt8Array = field(repr=False)
    targets: npt.NDArray[np.int64] | None
    photos: Photos | None
    sha256: str


def open_evaluation(
    folder: str | os.PathLike[str] | None, labels: Sequence[str], spec: ImageSpec, cache: Path
) -> Evaluation:
    """Finds the images to judge by.

    Args:
        folder: Photos in one folder a class, which may be some of the classes; or a CSV of them;
            or photos alone; or None for generated pictures.
        labels: The model's classes.
        spec: How photos become its input.
        cache: Folder for decoded photos.

    Raises:
        DataError: The photos cannot be used.
    """
    if folder is None:
        images = generated_pictures(spec)
        return Evaluation("generated", images, None, None, sha256_of(images.tobytes()))
    photos = find_any_photos(folder, labels, split="eval")
    check_contents(photos)
    images = cache_photos(photos, spec, cache)
    if photos.labels:
        return Evaluation("labelled", images, photos.targets, photos, photos.sha256)
    return Evaluation("unlabelled", images, None, photos, photos.sha256)


def answers_to(images: UInt8Array, classifier: Classifier) -> Float32Array:
    """An artifact's probabilities float32 [N, classes], a few images at a time.

    ONNX Runtime keeps as much memory as its largest batch took: a gigabyte for 64 of 160 pixels in
    EfficientNet-Lite0, where eight are as fast.
    """
    parts = range(0, len(images), _AT_ONCE)
    return np.concatenate([classifier.probabilities(images[i : i + _AT_ONCE]) for i in parts])


def in_parts(images: UInt8Array) -> Iterator[UInt8Array]:
    """Images [N, H, W, 3], a few at a time: engines keep what their largest batch took."""
    count = max(1, _PIXELS_AT_ONCE // (images.shape[1] * images.shape[2]))
    for start in range(0, len(images), count):
        yield images[start : start + count]


def find_any_photos(
    folder: str | os.PathLike[str], labels: Sequence[str], *, split: Split
) -> Photos:
    """Labelled photos where there are class folders or a CSV, else unlabelled ones.

    Photos to calibrate on (the split ``train``) need no classes: where theirs are not the model's,
    they are taken without.
    """
    root = Path(folder)
    with reading(root):
        flat = not is_table(root) and not (root.is_dir() and find_folders(root))
    if flat:
        return find_unlabelled(root)
    try:
        return find_photos(root, labels, partial=True, split=split)
    except DataError as exc:
        if split == "eval":
            raise
        photos = find_unlabelled(root, split)
        log(f"remark: the photos in {root} are taken without their classes: {exc}")
        return photos


def generated_pictures(spec: ImageSpec, count: int = _GENERATED) -> UInt8Array:
    """Soft patches of colour, finer from one to the next; the same on every machine."""
    rng = np.random.default_rng(0)
    size = (spec.width, spec.height)
    pictures = []
    for index in range(count):
        coarse = rng.integers(0, 256, (3 + index % 10, 3 + index % 10, 3), np.uint8)
        pictures.append(np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)))
    return np.stack(pictures)
