"""A made-up ``NAME.trust.json``: what calibrated files gave, by the functions that measure them."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from edgeclf.metrics.reliability import (
    calibration_error,
    calibration_error_interval,
    reliability_bins,
    risk_at_coverage,
)
from edgeclf.metrics.statistics import wilson_interval
from support.reports import EVIL

PHOTOS = 200


def _jpeg() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (40, 90, 160)).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


JPEG = _jpeg()


def make_result(*, wrong: int = 10, recalled: int | None = 95, bias: float = 0.2) -> dict[str, Any]:
    """What was measured of a file on `PHOTOS` photos, half of them above a confidence of 0.95.

    Args:
        wrong: How many are answered wrong, those of the least confidence.
        recalled: How many of 100 unknown ones are recognised; None without unknown photos.
        bias: How far the probability was below the confidence.
    """
    certain = np.linspace(0.9, 0.999, PHOTOS)
    correct = np.arange(PHOTOS) >= wrong
    reliability = {
        name: {
            "calibration_error": calibration_error(stated, correct),
            "interval_95": list(calibration_error_interval(stated, correct)),
            "mean_loss": 0.1,
            "bins": reliability_bins(stated, correct),
        }
        for name, stated in (("before", certain - bias), ("after", certain))
    }
    flagged = 8
    novelty: dict[str, Any] = {
        "false_unknown": flagged / PHOTOS,
        "false_unknown_interval_95": list(wilson_interval(flagged, PHOTOS)),
        "known": [0] * 15 + [PHOTOS - flagged] + [0] * 8 + [flagged] + [0] * 15,
    }
    if recalled is not None:
        novelty |= {
            "recall": recalled / 100,
            "recall_interval_95": list(wilson_interval(recalled, 100)),
            "auroc": 0.5 + recalled / 200,
            "unknown": [0] * 16 + [100 - recalled] + [0] * 22 + [recalled],
        }
    part = {"images": PHOTOS, "sha256": "ab" * 32}
    return {
        "format": "tflite",
        "precision": "int8",
        "runtime": {
            "name": "litert", "library": "ai-edge-litert", "library_version": "2.3.0",
            "device": "cpu", "delegate": "XNNPACK", "threads": 1, "file": None, "remarks": [],
        },
        "size_bytes": 200_000,
        "sha256": "cd" * 32,
        "trust": {
            "temperature": {
                "value": 0.4, "interval_95": [0.3, 0.5], "photos": PHOTOS, "wrong": 12,
                "floor": 1e-12,
            },
            "novelty": {
                "score": "residual", "threshold": 0.3, "false_unknown_rate": 0.05,
                "why": "no unknown photos were given to choose by",
            },
            "sets": {"score": "plain"},
            "data": {"split": "halves of each class by SHA-256", "fitted": part, "held_out": part},
            "held_out": {"top1": 1 - wrong / PHOTOS},
        },
        "remarks": [],
        "reliability": reliability,
        "risk_at_coverage": [list(each) for each in risk_at_coverage(certain, correct)],
        "novelty": novelty,
        "sets": [
            {"coverage": 0.9, "observed": 0.92, "interval_95": [0.874, 0.95], "mean_size": 1.3,
             "sizes": [0, 160, 30, 5, 5], "per_class": False},
        ],
        "mistakes": [
            {"photo": f"cat/{index}.png", "label": "cat", "answer": "dog",
             "confidence": float(certain[wrong - 1 - index]), "novelty": 0.5 + index, "jpeg": JPEG}
            for index in range(min(wrong, 12))
        ],
    }  # fmt: skip


def make_record(**results: dict[str, Any]) -> dict[str, Any]:
    """The record of a model's files; by default one that holds and one that does not."""
    return {
        "schema": "edgeclf.trust/1",
        "name": "pets",
        "labels": ["cat", "dog"],
        "results": results or {"pets.int8.tflite": make_result(), EVIL: make_result(recalled=10)},
    }
