"""From photos to the member `trust`: what may be fitted on them, the fit, and how well it holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Artifact, Metadata, seal_artifact
from edgeclf.datasets.cache import cache_photos
from edgeclf.datasets.labels import class_finder
from edgeclf.datasets.photos import Photos, check_disjoint, in_sketch
from edgeclf.datasets.validation import check_contents
from edgeclf.errors import DataError, OptionError, listed
from edgeclf.image import UInt8Array
from edgeclf.inference.classifier import Classifier
from edgeclf.inference.confidence import Confidence, Floats, confidences, unit_features
from edgeclf.runtimes.base import Float32Array
from edgeclf.trust import novelty, reference
from edgeclf.trust.certificate import certify_trust
from edgeclf.trust.held_out import measure
from edgeclf.trust.prediction_sets import COVERAGES, fit_sets, photos_for
from edgeclf.trust.temperature import fit_temperature, floor_of

DEFAULT_RATE = 0.05
_BATCH_SIZE = 64
_LEAST_OF_A_CLASS = 4
_LEAST_UNKNOWN = 10


@dataclass(frozen=True)
class Answers:
    """What a file answers to photos.

    Attributes:
        probabilities: float32 [N, classes].
        units: float32 [N, c], the pooled features with length 1; None where there are none.
    """

    probabilities: Float32Array
    units: Float32Array | None

    def subset(self, chosen: npt.NDArray[Any]) -> Answers:
        """The answers to the photos of a mask or of indices."""
        units = None if self.units is None else self.units[chosen]
        return Answers(self.probabilities[chosen], units)


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


def fit_trust(
    known: Answers,
    targets: npt.NDArray[np.integer],
    unknown: Answers | None,
    *,
    floor: float,
    rate: float = DEFAULT_RATE,
) -> dict[str, Any]:
    """Fits everything to answers, all of which are used.

    Args:
        known: The answers to photos of the model's classes.
        targets: [N], the right classes.
        unknown: The answers to photos of anything else, to choose the novelty score by.
        floor: Smaller probabilities count as this one.
        rate: The share of false unknowns that is accepted.

    Returns:
        ``temperature``, ``novelty`` and ``sets`` of the member `trust`.

    Raises:
        DataError: The threshold would call everything unknown.
    """
    classes = known.probabilities.shape[1]
    temperature = fit_temperature(known.probabilities, targets, floor)

    def certain(answers: Answers) -> Floats:
        return confidences(answers.probabilities, temperature.value, floor)

    names = (*novelty.FEATURE_SCORES, "confidence") if known.units is not None else ("confidence",)
    directions = novelty.directions_for(len(targets))
    fitted = {
        name: novelty.fit_score(name, known.units, targets, classes, directions) for name in names
    }
    scores = {
        name: novelty.held_out_scores(name, known.units, certain(known), targets, classes)
        for name in names
    }
    others = None if unknown is None else {
        name: novelty.scores_of(fitted[name], unknown.units, certain(unknown)) for name in names
    }  # fmt: skip
    taken, aurocs, why = novelty.choose_score(scores, others)
    threshold = novelty.fit_threshold(scores[taken], rate)
    return {
        "temperature": {
            **dataclasses.asdict(temperature),
            "interval_95": list(temperature.interval_95),
            "floor": floor,
        },
        "novelty": {**fitted[taken], **threshold, "auroc": aurocs, "why": why},
        "sets": fit_sets(known.probabilities, targets),
    }


def calibrate_artifact(
    classifier: Classifier,
    known: Photos,
    unknown: Photos | None,
    *,
    cache: Path,
    rate: float = DEFAULT_RATE,
) -> tuple[Artifact, dict[str, Any]]:
    """Fits on one half of the photos, measures on the other, and seals the file anew.

    Args:
        classifier: The artifact, on the runtime whose answers are fitted to.
        known: Photos of its classes that did not train it, see `check_known`.
        unknown: Photos of anything else, see `check_unknown`; None to do without.
        cache: Folder for decoded photos.
        rate: The share of false unknowns that is accepted.

    Returns:
        The artifact, not yet written; and what a page about it needs, as plain JSON types.

    Raises:
        DataError: The photos cannot be used, or the result would call most known ones unknown.
    """
    artifact = classifier.artifact
    metadata = artifact.metadata
    check_known(known, metadata, rate)
    if unknown is not None:
        check_unknown(unknown, known, metadata)
    images = cache_photos(known, metadata.image, cache)
    answers = _ask(classifier, images)
    others = None
    if unknown is not None:
        others = _ask(classifier, cache_photos(unknown, metadata.image, cache))
    fitted = halves(known)
    others_fitted = None if unknown is None else halves(unknown)
    trust = fit_trust(
        answers.subset(fitted),
        known.targets[fitted],
        None if others is None or others_fitted is None else others.subset(others_fitted),
        floor=floor_of(metadata.precision),
        rate=rate,
    )
    channels = None if answers.units is None else answers.units.shape[1]
    confidence = Confidence(trust, channels, len(metadata.labels))
    photos = known.subset(np.flatnonzero(~fitted))
    strangers = None if others is None or others_fitted is None else others.subset(~others_fitted)
    held_out_images = images[~fitted]
    held_out = measure(
        trust, confidence, answers.subset(~fitted), photos, held_out_images, strangers
    )
    _check_not_all_unknown(held_out["novelty"]["false_unknown"], known)
    trust |= {
        "data": _data(known, fitted, unknown, others_fitted),
        "held_out": held_out.pop("summary"),
        "reference": held_out_reference(confidence, answers.subset(~fitted), held_out_images),
    }
    calibrated = dataclasses.replace(metadata, trust=trust)
    calibrated = dataclasses.replace(calibrated, certificate=certify_trust(classifier, calibrated))
    sealed = seal_artifact(artifact.content, calibrated)
    return dataclasses.replace(sealed, path=artifact.path), {
        "format": artifact.format,
        "precision": metadata.precision,
        "runtime": dataclasses.asdict(classifier.describe()),
        "size_bytes": sealed.size_bytes,
        "sha256": sealed.sha256,
        "trust": {key: value for key, value in trust.items() if key != "reference"},
        "remarks": _remarks(trust, int(fitted.sum()), answers.units is not None),
        **held_out,
    }


def held_out_reference(
    confidence: Confidence, answers: Answers, images: UInt8Array
) -> dict[str, Any]:
    """Histograms of the known photos that were not fitted to."""
    certain = confidences(answers.probabilities, confidence.temperature, confidence.floor)
    values = {
        "confidence": certain,
        "margin": reference.margins(answers.probabilities),
        "novelty": confidence.novelty.scores(answers.units, certain) / confidence.novelty.threshold,
        **reference.picture_statistics(images),
    }
    top1 = answers.probabilities.argmax(axis=1)
    return reference.histograms(values, top1, answers.probabilities.shape[1])


def _ask(classifier: Classifier, images: UInt8Array) -> Answers:
    rows, units = [], []
    for start in range(0, len(images), _BATCH_SIZE):
        batch = np.ascontiguousarray(images[start : start + _BATCH_SIZE])
        if classifier.gives_features:
            probabilities, features = classifier.features(batch)
            units.append(unit_features(features))
        else:
            probabilities = classifier.probabilities(batch)
        rows.append(probabilities)
    return Answers(np.concatenate(rows), np.concatenate(units) if units else None)


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


def _check_not_all_unknown(share: float, known: Photos) -> None:
    if share > 0.5:
        raise DataError(
            f"The threshold would call {share:.0%} of the held-out photos in {known.root} unknown. "
            "The halves are not of one kind: look for copies of a few pictures, or add photos."
        )


def _data(
    known: Photos,
    fitted: npt.NDArray[np.bool_],
    unknown: Photos | None,
    unknown_fitted: npt.NDArray[np.bool_] | None,
) -> dict[str, Any]:
    record: dict[str, Any] = {"split": "halves of each class by SHA-256"}
    for name, mask in (("fitted", fitted), ("held_out", ~fitted)):
        part = known.subset(np.flatnonzero(mask))
        record[name] = {"images": len(part), "sha256": part.sha256}
    if unknown is not None and unknown_fitted is not None:
        for name, mask in (
            ("unknown_fitted", unknown_fitted),
            ("unknown_held_out", ~unknown_fitted),
        ):
            part = unknown.subset(np.flatnonzero(mask))
            record[name] = {"images": len(part), "sha256": part.sha256}
    return record


def _remarks(trust: Mapping[str, Any], photos: int, features: bool) -> list[str]:
    """What the figures do not carry, in sentences."""
    remarks = []
    lacking = [c for c in COVERAGES if c not in {e["coverage"] for e in trust["sets"]["levels"]}]
    if lacking:
        needed = ", ".join(f"{c:.0%} needs {2 * photos_for(c)}" for c in lacking)
        remarks.append(f"There are no sets for every coverage: {needed} photos.")
    wrong = trust["temperature"]["wrong"]
    if wrong < 10:
        remarks.append(
            f"The temperature rests on {wrong} wrong answers of {photos}; see its interval."
        )
    if not features:
        remarks.append(
            "Unknown is told by confidence alone, as there are no features: on the mugs that had "
            "an AUROC of 0.77 where features had 0.98."
        )
    measured = trust["held_out"]
    rate, (low, high) = (
        trust["novelty"]["false_unknown_rate"],
        measured["false_unknown_interval_95"],
    )
    if not low <= rate <= high:
        remarks.append(
            f"{measured['false_unknown']:.1%} of the held-out known photos are called unknown, "
            f"{rate:.1%} were to be."
        )
    return remarks


def _photos_for_rate(rate: float) -> int:
    return math.ceil(round(1 / rate - 1, 6))


def _needs(rate: float) -> str:
    sets = ", ".join(f"{c:.0%} {2 * photos_for(c)}" for c in COVERAGES)
    return (
        f"A rate of false unknowns of {rate:g} needs {2 * _photos_for_rate(rate)}, prediction sets "
        f"of a coverage of {sets}."
    )
