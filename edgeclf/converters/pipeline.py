"""From a Keras artifact to others: convert, compare, certify, write."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeclf import files
from edgeclf.artifact import Artifact, load_artifact, save_artifact, seal_artifact
from edgeclf.certificate import make_certificate
from edgeclf.classifier import Classifier
from edgeclf.converters.base import Converted, Source, Target
from edgeclf.converters.gate import Comparison, compare
from edgeclf.converters.onnx import convert_onnx
from edgeclf.converters.tflite import convert_tflite
from edgeclf.errors import OptionError, QualityGateError
from edgeclf.measurement.accuracy import accuracy_record
from edgeclf.photo_cache import cache_photos
from edgeclf.photos import Photos, check_disjoint, find_photos, sample_photos
from edgeclf.progress import say, track
from edgeclf.training.fit import predict_probabilities
from edgeclf.training.models import load_model

_CONVERTERS: dict[str, Callable[[Source, Target], Converted]] = {
    "tflite": convert_tflite,
    "onnx": convert_onnx,
}
_CALIBRATION_IMAGES = 128


def convert_all(
    model: Path,
    evaluation: str | os.PathLike[str],
    calibration: str | os.PathLike[str] | None,
    to: Sequence[str],
    folder: Path,
    tolerance: float,
    seed: int,
) -> tuple[Artifact, ...]:
    """The body of `edgeclf.convert`; see there."""
    targets = [Target.parse(text) for text in to]
    if calibration is None and any(target.quantized for target in targets):
        raise OptionError(
            "int8 needs photos to measure its ranges on. Add --calibration DIR with photos like "
            "those of the evaluation, but not the same, or leave int8 out of --to."
        )
    origin = load_artifact(model)
    keras_model = load_model(origin)
    labels, spec = origin.metadata.labels, origin.metadata.image
    judged = find_photos(evaluation, labels)
    manifest, calibration_images = None, None
    if calibration is not None:
        pool = find_photos(calibration, labels)
        check_disjoint(pool, judged, "the comparison")
        sample = sample_photos(pool, _CALIBRATION_IMAGES, seed)
        manifest = {"images": len(sample), "seed": seed, "sha256": sample.sha256}
        calibration_images = cache_photos(sample, spec, folder / "cache")
    images = cache_photos(judged, spec, folder / "cache")
    source = Source(keras_model, origin.metadata.normalization, calibration_images)
    source_answers = predict_probabilities(keras_model, images)

    artifacts: list[Artifact] = []
    report: dict[str, Any] = {
        "source": {"file": model.name, "sha256": origin.sha256},
        "evaluation_sha256": judged.sha256,
        "tolerance": tolerance,
        "results": {},
    }
    failures: list[str] = []
    for target in track(targets, f"convert {origin.metadata.name}", len(targets)):
        converted = _CONVERTERS[target.format](source, target)
        metadata = dataclasses.replace(
            origin.metadata,
            precision=target.precision,
            quantization=converted.quantization,
            calibration=manifest if target.quantized else None,
            accuracy=None,
            certificate=None,
        )
        with Classifier(seal_artifact(converted.content, metadata)) as classifier:
            answers = classifier.probabilities(images)
        comparison = compare(source_answers, answers, judged.targets, labels)
        name = f"{origin.metadata.name}.{target}"
        passed = comparison.passes(tolerance)
        report["results"][name] = {"passed": passed, **dataclasses.asdict(comparison)}
        if not passed:
            failures.append(f"{name} loses {comparison.drop:.1%} of top-1")
            (folder / name).unlink(missing_ok=True)  # one that an earlier run left
            continue
        metadata = dataclasses.replace(
            metadata,
            accuracy=_accuracy(source_answers, answers, comparison, judged),
            certificate=make_certificate(images, source_answers, answers),
        )
        artifacts.append(save_artifact(seal_artifact(converted.content, metadata), folder / name))
    report_path = folder / f"{origin.metadata.name}.conversion.json"
    files.write_json(report_path, report)
    _say_results(report["results"])
    if failures:
        raise QualityGateError(
            f"{'; '.join(failures)} (allowed: {tolerance:.1%}) and was not written. {report_path} "
            "holds the comparison; try other calibration photos, or allow more with --tolerance."
        )
    return tuple(artifacts)


def _accuracy(source: Any, artifact: Any, comparison: Comparison, photos: Photos) -> dict[str, Any]:
    return {
        "source": accuracy_record(source, photos),
        "artifact": accuracy_record(artifact, photos),
        "top1_agreement": comparison.top1_agreement,
        "max_change": comparison.max_change,
        "mean_change": comparison.mean_change,
    }


def _say_results(results: dict[str, dict[str, Any]]) -> None:
    for name, result in results.items():
        say(
            f"  {name:<28} {'passed' if result['passed'] else 'FAILED'}  "
            f"top-1 {result['source_top1']:.1%} -> {result['artifact_top1']:.1%}  "
            f"agreement {result['top1_agreement']:.1%}  max change {result['max_change']:.4f}"
        )
