"""What came of a picture, as the JSON that clients get."""

from __future__ import annotations

import math
from typing import Any

from edgeclf.errors import InferenceError, OptionError
from edgeclf.inference.prediction import Prediction
from edgeclf.service.catalog import Version
from edgeclf.service.intake import Wanted
from edgeclf.service.pool import Answered
from edgeclf.service.problem import Problem

_DIGITS = 6
_MS_DIGITS = 3


def version_entry(version: Version) -> dict[str, Any]:
    """Who answered: model, version and the SHA-256 of its file."""
    return {"model": version.model, "version": version.number, "sha256": version.sha256}


def answer_entry(answered: Answered, wanted: Wanted) -> dict[str, Any]:
    """One picture's answer.

    Raises:
        Problem: There is none.
    """
    prediction = answered.result
    if not isinstance(prediction, Prediction):
        raise Problem.of(prediction)
    try:
        scores = prediction.top(
            wanted.top, allow=wanted.allow, deny=wanted.deny, threshold=wanted.threshold
        )
        labels = None if wanted.coverage is None else _set_of(prediction, wanted.coverage)
    except OptionError as exc:
        raise Problem.of(exc) from exc
    timing = prediction.timing
    entry: dict[str, Any] = {
        "label": prediction.label,
        "top": [
            {"index": s.index, "label": s.label, "probability": finite(s.probability)}
            for s in scores
        ],
        "confidence": _rounded(prediction.confidence),
        "unknown": prediction.unknown,
        "novelty": _rounded(prediction.novelty),
    }
    if labels is not None:
        entry["set"] = labels
    if answered.extra is not None:
        entry["explanation"] = answered.extra
    if wanted.tensor:
        entry["tensor_sha256"] = answered.tensor_sha256
    entry["timing"] = {
        "queue_ms": round(answered.queue_ms, _MS_DIGITS),
        "decode_ms": round(timing.decode_ms, _MS_DIGITS),
        "preprocess_ms": round(timing.preprocess_ms, _MS_DIGITS),
        "inference_ms": round(timing.inference_ms, _MS_DIGITS),
    }
    return entry


def _set_of(prediction: Prediction, coverage: float) -> tuple[str, ...]:
    labels = prediction.set(coverage)
    if labels is None:
        raise OptionError(
            "set needs a calibrated file, and this model's is none. See 'edgeclf calibrate'."
        )
    return labels


def _rounded(number: float | None) -> float | None:
    return None if number is None else finite(round(number, _DIGITS))


def finite(number: float) -> float:
    """The number, which JSON must be able to say.

    Raises:
        Problem: 500 it is infinite or none.
    """
    if not math.isfinite(number):
        raise Problem.of(InferenceError("The model returned values that are not finite numbers."))
    return number
