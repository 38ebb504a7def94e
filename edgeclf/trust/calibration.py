"""From photos to the member `trust`: what may be fitted on them, the fit, and how well it holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Artifact, seal_artifact
from edgeclf.datasets.cache import cache_photos
from edgeclf.datasets.photos import Photos
from edgeclf.errors import DataError
from edgeclf.image import UInt8Array
from edgeclf.inference.classifier import Classifier
from edgeclf.inference.confidence import Confidence, Floats, confidences, pooled_features
from edgeclf.runtimes.base import Float32Array
from edgeclf.trust import novelty, reference
from edgeclf.trust.certificate import certify_trust
from edgeclf.trust.held_out import measure
from edgeclf.trust.photos import DEFAULT_RATE, TrustPhotos, data_record, halves
from edgeclf.trust.prediction_sets import COVERAGES, fit_sets, photos_for
from edgeclf.trust.temperature import fit_temperature, floor_of

_BATCH_SIZE = 64


@dataclass(frozen=True)
class Answers:
    """What a file answers to photos.

    Attributes:
        targets: [N], the right classes; -1 for none of them.
        probabilities: float32 [N, classes].
        pooled: float32 [N, c], the pooled features; None where there are none.
    """

    targets: npt.NDArray[np.int64]
    probabilities: Float32Array
    pooled: Float32Array | None

    def subset(self, chosen: npt.NDArray[Any]) -> Answers:
        """The answers to the photos of a mask or of indices."""
        pooled = None if self.pooled is None else self.pooled[chosen]
        return Answers(self.targets[chosen], self.probabilities[chosen], pooled)


def fit_trust(
    known: Answers,
    unknown: Answers | None,
    trained: Answers | None,
    *,
    floor: float,
    rate: float = DEFAULT_RATE,
) -> dict[str, Any]:
    """Fits everything to answers, all of which are used.

    Args:
        known: The answers to photos of the model's classes that it has never seen.
        unknown: The answers to photos of anything else, to choose the novelty score by.
        trained: The answers to photos that it was trained on, for the subspace alone.
        floor: Smaller probabilities count as this one.
        rate: The share of false unknowns that is accepted.

    Returns:
        ``temperature``, ``novelty`` and ``sets`` of the member `trust`.

    Raises:
        DataError: The threshold would call everything unknown.
    """
    classes = known.probabilities.shape[1]
    temperature = fit_temperature(known.probabilities, known.targets, floor)

    def certain(answers: Answers) -> Floats:
        return confidences(answers.probabilities, temperature.value, floor)

    names = (*novelty.FEATURE_SCORES, "confidence") if known.pooled is not None else ("confidence",)
    basis = known if trained is None else trained
    directions = novelty.directions_for(len(basis.targets))
    fitted = novelty.fit_scores(names, basis.pooled, basis.targets, classes, directions)
    scores = (
        novelty.held_out_scores(names, known.pooled, certain(known), known.targets, classes)
        if trained is None
        else {n: novelty.scores_of(fitted[n], known.pooled, certain(known)) for n in names}
    )
    others = None if unknown is None else {
        name: novelty.scores_of(fitted[name], unknown.pooled, certain(unknown)) for name in names
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
        "sets": fit_sets(known.probabilities, known.targets),
    }


def calibrate_artifact(
    classifier: Classifier, photos: TrustPhotos, rate: float = DEFAULT_RATE
) -> tuple[Artifact, dict[str, Any]]:
    """Fits on one half of the photos, measures on the other, and seals the file anew.

    Args:
        classifier: The artifact, on the runtime whose answers are fitted to.
        photos: What to fit to.
        rate: The share of false unknowns that is accepted.

    Returns:
        The artifact, not yet written; and what a page about it needs, as plain JSON types.

    Raises:
        DataError: The photos cannot be used, or the result would call most known ones unknown.
    """
    artifact, metadata = classifier.artifact, classifier.artifact.metadata
    photos.check(metadata, rate)
    known, unknown = photos.known, photos.unknown
    answers = _ask_photos(classifier, known, photos.cache)
    fitted = halves(known)
    strangers = None if unknown is None else _ask_photos(classifier, unknown, photos.cache)
    strangers_fitted = None if unknown is None else halves(unknown)
    trained = None
    if photos.trained is not None and classifier.gives_features:
        trained = _ask_photos(classifier, photos.trained, photos.cache)
    trust = fit_trust(
        answers.subset(fitted),
        _part(strangers, strangers_fitted),
        trained,
        floor=floor_of(metadata.precision),
        rate=rate,
    )
    channels = None if answers.pooled is None else answers.pooled.shape[1]
    confidence = Confidence(trust, channels, len(metadata.labels))
    others = None if strangers_fitted is None else _part(strangers, ~strangers_fitted)
    later = known.subset(np.flatnonzero(~fitted))
    images = cache_photos(known, metadata.image, photos.cache)[~fitted]
    held_out = measure(trust, confidence, answers.subset(~fitted), later, images, others)
    _check_not_all_unknown(held_out["novelty"]["false_unknown"], rate, known)
    trust |= {
        "data": data_record(photos, fitted, strangers_fitted, trained is not None),
        "held_out": held_out.pop("summary"),
        "reference": held_out_reference(confidence, answers.subset(~fitted), images),
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
        "remarks": _remarks(trust, int(fitted.sum()), answers.pooled is not None),
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
        "novelty": confidence.novelty.scores(answers.pooled, certain)
        / confidence.novelty.threshold,
        **reference.picture_statistics(images),
    }
    top1 = answers.probabilities.argmax(axis=1)
    return reference.histograms(values, top1, answers.probabilities.shape[1])


def ask(
    classifier: Classifier,
    images: Sequence[UInt8Array] | UInt8Array,
    targets: npt.NDArray[np.int64],
) -> Answers:
    """A file's answers to images of its input size, with pooled features where it gives them.

    Args:
        classifier: The file.
        images: uint8 [N, H, W, 3], or as many [H, W, 3].
        targets: int64 [N], -1 where there is none.
    """
    rows, pooled = [], []
    for start in range(0, len(images), _BATCH_SIZE):
        batch = np.ascontiguousarray(images[start : start + _BATCH_SIZE])
        if classifier.gives_features:
            probabilities, features = classifier.features(batch)
            pooled.append(pooled_features(features))
        else:
            probabilities = classifier.probabilities(batch)
        rows.append(probabilities)
    return Answers(targets, np.concatenate(rows), np.concatenate(pooled) if pooled else None)


def _ask_photos(classifier: Classifier, photos: Photos, cache: Path) -> Answers:
    images = cache_photos(photos, classifier.artifact.metadata.image, cache)
    return ask(classifier, images, photos.targets)


def _part(answers: Answers | None, chosen: npt.NDArray[np.bool_] | None) -> Answers | None:
    return None if answers is None or chosen is None else answers.subset(chosen)


def _check_not_all_unknown(share: float, rate: float, known: Photos) -> None:
    if share > max(0.5, 2 * rate):
        raise DataError(
            f"The threshold would call {share:.0%} of the held-out photos in {known.root} unknown. "
            "The halves are not of one kind: look for copies of a few pictures, or add photos."
        )


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
