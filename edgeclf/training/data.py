"""What a training run works on: the photos, those it is judged by, and where its files go."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgeclf.datasets.cache import cache_photos
from edgeclf.datasets.manifest import is_table, read_table
from edgeclf.datasets.photos import Photos, check_disjoint, find_photos, split_photos
from edgeclf.datasets.validation import check_contents
from edgeclf.errors import listed
from edgeclf.image import ImageSpec, UInt8Array
from edgeclf.system import files
from edgeclf.system.progress import log
from edgeclf.training.photo_checks import describe_balance, describe_copies, keep_readable

_HELD_OUT = 0.15
_SPLIT_NAMES = ("train", "training")


@dataclass(frozen=True)
class TrainingData:
    """What to learn, what to judge it by, and where the files go.

    Attributes:
        name: The data set's name, and the artifacts'.
        folder: Where artifacts and the photo cache go.
        photos: To train on.
        evaluation: To judge by; no photo is in both.
        skipped: How many files were left out because they cannot be read; None where that was
            not asked for.
    """

    name: str
    folder: Path
    photos: Photos
    evaluation: Photos
    skipped: int | None = None

    def images(self, photos: Photos, spec: ImageSpec) -> UInt8Array:
        """The photos as uint8 [N, H, W, 3], decoded once and kept in the task's folder."""
        return cache_photos(photos, spec, self.folder / "cache")


def open_training_data(
    data: str | os.PathLike[str],
    evaluation: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None,
    seed: int,
    *,
    skip_unreadable: bool = False,
) -> TrainingData:
    """Finds the photos to train on and to judge by; refuses what would spoil the training.

    Args:
        data: A folder with one folder of photos a class, or a CSV.
        evaluation: The same with other photos; by default what the CSV's column ``split`` calls
            so, else ``eval`` beside `data`, else a part of `data`.
        out: Folder for the results; by default ``runs/NAME``.
        seed: Decides the split where one is made.
        skip_unreadable: Leaves out what cannot be read, instead of refusing all.

    Raises:
        DataError: The photos cannot be used.
        OptionError: Nothing can be written to the folder.
    """
    root = Path(data)
    table = is_table(root)
    resolved = root.resolve()
    stem = resolved.stem if table else resolved.name
    name = resolved.parent.name if stem in _SPLIT_NAMES else stem
    folder = files.out_folder(out, Path("runs") / name)

    photos = find_photos(root, split="train")
    if evaluation is None:
        evaluation = _evaluation_of(root, stem)
    judged = find_photos(evaluation, photos.labels) if evaluation is not None else None

    found = [photos] if judged is None else [photos, judged]
    sets = [keep_readable(each, folder / "cache", skip=skip_unreadable) for each in found]
    skipped = sum(map(len, found)) - sum(map(len, sets)) if skip_unreadable else None
    copies = [check_contents(each) for each in sets]

    photos, judged = sets if judged is not None else split_photos(sets[0], _HELD_OUT, seed)
    check_disjoint(photos, judged, "the accuracy")
    origin = f"{_HELD_OUT:.0%} of it, set aside" if evaluation is None else str(evaluation)
    left_out = "" if skipped is None else f"; {skipped} left out because they cannot be read"
    log(
        f"{len(photos)} photos of {listed(photos.labels)} in {root}; "
        f"{len(judged)} for evaluation from {origin}{left_out}"
    )
    remarks = [describe_copies(each, groups) for each, groups in zip(sets, copies, strict=True)]
    for line in [line for lines in remarks for line in lines] + describe_balance(photos):
        log(line)
    return TrainingData(name, folder, photos, judged, skipped)


def _evaluation_of(root: Path, stem: str) -> Path | None:
    """Where the evaluation photos of a set are by custom; None where a part must be set aside."""
    if is_table(root) and any(row.split == "eval" for row in read_table(root)):
        return root
    ending = root.suffix if is_table(root) else ""
    beside = (root if root.stem in _SPLIT_NAMES else root.resolve()).with_name("eval" + ending)
    return beside if stem in _SPLIT_NAMES and beside.exists() else None
