"""Sets of labels that hold the right one with a stated probability: split conformal prediction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.inference.confidence import Floats, PredictionSets, set_scores

COVERAGES = (0.8, 0.9, 0.95, 0.99)
SCORES = {"plain": 0.0, "raps": 0.01}  # with the penalty of each
_FOLDS = 5
_PER_CLASS = 2  # a class has its own quantile when so many of its photos may lie above it

Targets = npt.NDArray[np.integer]


def photos_for(coverage: float) -> int:
    """How many photos a quantile needs, so that it is one of their scores."""
    return math.ceil(round(coverage / (1 - coverage), 6))


def quantile(scores: Floats, coverage: float) -> float | None:
    """The r-th smallest of n scores, r = ceil((n + 1) coverage); None where r is above n.

    Of n + 1 exchangeable scores the last is no greater with a chance of at least `coverage` (Vovk
    et al., "Algorithmic Learning in a Random World", 2005). Rounded up to six digits.
    """
    rank = math.ceil(round((len(scores) + 1) * coverage, 9))
    if rank > len(scores):
        return None
    return math.ceil(float(np.sort(scores)[rank - 1]) * 1e6) / 1e6


def fit_sets(probabilities: Floats, targets: Targets) -> dict[str, Any]:
    """Quantiles for each coverage that so many photos carry, by the score with the smaller sets.

    The score is chosen by the mean size of sets on photos whose quantiles came from others.

    Args:
        probabilities: [N, classes], as the model gives them.
        targets: [N], the right classes.

    Returns:
        ``score``, ``penalty``, ``levels`` as the file stores them, and ``sizes``: the mean size
        that each score had.
    """
    sizes = {name: _held_out_size(name, probabilities, targets) for name in SCORES}
    score = min(sizes, key=sizes.__getitem__)
    return {**_fit(score, probabilities, targets), "sizes": sizes}


def read_sets(record: dict[str, Any]) -> PredictionSets:
    """What a device makes of it."""
    levels = tuple((each["coverage"], tuple(each["quantiles"])) for each in record["levels"])
    return PredictionSets(record["score"], record["penalty"], levels)


def contained(record: dict[str, Any], probabilities: Floats, coverage: float) -> npt.NDArray[Any]:
    """Which classes are in each row's set: bool [N, classes]; see `PredictionSets.members`."""
    limits = next(each["quantiles"] for each in record["levels"] if each["coverage"] >= coverage)
    inside = set_scores(probabilities, record["score"], record["penalty"]) <= np.array(limits)
    inside[np.arange(len(inside)), np.asarray(probabilities).argmax(axis=1)] = True
    return inside


def _fit(score: str, probabilities: Floats, targets: Targets) -> dict[str, Any]:
    classes = probabilities.shape[1]
    scores = set_scores(probabilities, score, SCORES[score])
    right = scores[np.arange(len(targets)), targets]
    levels = []
    for coverage in COVERAGES:
        pooled = quantile(right, coverage)
        if pooled is None:
            break
        needed = _PER_CLASS / (1 - coverage)
        if np.bincount(targets, minlength=classes).min() >= round(needed, 6):
            each = [quantile(right[targets == k], coverage) for k in range(classes)]
        else:
            each = [pooled]
        levels.append({"coverage": coverage, "quantiles": each})
    return {"score": score, "penalty": SCORES[score], "levels": levels}


def _held_out_size(score: str, probabilities: Floats, targets: Targets) -> float:
    """Mean size over all rows and levels, each row's quantiles from the other folds."""
    folds = np.arange(len(targets)) % _FOLDS
    sizes = []
    for fold in range(_FOLDS):
        out = folds == fold
        fitted = _fit(score, probabilities[~out], targets[~out])
        sizes += [
            contained(fitted, probabilities[out], level["coverage"]).sum(axis=1)
            for level in fitted["levels"]
        ]
    return float(np.concatenate(sizes).mean()) if sizes else float("inf")
