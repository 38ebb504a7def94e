"""Which photos a file may be calibrated on, and how they are halved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Metadata
from edgeclf.datasets.labels import class_finder
from edgeclf.datasets.photos import Photos, check_disjoint, in_sketch
from edgeclf.datasets.validation import check_contents
from edgeclf.errors import DataError, OptionError, listed
from edgeclf.trust.prediction_sets import COVERAGES, photos_for

DEFAULT_RATE = 0.05
_LEAST_OF_A_CLASS = 4
_LEAST_UNKNOWN = 10


@dataclass(frozen=True)
class TrustPhotos:
    """What a file is calibrated on.

    Attributes:
        known: Photos of its classes that did not train it, see `check_known`.
        unknown: Photos of anything else, see `check_unknown`; None to do without.
        trained: Photos of its classes that may have trained it, for the subspace of what is known
            alone: the more, the better it is. None to fit that to `known` too.
        cache: Folder for decoded photos.
    """

    known: Photos
    unknown: Photos | None
    trained: Photos | None
    cache: Path

    def check(self, metadata: Metadata, rate: float = DEFAULT_RATE) -> None:
        """Refuses photos that cannot be used.

        Raises:
            DataError, OptionError: See `check_known` and `check_unknown`; or photos are both
                known and trained.
        """
        check_known(self.known, metadata, rate)
        if self.unknown is not None:
            check_unknown(self.unknown, self.known, metadata)
        if self.trained is not None:
            check_disjoint(self.trained, self.known, "the threshold")


def check_known(photos: Photos, metadata: Metadata, rate: float = DEFAULT_RATE) -> None:
    """Refuses photos that nothing can be promised from.

    Args:
        photos: Of every class of the model.
        metadata: The model's.
        rate: The share of false unknowns that will be promised.

    Raises:
        DataError: They trained the model, are too few, or lack a class.
        OptionError: `rate` is not between 0 and 0.5.
    """
    if not 0 < rate <= 0.5:
        raise OptionError(f"The rate of false unknowns is {rate}; expected above 0, at most 0.5.")
    check_contents(photos)
    _check_untrained(photos, metadata)
    check_enough(photos, rate)


def check_enough(photos: Photos, rate: float = DEFAULT_RATE) -> None:
    """Refuses photos that are too few; copies count once.

    Raises:
        DataError: They are; says how many each claim needs.
    """
    different = [
        len({digest for digest, target in zip(photos.content_sha256, photos.targets, strict=True)
             if target == index})
        for index in range(len(photos.labels))
    ]  # fmt: skip
    few = [
        f"{label} {count}"
        for label, count in zip(photos.labels, different, strict=True)
        if count < _LEAST_OF_A_CLASS
    ]
    if few:
        raise DataError(
            f"Of some classes {photos.root} holds too few different photos to calibrate on: "
            f"{listed(few)}; expected at least {_LEAST_OF_A_CLASS} of each."
        )
    if sum(different) // 2 < _photos_for_rate(rate):
        raise DataError(
            f"{photos.root} holds {sum(different)} different photos, of which half are fitted to. "
            f"{_needs(rate)} Add photos."
        )


def check_unknown(unknown: Photos, known: Photos, metadata: Metadata) -> None:
    """Refuses photos of the unknown that are not.

    Raises:
        DataError: They are too few, lie in a folder that is called like a class, are among the
            known ones, or trained the model.
    """
    find = class_finder(metadata.labels)
    for path in unknown.paths:
        parts = Path(unknown.name_of(path)).parts[:-1]
        classes = [part for part in parts if find(part) in metadata.labels]
        if classes:
            raise DataError(
                f"{path} lies in a folder {classes[0]!r}, which is a class of the model; unknown "
                "photos show what it was never taught. Move it, or rename the folder."
            )
    check_disjoint(unknown, known, "what is unknown")
    _check_untrained(unknown, metadata)
    if len(set(unknown.content_sha256)) < _LEAST_UNKNOWN:
        raise DataError(
            f"{unknown.root} holds {len(set(unknown.content_sha256))} different photos; expected "
            f"at least {_LEAST_UNKNOWN} to see how many are recognised as unknown."
        )


def halves(photos: Photos) -> npt.NDArray[np.bool_]:
    """Which photos are fitted to: of each class, in the order of their SHA-256, every second one.

    So the same photos are halved alike on every machine, and copies are never parted.
    """
    fitted = np.zeros(len(photos), bool)
    for target in np.unique(photos.targets):
        members = np.flatnonzero(photos.targets == target)
        digests = np.array(photos.content_sha256)[members]
        _, ranks = np.unique(digests, return_inverse=True)
        fitted[members] = ranks.reshape(-1) % 2 == 0
    return fitted


def data_record(
    photos: TrustPhotos,
    fitted: npt.NDArray[np.bool_],
    unknown_fitted: npt.NDArray[np.bool_] | None,
    trained: bool,
) -> dict[str, Any]:
    """How many photos were used for what, and the hash of each set, as plain JSON types."""
    parts = {
        "fitted": photos.known.subset(np.flatnonzero(fitted)),
        "held_out": photos.known.subset(np.flatnonzero(~fitted)),
    }
    if photos.unknown is not None and unknown_fitted is not None:
        parts["unknown_fitted"] = photos.unknown.subset(np.flatnonzero(unknown_fitted))
        parts["unknown_held_out"] = photos.unknown.subset(np.flatnonzero(~unknown_fitted))
    if photos.trained is not None and trained:
        parts["trained"] = photos.trained
    return {
        "split": "halves of each class by SHA-256",
        **{name: {"images": len(part), "sha256": part.sha256} for name, part in parts.items()},
    }


def _check_untrained(photos: Photos, metadata: Metadata) -> None:
    training = metadata.training or {}
    known = in_sketch(photos, training.get("photos", ""))
    if training.get("data_sha256") == photos.sha256:
        known = list(photos.paths)
    if known:
        raise DataError(
            f"{len(known)} of {len(photos)} photos in {photos.root} trained the model, the first "
            f"is {known[0]}. A model is surer of what it has learnt, and confidence and thresholds "
            "fitted there do not hold elsewhere; give photos that it has never seen."
        )


def _photos_for_rate(rate: float) -> int:
    return math.ceil(round(1 / rate - 1, 6))


def _needs(rate: float) -> str:
    sets = ", ".join(f"{c:.0%} {2 * photos_for(c)}" for c in COVERAGES)
    return (
        f"A rate of false unknowns of {rate:g} needs {2 * _photos_for_rate(rate)}, prediction sets "
        f"of a coverage of {sets}."
    )
