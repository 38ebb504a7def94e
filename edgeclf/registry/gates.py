"""What a version must show before an alias names it: its answers, its accuracy, its latency."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgeclf.artifact import Artifact
from edgeclf.datasets.photos import Photos
from edgeclf.datasets.validation import find_photos_for
from edgeclf.errors import ArtifactError, EdgeclfError, MeasurementError
from edgeclf.inference.classifier import Classifier
from edgeclf.measurement.workloads.latency import open_workload
from edgeclf.measurement.workloads.sampling import Sampling, sample, warm_up
from edgeclf.metrics.statistics import bootstrap_interval, percentiles
from edgeclf.registry.tags import certificate_text
from edgeclf.trust.certificate import replay

_SAMPLING = Sampling(window_s=0.5, min_samples=1024, patience_s=0.0, max_s=120.0)
_TIMED_PHOTOS = 32


@dataclass(frozen=True)
class Gate:
    """One thing that was asked of a version.

    Attributes:
        name: ``certificate``, ``quality`` or ``latency``.
        passed: Whether it holds; None where nobody asked.
        text: What was found, for people.
        figures: The same as plain JSON types.
    """

    name: str
    passed: bool | None
    text: str
    figures: Mapping[str, Any]

    def entry(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Asked:
    """What is asked of a version besides its certificate.

    Attributes:
        data: Photos to compare with the present version on; None asks for no comparison.
        tolerance: Of top-1 that it may lose, 0..1.
        max_p99_ms: In which 99 of 100 pictures must be answered here; None asks for nothing.
        runtime: What answers.
    """

    data: str | os.PathLike[str] | None = None
    tolerance: float = 0.01
    max_p99_ms: float | None = None
    runtime: str = "auto"


def judge(candidate: Artifact, present: Artifact | None, asked: Asked) -> list[Gate]:
    """Asks everything, in order, until something does not hold.

    Args:
        candidate: Who wants the alias.
        present: Who has it; None where nobody has.
        asked: What is to be shown.

    Returns:
        What was found; the last one has not passed where something does not hold.

    Raises:
        DataError: The photos cannot be used, or the two know different classes.
        MeasurementError: It answers too slowly for a p99.
        RuntimeLoadError: There is no such runtime here.
    """
    with Classifier(candidate, runtime=asked.runtime) as classifier:
        gates = [_certificate(classifier)]
        photos = None
        if gates[-1].passed and asked.data is not None:
            both = [candidate] if present is None else [present, candidate]
            photos = find_photos_for(both, asked.data, partial=True)
            gates.append(_quality(classifier, present, photos, asked))
        elif gates[-1].passed:
            gates.append(Gate("quality", None, "not asked: no photos were given", {}))
        if gates[-1].passed is not False:
            gates.append(_latency(classifier, photos, asked.max_p99_ms))
    return gates


def _certificate(classifier: Classifier) -> Gate:
    try:
        result = replay(classifier)
    except ArtifactError as exc:
        return Gate("certificate", False, f"there is none to replay: {exc}", {})
    except EdgeclfError as exc:
        return Gate("certificate", False, str(exc), {})
    figures = {"images": result.images, "max_change": result.max_change,
               "tolerance": result.tolerance, "photo": result.photo,
               "runtime": f"{result.runtime.library} {result.runtime.library_version}"}  # fmt: skip
    return Gate("certificate", True, certificate_text(result), figures)


def _quality(
    classifier: Classifier, present: Artifact | None, photos: Photos, asked: Asked
) -> Gate:
    right = _right(classifier, photos)
    figures: dict[str, Any] = {
        "photos": len(photos), "data_sha256": photos.sha256, "tolerance": asked.tolerance,
        "top1": float(right.mean()), "present_top1": None,
    }  # fmt: skip
    if present is None:
        text = f"top-1 {right.mean():.2%} on {len(photos)} photos; the alias names nobody to beat"
        return Gate("quality", True, text, figures)
    with Classifier(present, runtime=asked.runtime) as other:
        before = _right(other, photos)
    change = right.astype(float) - before
    low, high = bootstrap_interval(change.tolist())
    figures |= {
        "present_top1": float(before.mean()), "change": float(change.mean()),
        "change_interval_95": [low, high], "only_new_right": int((change > 0).sum()),
        "only_present_right": int((change < 0).sum()),
    }  # fmt: skip
    # One photo more or less is a multiple of 1/n; the margin only absorbs float rounding.
    passed = bool(-change.mean() <= asked.tolerance + 1e-9)
    text = (
        f"top-1 {right.mean():.2%}, and {before.mean():.2%} for the present version, on the same "
        f"{len(photos)} photos: {change.mean():+.2%} (95 % interval {low:+.2%} to {high:+.2%}; it "
        f"alone is right for {figures['only_new_right']}, the present one alone for "
        f"{figures['only_present_right']}); it may lose {asked.tolerance:.2%}"
    )
    return Gate("quality", passed, text, figures)


def _right(classifier: Classifier, photos: Photos) -> Any:
    """For each photo whether its class is the most probable one, bool [N]."""
    return classifier.probabilities(photos.paths).argmax(axis=1) == photos.targets


def _latency(classifier: Classifier, photos: Photos | None, limit_ms: float | None) -> Gate:
    if limit_ms is None:
        return Gate("latency", None, "not asked: no limit was given", {})
    # Evenly over the classes, whose photos lie one after another.
    step = 1 if photos is None else max(1, len(photos) // _TIMED_PHOTOS)
    paths = [] if photos is None else [str(path) for path in photos.paths[::step]]
    workload = open_workload(classifier, paths, 1)
    warm_up(workload.call)
    samples = sample(workload.call, _SAMPLING).values
    found = percentiles([each[-1] for each in samples])
    if found.p99 is None:
        raise MeasurementError(
            f"{found.n} pictures were answered in {_SAMPLING.max_s:g} s, too few to tell a p99. "
            "Leave the limit out, or measure with 'edgeclf benchmark'."
        )
    what = "photos, decoding included" if paths else "random pixels, the model alone"
    text = f"p99 {found.p99:.2f} ms of {found.n} calls ({what}); allowed {limit_ms:g} ms"
    figures = {"p50_ms": found.p50, "p99_ms": found.p99, "n": found.n, "limit_ms": limit_ms,
               "photos": len(paths)}  # fmt: skip
    return Gate("latency", found.p99 <= limit_ms, text, figures)
