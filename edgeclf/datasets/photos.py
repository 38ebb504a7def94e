"""Photos on disk as a data set, in an order that is fixed: one folder a class, or a CSV."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeclf.artifact.metadata import CONTROL
from edgeclf.datasets.folders import (
    SUFFIXES,
    by_path,
    find_files,
    find_folders,
    is_photo,
    natural_key,
    normal,
    reading,
)
from edgeclf.datasets.labels import class_finder, read_labels
from edgeclf.datasets.manifest import Split, is_table, of_split, read_table
from edgeclf.errors import DataError, OptionError, listed
from edgeclf.system.files import sha256_of

LABELS_FILE = "labels.txt"
_SKETCH_SIZE = 1024


@dataclass(frozen=True)
class Photos:
    """Labelled photos on disk.

    Attributes:
        root: The folder they were found in, or the CSV that names them.
        labels: Class names in the model's order.
        paths: One file a photo, grouped by class, naturally sorted within it.
        targets: int64 [N], each photo's index into `labels`.
        groups: What photos of one thing have in common, by the CSV's column ``group``: a split
            keeps them together. Empty where there is no such column.
    """

    root: Path
    labels: tuple[str, ...]
    paths: tuple[Path, ...]
    targets: npt.NDArray[np.int64]
    groups: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def content_sha256(self) -> tuple[str, ...]:
        """Each file's SHA-256, in the order of `paths`."""
        with reading(self.root), ThreadPoolExecutor() as pool:
            return tuple(pool.map(sha256_of, self.paths))

    @cached_property
    def sha256(self) -> str:
        """One hash over labels, order and content; the same photos give it on any machine."""
        targets = ",".join(map(str, self.targets.tolist()))
        return sha256_of("\n".join(self.labels), targets, "".join(self.content_sha256))

    @cached_property
    def sketch(self) -> str:
        """Four bytes of each file's SHA-256, the least 1,024 of them in base64: see `in_sketch`."""
        least = sorted({bytes.fromhex(each[:8]) for each in self.content_sha256})[:_SKETCH_SIZE]
        return base64.b64encode(b"".join(least)).decode()

    def subset(self, indices: Sequence[int] | npt.NDArray[np.intp]) -> Photos:
        """The photos at `indices`, in that order."""
        picked = tuple(self.paths[i] for i in indices)
        targets = self.targets[np.asarray(indices, int)]
        groups = tuple(self.groups[i] for i in indices) if self.groups else ()
        photos = Photos(self.root, self.labels, picked, targets, groups)
        if "content_sha256" in vars(self):  # hashed already: the files are not read again
            vars(photos)["content_sha256"] = tuple(self.content_sha256[i] for i in indices)
        return photos

    def name_of(self, path: Path) -> str:
        """A photo's path as seen from the folder, or from the CSV's."""
        folder = self.root.parent if is_table(self.root) else self.root
        return os.path.relpath(path, folder).encode(errors="backslashreplace").decode()


def find_photos(
    root: str | os.PathLike[str],
    labels: Sequence[str] | None = None,
    *,
    partial: bool = False,
    split: Split = "eval",
) -> Photos:
    """Finds labelled photos: below a folder that holds one folder a class, or by a CSV.

    The order of the classes is the given one, else that of a ``labels.txt`` in `root` or beside
    it, else the natural order of the names (``img2`` before ``img10``).

    Args:
        root: The folder, for example ``examples/mugs/train``; or a CSV, see
            `edgeclf.datasets.manifest.read_table`.
        labels: Class names that the folders, or the labels in the CSV, must match.
        partial: Whether some of the labels may have no photo.
        split: Which rows of a CSV that has a column ``split``.

    Raises:
        DataError: No such folder or CSV, fewer than two classes, an empty class, or classes and
            labels that do not match.
    """
    root = Path(root)
    with reading(root):
        table = is_table(root)
        found, groups = _by_table(root, split) if table else (_by_folder(root), {})
        order = tuple(
            labels or _read_labels(root) or sorted({*map(normal, found)}, key=natural_key)
        )
    by_label: dict[str, list[Path]] = {}
    find = class_finder(order)
    for name, files in found.items():
        by_label.setdefault(find(name), []).extend(files)
    _check_classes(root, order, by_label, partial)
    paths: list[Path] = []
    targets: list[int] = []
    for index, label in enumerate(order):
        files = by_label.get(label, [])
        paths += sorted(files, key=by_path)
        targets += [index] * len(files)
    together = tuple(groups[path] for path in paths) if groups else ()
    return Photos(root, order, tuple(paths), np.array(targets, np.int64), together)


def _check_classes(
    root: Path, order: tuple[str, ...], by_label: dict[str, list[Path]], partial: bool
) -> None:
    kind, without = ("label", "no photo of") if is_table(root) else ("folder", "no folder for")
    missing, unknown = set(order) - by_label.keys(), by_label.keys() - set(order)
    if unknown or (missing and not (partial and by_label)):
        where = f"labels in {root}" if is_table(root) else f"class folders in {root}"
        raise DataError(
            f"The {where} do not match the labels: {_difference(without, missing)}"
            f"{_difference('no label for', unknown)}"
            f"Expected one {kind} for each of: {listed(map(_shown, order))}."
        )
    if len(order) < 2:
        raise DataError(
            f"{root} holds {len(order)} class {kind}(s); expected at least two, "
            "for example mug/ and other/, each with photos."
        )
    for label, files in by_label.items():
        if len(label.splitlines()) != 1 or CONTROL.search(label):
            raise DataError(f"The class name {label!r} is not one line of Unicode; rename it.")
        if not files:
            raise DataError(f"The class folder {root / label} is empty; put photos in it.")


