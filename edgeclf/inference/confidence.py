"""What a file's member `trust` makes of an answer. docs/artifact.md specifies the arithmetic."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Artifact
from edgeclf.errors import ArtifactError, OptionError
from edgeclf.runtimes.base import Float32Array

Unknown = Literal["flag", "label", "off"]
UNKNOWN_LABEL = "unknown"
Floats = npt.NDArray[np.floating[Any]]

_TINY = 1e-12


def confidences(probabilities: Floats, temperature: float, floor: float) -> Floats:
    """The calibrated probability of each row's top class.

    softmax(log(p) / T) of the top class, which is 1 / sum((p / max p)^(1 / T)). After Guo et al.,
    "On Calibration of Modern Neural Networks" (2017).

    Args:
        probabilities: [N, classes].
        temperature: T, above 0.
        floor: Smaller probabilities count as this one.

    Returns:
        [N], 0..1.
    """
    shares = np.maximum(probabilities, floor)
    shares = (shares / shares.max(axis=1, keepdims=True)) ** (1 / temperature)
    sums: Floats = shares.sum(axis=1)
    return 1 / sums


def pooled_features(features: Float32Array) -> Float32Array:
    """Features [N, h, w, c], averaged over rows and columns: [N, c]."""
    cells = features.reshape(len(features), -1, features.shape[-1])
    pooled: Float32Array = cells.sum(axis=1) / np.float32(cells.shape[1])  # quicker than mean
    return pooled


def lengths(rows: Floats) -> Floats:
    """Of each row of [N, c], at least 1e-12."""
    found: Floats = np.maximum(np.sqrt(np.einsum("nc,nc->n", rows, rows)), _TINY)
    return found


def set_scores(probabilities: Floats, score: str, penalty: float) -> Floats:
    """How little each class fits each row: float64 [N, classes], smaller is likelier.

    ``plain``: 1 - p (Sadinle et al., "Least Ambiguous Set-Valued Classifiers", 2019). ``raps``: the
    probability of all classes before it, and `penalty` for each of them (Angelopoulos et al.,
    "Uncertainty Sets for Image Classifiers using Conformal Prediction", 2021, not randomised).
    """
    probabilities = np.asarray(probabilities, np.float64)
    if score == "plain":
        return 1 - probabilities
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, axis=1)
    before = ranked.cumsum(axis=1) - ranked + penalty * np.arange(ranked.shape[1])
    scores = np.empty_like(before)
    np.put_along_axis(scores, order, before, axis=1)
    return scores


@dataclass(frozen=True)
class PredictionSets:
    """How sets of labels are made that hold the right one with a stated probability.

    Attributes:
        score: ``plain`` or ``raps``.
        penalty: Of ``raps``.
        levels: Ascending by coverage: it, and the largest score that is in the set, one number for
            all classes or one for each.
    """

    score: str
    penalty: float
    levels: tuple[tuple[float, tuple[float, ...]], ...]

    def members(self, probabilities: Sequence[float], coverage: float) -> list[int]:
        """Positions of the classes in the set, most probable first; the top class always is in it.

        Raises:
            OptionError: No level is as high as `coverage`.
        """
        limits = next((limits for level, limits in self.levels if level >= coverage), None)
        if limits is None or not coverage > 0:
            known = ", ".join(f"{level:g}" for level, _ in self.levels)
            raise OptionError(
                f"coverage is {coverage}; this file has prediction sets for {known}. More takes "
                "more photos: see 'edgeclf calibrate'."
            )
        row = np.array([probabilities])
        inside = set_scores(row, self.score, self.penalty)[0] <= np.array(limits)
        inside[row[0].argmax()] = True
        order = np.argsort(-row[0], kind="stable")
        found: list[int] = order[inside[order]].tolist()
        return found


@dataclass(frozen=True)
class Novelty:
    """How far an answer is from what the model knows, and where unknown begins.

    Attributes:
        score: ``residual`` of the unit features outside of a subspace; ``scaled_residual``, the
            same times how much longer the features are than those of known pictures; ``cosine``
            distance to the nearest class mean; or ``confidence``: 1 - confidence.
        threshold: What is above it is unknown.
        basis: float32 [k, c]: of a residual the mean, then the directions; of ``cosine`` the
            means of the classes; None for ``confidence``.
        length: Of the features of known pictures, for ``scaled_residual``.
    """

    score: str
    threshold: float
    basis: Float32Array | None = None
    length: float = np.inf

    def scores(self, pooled: Float32Array | None, confidences: Floats) -> Floats:
        """The bare score of each row, from `pooled_features` [N, c] and confidences [N]."""
        if self.basis is None or pooled is None:
            return 1 - confidences
        long = lengths(pooled)
        units = pooled / long[:, np.newaxis]
        if self.score == "cosine":
            nearest: Floats = (units @ self.basis.T).max(axis=1)
            return 1 - nearest
        offsets = units - self.basis[0]
        outside = offsets - (offsets @ self.basis[1:].T) @ self.basis[1:]
        scale: Floats = np.maximum(1, long / self.length)
        return lengths(outside) * scale

    @classmethod
    def read(cls, record: Mapping[str, Any], channels: int | None = None) -> Novelty:
        """Reads ``trust.novelty``; raises what Python raises where it is damaged."""
        score, threshold = record["score"], float(record["threshold"])
        length = float(record["length"]) if score == "scaled_residual" else np.inf
        known = score in ("residual", "scaled_residual", "cosine", "confidence")
        if not known or not 0 < threshold < np.inf or not length > 0:
            raise ValueError(f"score {score!r} with threshold {threshold} and length {length}")
        if score == "confidence":
            return cls(score, threshold)
        rows, scale = (
            np.frombuffer(base64.b64decode(record[key], validate=True), dtype)
            for key, dtype in (("basis", "i1"), ("scale", "<f4"))
        )
        basis = (rows.reshape(len(scale), -1) * scale[:, np.newaxis]).astype(np.float32)
        if channels not in (None, basis.shape[1]) or not np.isfinite(scale).all():
            raise ValueError(f"a basis of {basis.shape[1]} channels; expected {channels}")
        return cls(score, threshold, basis, length)


class Confidence:
    """The member `trust`, read.

    Args:
        record: `Metadata.trust`.
        channels: Of the file's features; None where it has none.
        classes: How many the model knows.

    Raises:
        KeyError, TypeError, ValueError: It is not what the format says.
    """

    def __init__(self, record: Mapping[str, Any], channels: int | None, classes: int) -> None:
        self.temperature, self.floor = (
            float(record["temperature"][key]) for key in ("value", "floor")
        )
        if not (0 < self.temperature < np.inf and 0 < self.floor < 1):
            raise ValueError(f"temperature {self.temperature} with floor {self.floor}")
        self.novelty = Novelty.read(record["novelty"], channels)
        self.needs_features = self.novelty.basis is not None
        if self.needs_features and channels is None:
            raise ValueError("novelty needs features, and the file has none")
        sets = record["sets"]
        levels = []
        for level in sets["levels"]:
            limits = tuple(float(limit) for limit in level["quantiles"])
            if len(limits) not in (1, classes) or not 0 < level["coverage"] < 1:
                raise ValueError(f"{len(limits)} quantiles for coverage {level['coverage']}")
            levels.append((float(level["coverage"]), limits))
        if sets["score"] not in ("plain", "raps"):
            raise ValueError(f"prediction sets by {sets['score']!r}")
        self.sets = PredictionSets(sets["score"], float(sets["penalty"]), tuple(sorted(levels)))

    @classmethod
    def of(cls, artifact: Artifact) -> Confidence | None:
        """Reads an artifact's; None where it has none.

        Raises:
            ArtifactError: It is not what the format says.
        """
        metadata = artifact.metadata
        if metadata.trust is None:
            return None
        try:
            channels = None if metadata.features is None else artifact.features.shape[2]
            return cls(metadata.trust, channels, len(metadata.labels))
        except (KeyError, TypeError, ValueError, OverflowError) as exc:
            raise ArtifactError(
                f"The member trust of {artifact.path or metadata.name} cannot be read: {exc!r}. "
                "Calibrate the file again, or install the version of edgeclf that wrote it."
            ) from exc

    def judge(
        self, probabilities: Float32Array, features: Float32Array | None
    ) -> tuple[Floats, Floats | None]:
        """Confidence and novelty of each row.

        Args:
            probabilities: float32 [N, classes].
            features: float32 [N, h, w, c]; None where nobody asked for them.

        Returns:
            Confidences [N]; and novelties [N], of which those above 1 are unknown, None where they
            need features and there are none.
        """
        found = confidences(probabilities, self.temperature, self.floor)
        if self.needs_features and features is None:
            return found, None
        pooled = None if features is None else pooled_features(features)
        return found, self.novelty.scores(pooled, found) / self.novelty.threshold
