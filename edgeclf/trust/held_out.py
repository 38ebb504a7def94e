"""How well what was fitted holds on photos that it was not fitted to."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edgeclf.datasets.photos import Photos
from edgeclf.image import UInt8Array
from edgeclf.inference.confidence import Confidence, Floats, confidences
from edgeclf.metrics.reliability import (
    auroc,
    calibration_error,
    calibration_error_interval,
    reliability_bins,
    risk_at_coverage,
)
from edgeclf.metrics.statistics import wilson_interval
from edgeclf.trust.prediction_sets import contained
from edgeclf.trust.temperature import mean_loss

if TYPE_CHECKING:
    from edgeclf.trust.calibration import Answers

_BINS = 40
_MISTAKES = 12


def measure(
    trust: Mapping[str, Any],
    confidence: Confidence,
    known: Answers,
    photos: Photos,
    images: UInt8Array,
    unknown: Answers | None,
) -> dict[str, Any]:
    """What a page shows, and under ``summary`` what the file keeps of it.

    Args:
        trust: ``temperature``, ``novelty`` and ``sets`` as they were fitted.
        confidence: The same, read.
        known: The answers to `photos`.
        photos: Known photos that were not fitted to.
        images: The same as the model sees them, uint8 [N, H, W, 3].
        unknown: The answers to unknown photos that were not fitted to.
    """
    targets = photos.targets
    answered = known.probabilities.argmax(axis=1)
    correct = answered == targets
    certain = confidences(known.probabilities, confidence.temperature, confidence.floor)
    novelties = _novelties(confidence, known)
    reliability = _reliability(confidence, known, correct, certain, photos)
    novel = _novelty(novelties, None if unknown is None else _novelties(confidence, unknown))
    sets = _sets(trust["sets"], known, photos)
    summary = {
        "calibration_error": reliability["after"]["calibration_error"],
        "calibration_error_before": reliability["before"]["calibration_error"],
        "top1": float(correct.mean()),
        **{key: value for key, value in novel.items() if key not in ("known", "unknown")},
        "coverage": {str(each["coverage"]): each["observed"] for each in sets},
    }
    wrong = np.flatnonzero(~correct)
    wrong = wrong[np.argsort(-certain[wrong], kind="stable")][:_MISTAKES]
    return {
        "summary": summary,
        "reliability": reliability,
        "risk_at_coverage": risk_at_coverage(certain, correct),
        "novelty": novel,
        "sets": sets,
        "mistakes": [
            {
                "photo": photos.name_of(photos.paths[i]),
                "label": photos.labels[targets[i]],
                "answer": photos.labels[answered[i]],
                "confidence": float(certain[i]),
                "novelty": float(novelties[i]),
                "jpeg": _jpeg(images[i]),
            }
            for i in wrong
        ],
    }


def _jpeg(image: UInt8Array) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def _novelties(confidence: Confidence, answers: Answers) -> Floats:
    certain = confidences(answers.probabilities, confidence.temperature, confidence.floor)
    return confidence.novelty.scores(answers.pooled, certain) / confidence.novelty.threshold


def _reliability(
    confidence: Confidence, known: Answers, correct: Any, certain: Floats, photos: Photos
) -> dict[str, Any]:
    stated = known.probabilities.max(axis=1)
    return {
        name: {
            "calibration_error": calibration_error(numbers, correct),
            "interval_95": list(calibration_error_interval(numbers, correct)),
            "mean_loss": mean_loss(
                known.probabilities, photos.targets, temperature, confidence.floor
            ),
            "bins": reliability_bins(numbers, correct),
        }
        for name, numbers, temperature in (
            ("before", stated, 1.0),
            ("after", certain, confidence.temperature),
        )
    }


def _novelty(known: Floats, unknown: Floats | None) -> dict[str, Any]:
    """Shares of unknown ones, and histograms of novelty, 0..2, the rest in the last bin."""
    flagged = int((known > 1).sum())
    record: dict[str, Any] = {
        "false_unknown": flagged / len(known),
        "false_unknown_interval_95": list(wilson_interval(flagged, len(known))),
        "known": _counts(known),
    }
    if unknown is not None:
        found = int((unknown > 1).sum())
        record |= {
            "recall": found / len(unknown),
            "recall_interval_95": list(wilson_interval(found, len(unknown))),
            "auroc": auroc(known, unknown),
            "unknown": _counts(unknown),
        }
    return record


def _counts(novelties: Floats) -> list[int]:
    counts, _ = np.histogram(np.clip(novelties, 0, 2), _BINS, (0, 2))
    found: list[int] = counts.tolist()
    return found


def _sets(record: Mapping[str, Any], known: Answers, photos: Photos) -> list[dict[str, Any]]:
    rows = []
    for level in record["levels"]:
        inside = contained(dict(record), known.probabilities, level["coverage"])
        held = int(inside[np.arange(len(photos)), photos.targets].sum())
        sizes = inside.sum(axis=1)
        rows.append({
            "coverage": level["coverage"],
            "observed": held / len(photos),
            "interval_95": list(wilson_interval(held, len(photos))),
            "mean_size": float(sizes.mean()),
            "sizes": np.bincount(sizes).tolist(),
            "per_class": len(level["quantiles"]) > 1,
        })  # fmt: skip
    return rows