def _by_folder(root: Path) -> dict[str, list[Path]]:
    """The files of each class folder."""
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder; expected one that holds a folder a class, or a .csv file."
        )
    return {folder.name: find_files(folder) for folder in find_folders(root)}


def _by_table(path: Path, split: Split) -> tuple[dict[str, list[Path]], dict[Path, str]]:
    """The files of each label of a CSV, and each file's group where it names any."""
    by_label: dict[str, list[Path]] = {}
    groups: dict[Path, str] = {}
    for row in of_split(path, read_table(path), split):
        by_label.setdefault(row.label, []).append(row.path)
        if row.group is not None:
            groups[row.path] = row.group
    return by_label, groups


def find_unlabelled(root: str | os.PathLike[str], split: Split = "eval") -> Photos:
    """Finds the photos below a folder, whatever folders they are in, or those that a CSV names.

    Args:
        root: The folder; files in it that are not called like a photo are passed over. Or a CSV.
        split: Which rows of a CSV that has a column ``split``.

    Returns:
        Photos without labels, each with the target -1.

    Raises:
        DataError: No such folder, or no file in it that is called like a photo.
    """
    root = Path(root)
    with reading(root):
        if is_table(root):
            paths = sorted(chain(*_by_table(root, split)[0].values()), key=by_path)
        elif root.is_dir():
            paths = [path for path in find_files(root) if is_photo(path.name)]
        else:
            raise DataError(f"{root} is not a folder; expected one with photos.")
    if not paths:
        raise DataError(f"There are no photos in {root}; expected {', '.join(SUFFIXES)} files.")
    return Photos(root, (), tuple(paths), np.full(len(paths), -1, np.int64))


def split_photos(photos: Photos, held_out: float, seed: int) -> tuple[Photos, Photos]:
    """Sets aside a share of every class, at least one photo of each.

    Args:
        photos: What to split.
        held_out: Share to set aside, between 0 and 1.
        seed: Decides which photos.

    Returns:
        (the rest, the ones set aside).

    Copies of one photo stay together, and so does a group: with one on each side, the accuracy
    would not be honest. Of groups, the share is one of groups.

    Raises:
        DataError: A class has only one photo.
    """
    if not 0 < held_out < 1:
        raise OptionError(f"The held-out share is {held_out}; expected between 0 and 1.")
    rng = np.random.default_rng(seed)
    contents = np.array(photos.content_sha256)
    things = np.array(photos.groups) if photos.groups else contents
    first = np.zeros(len(photos), bool)
    first[np.unique(things, return_index=True)[1]] = True
    aside: list[int] = []
    for index, label in enumerate(photos.labels):
        members = np.flatnonzero(first & (photos.targets == index))
        if len(members) < 2:
            raise DataError(
                f"Class {label!r} has one {'group' if photos.groups else 'photo'} in "
                f"{photos.root}; a split needs at least two different ones."
            )
        count = max(1, round(held_out * len(members)))
        aside += rng.permutation(members)[:count].tolist()
    held = np.isin(things, things[aside])
    held |= np.isin(contents, contents[held])
    return photos.subset(np.flatnonzero(~held)), photos.subset(np.flatnonzero(held))


def sample_photos(photos: Photos, count: int, seed: int) -> Photos:
    """Up to `count` photos, spread evenly over the classes."""
    if count >= len(photos):
        return photos
    rng = np.random.default_rng(seed)
    # Each class in random order; then the first of every class, the second of every class, ...
    ranks = np.empty(len(photos), int)
    for index in np.unique(photos.targets):
        members = rng.permutation(np.flatnonzero(photos.targets == index))
        ranks[members] = np.arange(len(members))
    order = np.lexsort((rng.random(len(photos)), ranks))
    return photos.subset(np.sort(order[:count]))


def check_disjoint(first: Photos, second: Photos, purpose: str) -> None:
    """Refuses two sets that share a photo, told by content.

    Raises:
        DataError: They share at least one.
    """
    where = dict(zip(second.content_sha256, second.paths, strict=True))
    shared = [
        (p, where[h]) for p, h in zip(first.paths, first.content_sha256, strict=True) if h in where
    ]
    if shared:
        a, b = shared[0]
        raise DataError(
            f"{len(shared)} photo(s) are in both sets, so {purpose} would not be honest; the "
            f"first is {a}, the same as {b}. Remove them from one set."
        )


def in_sketch(photos: Photos, sketch: str) -> list[Path]:
    """Those of the photos that are in a set by its `Photos.sketch`.

    Of a set of up to 1,024 photos all are found, of a larger one a share that is even over all
    photos. Of those that are not in it, one in four million is named.
    """
    stored = base64.b64decode(sketch)
    known = {stored[at : at + 4] for at in range(0, len(stored), 4)}
    files = zip(photos.paths, photos.content_sha256, strict=True)
    return [path for path, each in files if known and bytes.fromhex(each[:8]) in known]


def _read_labels(root: Path) -> tuple[str, ...] | None:
    for folder in (root, root.resolve().parent):  # a CSV has no file below it
        file = folder / LABELS_FILE
        if file.is_file():
            return read_labels(file)
    return None


def _difference(words: str, names: set[str]) -> str:
    return f"{words} {listed(map(_shown, sorted(names, key=natural_key)))}. " if names else ""


def _shown(name: str) -> str:
    """A name in a message: in quotes where its spaces would not be seen."""
    return name if name == name.strip() else repr(name)
