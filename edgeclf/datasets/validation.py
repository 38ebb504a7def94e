"""What is wrong with a set of photos whoever uses it: two labels of one photo, other classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgeclf.artifact import Artifact
from edgeclf.datasets.folders import normal
from edgeclf.datasets.photos import Photos, find_photos
from edgeclf.errors import DataError, listed

_SHOWN = 5


def check_contents(photos: Photos) -> tuple[tuple[Path, ...], ...]:
    """Looks for photos that are there more than once, told by content.

    Returns:
        Groups of files with the same content and the same label.

    Raises:
        DataError: The same content has two labels, of which one must be wrong.
    """
    groups: dict[str, list[int]] = {}
    for index, digest in enumerate(photos.content_sha256):
        groups.setdefault(digest, []).append(index)
    copies = [members for members in groups.values() if len(members) > 1]
    torn = [members for members in copies if len(set(photos.targets[members].tolist())) > 1]
    if torn and photos.labels:
        raise DataError(
            f"{len(torn)} photo(s) in {photos.root} have two labels; remove the wrong one of:"
            "\n  " + listed((_with_labels(photos, members) for members in torn), "\n  ", _SHOWN)
        )
    return tuple(tuple(photos.paths[i] for i in members) for members in copies)


def find_photos_for(
    artifacts: Sequence[Artifact], root: str | os.PathLike[str], *, partial: bool = False
) -> Photos:
    """Finds labelled photos that several models can be asked about.

    Args:
        artifacts: The models; at least one.
        root: A folder that holds one folder a class, or a CSV.
        partial: Whether some of the classes may have no photo.

    Raises:
        DataError: The models know different classes, or the photos cannot be used.
    """
    first = artifacts[0]
    for artifact in artifacts[1:]:
        labels = artifact.metadata.labels
        if [*map(normal, labels)] != [*map(normal, first.metadata.labels)]:
            raise DataError(
                f"{artifact.path} knows the classes {listed(labels)}; "
                f"{first.path} knows {listed(first.metadata.labels)}. Only models of the same "
                "classes, in the same order, can be asked about the same photos."
            )
    photos = find_photos(root, first.metadata.labels, partial=partial)
    check_contents(photos)
    return photos


def _with_labels(photos: Photos, members: Sequence[int]) -> str:
    parts = (f"{photos.paths[i]} ({photos.labels[photos.targets[i]]})" for i in members)
    return listed(parts, " = ", _SHOWN)
