"""What a training run works on: the photos, those it is judged by, and where its files go."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgeclf.image import ImageSpec, UInt8Array
from edgeclf.photo_cache import cache_photos
from edgeclf.photos import Photos, check_disjoint, find_photos, split_photos
from edgeclf.progress import say

_HELD_OUT = 0.15
_SPLIT_NAMES = ("train", "training")


@dataclass(frozen=True)
class Task:
    """What to learn, what to judge it by, and where the files go.

    Attributes:
        name: The data set's name, and the artifacts'.
        folder: Where artifacts and the photo cache go.
        photos: To train on.
        evaluation: To judge by; no photo is in both.
    """

    name: str
    folder: Path
    photos: Photos
    evaluation: Photos

    def images(self, photos: Photos, spec: ImageSpec) -> UInt8Array:
        """The photos as uint8 [N, H, W, 3], decoded once and kept in the task's folder."""
        return cache_photos(photos, spec, self.folder / "cache")


def open_task(
    data: str | os.PathLike[str],
    evaluation: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None,
    seed: int,
) -> Task:
    """Finds the photos of a task and says what was found.

    Args:
        data: A folder with one folder of photos a class.
        evaluation: Such a folder; by default ``eval`` beside `data`, else a part of `data`.
        out: Folder for the results; by default ``runs/NAME``.
        seed: Decides the split where one is made.

    Raises:
        DataError: The photos cannot be used.
    """
    root = Path(data)
    photos = find_photos(root)
    resolved = root.resolve()
    beside = resolved.parent / "eval"
    if evaluation is None and resolved.name in _SPLIT_NAMES and beside.is_dir():
        evaluation = root.parent / "eval" if root.name in _SPLIT_NAMES else beside
    if evaluation is not None:
        judged = find_photos(evaluation, photos.labels)
        origin = str(evaluation)
    else:
        photos, judged = split_photos(photos, _HELD_OUT, seed)
        origin = f"{_HELD_OUT:.0%} of it, set aside"
    check_disjoint(photos, judged, "the accuracy")
    name = resolved.parent.name if resolved.name in _SPLIT_NAMES else resolved.name
    folder = Path(out) if out is not None else Path("runs") / name
    say(
        f"{len(photos)} photos of {', '.join(photos.labels)} in {root}; "
        f"{len(judged)} for evaluation from {origin}"
    )
    return Task(name, folder, photos, judged)
