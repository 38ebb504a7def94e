"""The rows of a benchmark: every artifact on the runtime of its format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf import files
from edgeclf.artifact import Artifact, load_artifact
from edgeclf.errors import DataError, MeasurementError
from edgeclf.measurement.accuracy import Probabilities, accuracy_record, agreement_record
from edgeclf.measurement.environment import environment
from edgeclf.measurement.process import measure
from edgeclf.photo_check import check_contents
from edgeclf.photos import Photos, find_photos
from edgeclf.progress import Progress
from edgeclf.runtimes import DEFAULT_RUNTIME

SCHEMA = "edgeclf.benchmark/1"
_IMAGES_FOR_LATENCY = 32


@dataclass(frozen=True)
class Sampling:
    """How many latency samples a row gets: at least `min_samples`, then until time is up."""

    min_samples: int
    max_samples: int
    max_seconds: float


_PUBLISHED = Sampling(min_samples=1024, max_samples=4096, max_seconds=20.0)
_QUICK = Sampling(min_samples=128, max_samples=512, max_seconds=2.0)
_MEASURES = ("memory", "latency", "answers")


def measure_matrix(
    models: list[Path], images: Path, out: Path, *, threads: int | None, quick: bool
) -> dict[str, Any]:
    """The body of `edgeclf.benchmark`; see there."""
    artifacts = [load_artifact(path) for path in models]
    photos = find_photos(images, artifacts[0].metadata.labels)
    check_contents(photos)
    for artifact in artifacts:
        if artifact.metadata.labels != photos.labels:
            raise DataError(
                f"{artifact.path} knows the classes {', '.join(artifact.metadata.labels)}; "
                f"{images} holds {', '.join(photos.labels)}. Benchmark them apart."
            )
    sampling = _QUICK if quick else _PUBLISHED
    progress = Progress("benchmark", len(artifacts) * len(_MEASURES))
    rows, answers = [], []
    for artifact in artifacts:
        row, probabilities = _measure_row(artifact, photos, sampling, threads, progress)
        rows.append(row)
        answers.append(probabilities)
    _add_agreement(rows, answers)
    results = {
        "schema": SCHEMA,
        "environment": environment(),
        "method": {
            "latency": f"one process a row, single stream, from the bytes of image files in "
            f"memory; at least {sampling.min_samples} samples after warm-up",
            "memory": "one process a row, apart from latency; /proc/self/smaps_rollup by phase",
            "quick": quick,
            "images": len(photos),
            "data_sha256": photos.sha256,
        },
        "rows": rows,
    }
    files.write_json(out, results)
    return results


def _measure_row(
    artifact: Artifact,
    photos: Photos,
    sampling: Sampling,
    threads: int | None,
    progress: Progress,
) -> tuple[dict[str, Any], Probabilities | None]:
    """One artifact's row, and its answers to all photos unless something failed."""
    assert artifact.path is not None
    metadata = artifact.metadata
    runtime = DEFAULT_RUNTIME[artifact.format]
    row: dict[str, Any] = {
        "model": metadata.name,
        "file": artifact.path.name,
        "format": artifact.format,
        "precision": metadata.precision,
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "parameters": metadata.parameters,
        "input_size": [metadata.image.height, metadata.image.width],
        "runtime": {"name": runtime},
        "accuracy": None,
        "agreement": None,
        "latency": None,
        "memory": None,
        "error": None,
    }
    job = {
        "model": str(artifact.path.resolve()),
        "runtime": runtime,
        "device": "cpu",
        "threads": threads,
        "min_samples": sampling.min_samples,
        "max_samples": sampling.max_samples,
        "max_seconds": sampling.max_seconds,
    }
    paths = [str(path.resolve()) for path in photos.paths]
    spread = np.linspace(0, len(paths) - 1, min(_IMAGES_FOR_LATENCY, len(paths))).astype(int)
    results: dict[str, dict[str, Any]] = {}
    for what in _MEASURES:
        images = paths if what == "answers" else [paths[i] for i in spread]
        try:
            results[what] = measure({**job, "measure": what, "images": images})
        except MeasurementError as exc:
            row["error"] = row["error"] or str(exc)
        progress.advance(note=artifact.path.name)
    if row["error"]:
        return row, None
    probabilities = np.array(results["answers"]["probabilities"], np.float32)
    row["runtime"] = results["latency"].pop("runtime")
    row["latency"], row["memory"] = results["latency"], results["memory"]
    row["accuracy"] = accuracy_record(probabilities, photos)
    return row, probabilities


def _add_agreement(rows: list[dict[str, Any]], answers: list[Probabilities | None]) -> None:
    """Compares each row with the Keras row of its model, the source of the conversion."""
    sources = {
        row["model"]: given
        for row, given in zip(rows, answers, strict=True)
        if row["format"] == "keras" and given is not None
    }
    for row, given in zip(rows, answers, strict=True):
        source = sources.get(row["model"])
        if source is not None and given is not None:
            row["agreement"] = agreement_record(source, given)
