"""The test pictures, opened once: what the file that would ship answers to them."""

from __future__ import annotations

import csv
import itertools
import json
from collections import defaultdict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from learning import chosen
from PIL import Image, ImageFilter, ImageOps
from plan import Plan

import edgeclf
from edgeclf.datasets.photos import Photos, find_photos
from edgeclf.metrics.accuracy import agreement_record
from edgeclf.metrics.reliability import calibration_error
from edgeclf.metrics.statistics import bootstrap_interval, percentiles
from edgeclf.system import files
from edgeclf.system.environment import environment
from edgeclf.system.progress import log

_CALLS = 1_024  # of which a 99th percentile can be told
_WARM_UP = 50
_SEED = 0  # of the noise

Pixels = npt.NDArray[np.uint8]


def measure(plan: Plan) -> None:
    """Opens the test pictures for the chosen model, unless it has answered them already."""
    model = chosen(plan)
    plan.stages.run(
        "open the test pictures",
        lambda: files.write_json(plan.facts, facts_of(plan, model)),
        settings=[model],
        inputs=[plan.artifact(model), plan.trained(model), plan.table("test"), plan.photos],
        outputs=[plan.facts],
    )


def facts_of(plan: Plan, model: str) -> dict[str, Any]:
    """All that is measured on them, as plain JSON types."""
    path = plan.artifact(model)
    with edgeclf.Classifier(path) as classifier:
        photos = find_photos(plan.table("test"), classifier.labels)
        opened = _count_opening(plan, classifier.artifact.sha256, photos.sha256)
        answers = _answers(classifier, photos)
        probabilities = np.array([each.probabilities for each in answers])
        right = probabilities.argmax(axis=1) == photos.targets
        facts = {
            "model": _about(classifier),
            "data": json.loads(plan.data_record.read_text()),
            "opened": opened,
            **_accuracy(photos, right),
            **_confidence(answers, right),
            "slices": _slices(plan.table("test"), photos, right)
            | _changed(classifier, photos),
            "latency_ms": _latency(classifier, photos),
        }  # fmt: skip
    with edgeclf.Classifier(plan.trained(model)) as source:
        expected = source.probabilities(photos.paths)
    replayed = edgeclf.verify(path)
    return facts | {
        "agreement": agreement_record(expected, probabilities.astype(np.float32)),
        "certificate": {"images": replayed.images, "max_change": replayed.max_change},
        "environment": environment() | {"command": "examples/end_to_end/project.py validate"},
    }


def _count_opening(plan: Plan, model: str, data: str) -> int:
    """How many models these test pictures have judged by now, this one among them."""
    ledger = plan.out / "test_openings.json"
    known = json.loads(ledger.read_text()) if ledger.is_file() else {}
    models = known.setdefault(data, [])
    if model not in models:
        models.append(model)
        files.write_json(ledger, known)
    if len(models) > 1:
        log(
            f"remark: the test pictures judge model {len(models)} now. Who chooses among models by "
            "them has none left that are honest; take new ones for a figure to quote."
        )
    return len(models)


def _about(classifier: edgeclf.Classifier) -> dict[str, Any]:
    artifact = classifier.artifact
    metadata = artifact.metadata
    return {
        "name": metadata.name,
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "precision": metadata.precision,
        "parameters": metadata.parameters,
        "labels": list(metadata.labels),
        "input": [metadata.image.height, metadata.image.width],
        "runtime": classifier.describe().library,
    }


def _answers(classifier: edgeclf.Classifier, photos: Photos) -> list[edgeclf.Prediction]:
    answers = []
    for given in classifier.classify_batch(photos.paths):
        if isinstance(given, edgeclf.Failure):
            raise edgeclf.DataError(str(given.error))
        answers.append(given)
    return answers


def _accuracy(photos: Photos, right: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Over all and by class; the interval counts things, as frames of one sign err together."""
    by_thing: dict[str, list[bool]] = defaultdict(list)
    for group, each in zip(photos.groups, right.tolist(), strict=True):
        by_thing[group].append(each)
    by_class = {
        label: float(right[photos.targets == index].mean())
        for index, label in enumerate(photos.labels)
    }
    return {
        "pictures": len(photos),
        "things": len(by_thing),
        "top1": float(right.mean()),
        "top1_interval_95": list(bootstrap_interval([*map(np.mean, by_thing.values())])),
        "by_class": by_class,
        "worst_class": min(by_class.values()),
    }


def _confidence(answers: list[edgeclf.Prediction], right: npt.NDArray[np.bool_]) -> dict[str, Any]:
    probabilities = [each.probability for each in answers]
    confidences = [p if a.confidence is None else a.confidence
                   for p, a in zip(probabilities, answers, strict=True)]  # fmt: skip
    return {
        "calibration_error": calibration_error(confidences, right),
        "calibration_error_before": calibration_error(probabilities, right),
        "called_unknown": float(np.mean([bool(each.unknown) for each in answers])),
    }


def _slices(table: Path, photos: Photos, right: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Top-1 where the table says what made a picture difficult."""
    with open(table, newline="", encoding="utf-8") as file:
        said = {(table.parent / row["path"]): row["condition"] for row in csv.DictReader(file)}
    conditions = np.array([said.get(path, "") for path in photos.paths])
    return {
        name: {"top1": float(right[conditions == name].mean()),
               "pictures": int((conditions == name).sum())}
        for name in sorted({*conditions.tolist()} - {""})
    }  # fmt: skip


def _changed(classifier: edgeclf.Classifier, photos: Photos) -> dict[str, Any]:
    """Top-1 on the same pictures after something happened to each of them."""
    expected = [photos.labels[target] for target in photos.targets]
    found = {}
    for name, change in CHANGES.items():
        # Read anew for each change: a thousand photos of a camera are 36 GB of pixels.
        images = (change(_pixels(path)) for path in photos.paths)
        answers = [classifier.classify(image, unknown="off").label for image in images]
        right = [a == b for a, b in zip(answers, expected, strict=True)]
        found[name] = {"top1": float(np.mean(right)), "pictures": len(photos)}
    return found


def _pixels(path: Path) -> Pixels:
    """A picture at its own size, as a camera would hand it on."""
    with Image.open(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def _darkened(pixels: Pixels) -> Pixels:
    return (pixels * 0.4).astype(np.uint8)


def _softened(pixels: Pixels) -> Pixels:
    radius = max(pixels.shape[:2]) / 64
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def _noisy(pixels: Pixels) -> Pixels:
    grain = np.random.default_rng(_SEED).normal(0, 15, pixels.shape)
    return np.clip(pixels + grain, 0, 255).astype(np.uint8)


def _compressed(pixels: Pixels) -> Pixels:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=20)
    return np.asarray(Image.open(file))


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "darkened": _darkened,
    "softened": _softened,
    "noisy": _noisy,
    "compressed": _compressed,
}


def _latency(classifier: edgeclf.Classifier, photos: Photos) -> dict[str, Any]:
    """From the bytes of a file to the answer, one after another, on this machine as it is."""
    contents = itertools.cycle([path.read_bytes() for path in photos.paths[:256]])
    times = []
    for content in itertools.islice(contents, _WARM_UP + _CALLS):
        start = perf_counter()
        classifier.classify(content)
        times.append(1e3 * (perf_counter() - start))
    found = percentiles(times[_WARM_UP:])
    return {"p50": found.p50, "p99": found.p99, "n": found.n}
