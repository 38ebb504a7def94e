"""Which score tells the unknown from the known, and from where on."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.errors import DataError
from edgeclf.inference.confidence import Floats, Novelty, lengths
from edgeclf.metrics.reliability import auroc
from edgeclf.metrics.statistics import wilson_interval
from edgeclf.runtimes.base import Float32Array

DIRECTIONS = 32
FOLDS = 10
FEATURE_SCORES = ("scaled_residual", "residual", "cosine")
_LEAST_SCORE = 1e-6  # a threshold below it tells rounding from rounding

Targets = npt.NDArray[np.integer]


def fit_scores(
    names: Sequence[str],
    pooled: Float32Array | None,
    targets: Targets,
    classes: int,
    directions: int = DIRECTIONS,
) -> dict[str, dict[str, Any]]:
    """What each score needs to know of the known, as the file stores it, without a threshold.

    Args:
        names: ``residual``: mean and principal directions of the unit features;
            ``scaled_residual``: their median length too. ``cosine``: the mean of each class.
            ``confidence``: nothing.
        pooled: float32 [N, c], the pooled features; None where there is ``confidence`` alone.
        targets: [N], the right classes.
        classes: How many there are.
        directions: How many principal ones; at most one less than channels, and see
            `directions_for`.
    """
    fitted: dict[str, dict[str, Any]] = {"confidence": {"score": "confidence"}}
    if pooled is not None:
        long = lengths(pooled)
        units = pooled / long[:, np.newaxis]
        if "cosine" in names:
            means = np.stack([units[targets == k].mean(axis=0) for k in range(classes)])
            rows = means / np.linalg.norm(means, axis=1, keepdims=True)
            fitted["cosine"] = {"score": "cosine", **_stored(rows)}
        if "residual" in names or "scaled_residual" in names:
            mean = units.mean(axis=0, dtype=np.float64)
            count = min(directions, units.shape[1] - 1)
            subspace = _stored(np.vstack([mean, _directions(units - mean, count)]))
            length = {"length": float(np.median(long))}
            fitted["residual"] = {"score": "residual", **subspace}
            fitted["scaled_residual"] = {"score": "scaled_residual", **length, **subspace}
    return {name: fitted[name] for name in names}


def _stored(rows: Floats) -> dict[str, str]:
    """Rows as int8 with a scale each, as the file stores them."""
    scale = (np.abs(rows).max(axis=1) / 127).astype("<f4")
    scale[scale == 0] = 1
    stored = np.round(rows / scale[:, np.newaxis]).astype(np.int8)
    return {
        "basis": base64.b64encode(stored.tobytes()).decode(),
        "scale": base64.b64encode(scale.tobytes()).decode(),
    }


def _directions(offsets: Floats, count: int) -> Floats:
    """The first principal directions, a row each, of the largest variance first.

    By the smaller of the two products of the offsets with themselves, which have the same
    eigenvalues: for 1,200 photos and 1,280 channels a quarter of the time of a decomposition.
    """
    if len(offsets) < offsets.shape[1]:
        weights = np.linalg.eigh(offsets @ offsets.T)[1][:, : -count - 1 : -1]
        rows = weights.T @ offsets
        directions: Floats = rows / lengths(rows)[:, np.newaxis]
    else:
        directions = np.linalg.eigh(offsets.T @ offsets)[1][:, : -count - 1 : -1].T
    return directions


def directions_for(photos: int) -> int:
    """How many principal directions so many photos carry: 32, or a fifth of their number."""
    return min(DIRECTIONS, photos // 5)


def scores_of(
    fitted: Mapping[str, Any], pooled: Float32Array | None, confidences: Floats
) -> Floats:
    """The scores [N] that a device will compute from one of what `fit_scores` gave."""
    return Novelty.read({"threshold": 1, **fitted}).scores(pooled, confidences)


def held_out_scores(
    names: Sequence[str],
    pooled: Float32Array | None,
    confidences: Floats,
    targets: Targets,
    classes: int,
) -> dict[str, Floats]:
    """Each score of the known [N], by what was fitted to the other nine tenths of them.

    What a subspace was fitted to lies closer to it than what comes later.
    """
    if pooled is None:
        return dict.fromkeys(names, 1 - confidences)
    scores = {name: np.empty(len(pooled)) for name in names}
    directions = directions_for(len(pooled))
    # Those of a class follow each other, and so are spread over the folds.
    folds = np.arange(len(pooled)) % FOLDS
    for fold in range(FOLDS):
        out = folds == fold
        fitted = fit_scores(names, pooled[~out], targets[~out], classes, directions)
        for name in names:
            scores[name][out] = scores_of(fitted[name], pooled[out], confidences[out])
    return dict(scores)


def fit_threshold(known: Floats, rate: float) -> dict[str, Any]:
    """The threshold that at most a share of the known exceeds, of those to come too.

    The r-th smallest of n scores, r = ceil((n + 1) (1 - rate)): of exchangeable ones, the next is
    above it with a chance of at most `rate`.

    Args:
        known: [N], scores that were not fitted to.
        rate: The share of false unknowns that is accepted.

    Returns:
        ``threshold``, ``false_unknown_rate`` as it was asked for, and ``interval_95`` of the rate
        that so many photos can promise.

    Raises:
        DataError: The threshold would call everything unknown.
    """
    rank = math.ceil((len(known) + 1) * (1 - rate))
    threshold = float(np.sort(known)[rank - 1])
    if not threshold > _LEAST_SCORE:
        raise DataError(
            f"Of {len(known)} known photos {rank} have a novelty of {threshold:.1g}, so any "
            "difference at all would be called unknown. The file gives them all the same features "
            "or full confidence: check that it was trained, or calibrate on photos that differ."
        )
    return {
        "threshold": threshold,
        "false_unknown_rate": rate,
        "interval_95": list(wilson_interval(len(known) - rank, len(known))),
    }


def choose_score(
    known: Mapping[str, Floats], unknown: Mapping[str, Floats] | None
) -> tuple[str, dict[str, float | None], str]:
    """The score that tells best; of equals the first.

    Args:
        known: By each score's name, those of known photos it was not fitted to.
        unknown: Those of unknown photos, with the same names; None where there are none.

    Returns:
        Its name, the AUROC of each, and why it was taken.
    """
    if unknown is None:
        taken = next(iter(known))
        why = (
            "no unknown photos were given to choose by, and it was the best on the mugs"
            if taken != "confidence"
            else "the file or its runtime gives no features, which tell far better"
        )
        return taken, dict.fromkeys(known), why
    found = {name: auroc(scores, unknown[name]) for name, scores in known.items()}
    taken = max(found, key=found.__getitem__)
    if len(found) == 1:
        why = "the file or its runtime gives no features, which tell far better"
    else:
        others = ", ".join(f"{n} {a:.3f}" for n, a in found.items() if n != taken)
        why = f"on the photos it was fitted to, AUROC {found[taken]:.3f} against {others}"
    return taken, dict(found), why
