"""From a model to artifacts: convert, compare, fallback, certify, write, report."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact, save_artifact, seal_artifact
from edgeclf.converters.advice import advise, xnnpack_parts
from edgeclf.converters.base import CALIBRATED, Converter, Recipe, Source, Target
from edgeclf.converters.calibration import CALIBRATION_IMAGES
from edgeclf.converters.config import ConversionConfig, own_targets
from edgeclf.converters.endings import find_features
from edgeclf.converters.evaluation import Evaluation, answers_to, find_any_photos, open_evaluation
from edgeclf.converters.exports import Exports
from edgeclf.converters.firmware import measured_arena_bytes, write_c_source
from edgeclf.converters.gate import AnswerComparison, compare, remedy
from edgeclf.converters.outputs import check_outputs, file_name
from edgeclf.converters.record import (
    LIBRARIES,
    SCHEMA,
    Attempt,
    log_results,
    record_attempt,
)
from edgeclf.converters.sources import SourceModel, open_model
from edgeclf.converters.trust import calibrated, open_trust_photos
from edgeclf.datasets.cache import cache_photos
from edgeclf.datasets.photos import check_disjoint, sample_photos
from edgeclf.errors import (
    ConversionError,
    EdgeclfError,
    InferenceError,
    MissingDependencyError,
    OptionError,
    QualityGateError,
    RuntimeLoadError,
)
from edgeclf.image import UInt8Array
from edgeclf.inference.classifier import Classifier
from edgeclf.metrics.accuracy import accuracy_record
from edgeclf.metrics.statistics import wilson_interval
from edgeclf.system import files
from edgeclf.system.cpu_time import cpu_clock, cpus_left
from edgeclf.system.environment import library_versions
from edgeclf.system.progress import log, track
from edgeclf.trust.certificate import make_certificate

_TIMED_IMAGES = 30


@dataclass(frozen=True)
class ConversionResult:
    """What came of all targets.

    Attributes:
        artifacts: Those that hold, in the order of the targets.
        report: What was tried and found, as plain JSON types.
        path: Where the report is.
        error: What to raise once the pages are written; None if every target holds.
    """

    artifacts: tuple[Artifact, ...]
    report: dict[str, Any]
    path: Path
    error: ConversionError | None


class Conversion:
    """One source on its way to several targets.

    Args:
        model: The source.
        config: What is wanted.
        cache: Folder for decoded photos; ``cache`` beside the results by default.

    Raises:
        DataError: Calibration and evaluation share photos, or cannot be used.
        OptionError: int8 is wanted without calibration.
    """

    def __init__(self, model: Path, config: ConversionConfig, cache: Path | None = None) -> None:
        for text in config.to:
            Target.parse(text)  # says now what is none
        self._config = config
        self._file = model.name
        self.folder = files.out_folder(config.out, model.parent)
        self._source_model: SourceModel = open_model(model, config.source)
        own = own_targets(self._source_model.format, config.to)
        self.targets = [Target.parse(text) for text in own]
        check_outputs(self.folder, self._source_model.source.metadata.name, self.targets, config)
        self._check_calibration()
        # What was fitted to the source's answers does not fit those of what is made of it.
        self._metadata = dataclasses.replace(self._source_model.source.metadata, trust=None)
        if config.full_decode:
            exact = dataclasses.replace(self._metadata.image, scaled_decode=False)
            self._metadata = dataclasses.replace(self._metadata, image=exact)
        self._cache = cache or self.folder / "cache"
        self._evaluation: Evaluation = open_evaluation(
            config.evaluation, self._metadata.labels, self._metadata.image, self._cache
        )
        self._trust = open_trust_photos(config, self._evaluation, self._metadata, self._cache)
        self._manifest, calibration = self._calibrate()
        self._source: Source = dataclasses.replace(
            self._source_model.source, calibration=calibration
        )
        self._answers = self._source_model.answers(self._evaluation.images)
        self._doubt_what_was_said()
        self.exports = Exports(self._source, self._file)

    def _check_calibration(self) -> None:
        needs = [str(target) for target in self.targets if target.precision in CALIBRATED]
        if self._config.calibration is None and needs and not self._source_model.source.quantized:
            raise OptionError(
                f"Photos are needed to measure the ranges of {', '.join(needs)}. Add --calibration "
                "DIR with photos like those that will be classified, but none of the evaluation's, "
                "or ask for others, such as --to fp32.tflite."
            )

    def _doubt_what_was_said(self) -> None:
        """Remarks on a model from elsewhere that knows no more of the photos than chance."""
        targets, origin = self._evaluation.targets, (self._metadata.training or {}).get("origin")
        if targets is None or origin is None:
            return
        right = int((self._answers.argmax(axis=1) == targets).sum())
        chance = float(np.bincount(targets).max() / len(targets))
        if wilson_interval(right, len(targets))[0] <= chance:
            log(
                f"  {self._file} answers {right} of {len(targets)} photos right, no better than "
                "always the same label. Compare --input-range, --mean, --std, --channels and the "
                "order of --labels with what it was trained on; --check photo.jpg=label does."
            )

    def _calibrate(self) -> tuple[dict[str, Any] | None, UInt8Array | None]:
        config = self._config
        if config.calibration is None:
            return None, None
        pool = find_any_photos(config.calibration, self._metadata.labels, split="train")
        if self._evaluation.photos is not None:
            check_disjoint(pool, self._evaluation.photos, "the comparison")
        sample = sample_photos(pool, CALIBRATION_IMAGES, config.seed)
        names = [pool.name_of(path) for path in sample.paths]
        manifest = {"images": len(sample), "seed": config.seed, "sha256": sample.sha256,
                    "files": names}  # fmt: skip
        return manifest, cache_photos(sample, self._metadata.image, self._cache)

    def report(self) -> dict[str, Any]:
        """The part of the report that all targets share."""
        return {
            "schema": SCHEMA,
            "source": {
                "name": self._metadata.name,
                "file": self._file,
                "format": self._source_model.format,
                "sha256": self._source_model.sha256,
                "size_bytes": self._source_model.size_bytes,
                "parameters": self._metadata.parameters,
            },
            "labels": list(self._metadata.labels),
            "evaluation": {
                "kind": self._evaluation.kind,
                "images": len(self._evaluation.images),
                "sha256": self._evaluation.sha256,
            },
            "calibration": self._manifest,
            "settings": self._config.record(),
            "libraries": library_versions(LIBRARIES),
        }

    @property
    def name(self) -> str:
        """The model's name, with which every artifact's begins."""
        return self._metadata.name

    @property
    def evaluation_kind(self) -> str:
        """What the results are judged on."""
        return self._evaluation.kind

    def run(self, target: Target) -> tuple[Artifact | None, dict[str, Any]]:
        """Converts to one target, trying its recipes until one holds.

        Returns:
            The written artifact, or None; and what the report says of it.
        """
        start = time.monotonic()
        attempts: list[dict[str, Any]] = []
        taken = last = None
        try:
            converter = self.exports.converter_for(target)
            for recipe in converter.recipes(target.precision):
                attempt = self._attempt(converter, recipe, attempts)
                last = attempt or last
                if attempt is not None and attempt.record["passed"]:
                    taken = attempt
                    break
            error = None if last else attempts[-1]["error"]
        except ConversionError as exc:
            error = str(exc)
        artifact = self._write(target, taken) if taken else None
        shown = taken or last
        return artifact, {
            "passed": taken is not None,
            "error": error,
            "file": artifact.path.name if artifact and artifact.path else None,
            "size_bytes": artifact.size_bytes if artifact else None,
            "seconds": time.monotonic() - start,
            "attempts": attempts,
            "arena_bytes": _of_quantization(artifact, "arena_bytes"),
            **(record_attempt(shown, self._answers, self._evaluation) if shown else {}),
        }

    def _attempt(
        self, converter: Converter, recipe: Recipe, attempts: list[dict[str, Any]]
    ) -> Attempt | None:
        start = time.monotonic()
        figures = ("top1_drop", "top1_agreement", "max_change", "mean_change", "size_bytes",
                   "p50_ms", "parts")  # fmt: skip
        record: dict[str, Any] = {"recipe": str(recipe), "passed": False, "error": None,
                                  **dict.fromkeys(figures)}  # fmt: skip
        attempts.append(record)
        try:
            converted = converter.convert(recipe)
            metadata = dataclasses.replace(
                self._metadata,
                precision=recipe.precision,
                quantization=converted.quantization,
                calibration=self._manifest if recipe.calibration else None,
                accuracy=None,
                certificate=None,
                features=None,
            )
            features = find_features(converter.format, converted.content, metadata)
            metadata = dataclasses.replace(metadata, features=features)
            with Classifier(seal_artifact(converted.content, metadata)) as classifier:
                answers = answers_to(self._evaluation.images, classifier)
                record["p50_ms"] = _median_ms(classifier, self._evaluation.images)
            if converter.format == "tflite":
                record["parts"] = xnnpack_parts(converted.content)
        except MissingDependencyError:
            raise
        except EdgeclfError as exc:
            error = self._in_words(exc, recipe)
            record |= {"error": error, "seconds": time.monotonic() - start}
            return None
        evaluation = self._evaluation
        comparison = compare(self._answers, answers, evaluation.targets, self._metadata.labels)
        record |= {
            "passed": comparison.passes(self._config.tolerance, evaluation.kind),
            "top1_drop": comparison.drop,
            "top1_agreement": comparison.top1_agreement,
            "max_change": comparison.max_change,
            "mean_change": comparison.mean_change,
            "size_bytes": len(converted.content),
            "seconds": time.monotonic() - start,
        }
        return Attempt(recipe, converted, metadata, answers, comparison, record)

    def _in_words(self, error: EdgeclfError, recipe: Recipe) -> str:
        if not isinstance(error, InferenceError | RuntimeLoadError):
            return str(error)
        return (
            f"what {self._file} became by the recipe {recipe} does not run on its input 'image': "
            f"{error} Ask for another precision, or convert another export of the model."
        )

    def _write(self, target: Target, attempt: Attempt) -> Artifact:
        comparison, evaluation = attempt.comparison, self._evaluation
        accuracy: dict[str, Any] = {
            "evaluation": evaluation.kind,
            "images": len(evaluation.images),
            "data_sha256": evaluation.sha256,
            "top1_agreement": comparison.top1_agreement,
            "max_change": comparison.max_change,
            "mean_change": comparison.mean_change,
        }
        if evaluation.targets is not None and evaluation.photos is not None:
            accuracy["source"] = accuracy_record(self._answers, evaluation.photos)
            accuracy["artifact"] = accuracy_record(attempt.answers, evaluation.photos)
        content = attempt.converted.content
        with Classifier(seal_artifact(content, attempt.metadata)) as classifier:
            certificate = make_certificate(
                classifier,
                self._source_model.answers,
                evaluation.images,
                (self._answers, attempt.answers),
            )
        metadata = dataclasses.replace(attempt.metadata, accuracy=accuracy, certificate=certificate)
        if attempt.recipe.precision == "int8-full":
            arena = measured_arena_bytes(seal_artifact(content, metadata))
            metadata = dataclasses.replace(
                metadata, quantization={**(metadata.quantization or {}), "arena_bytes": arena}
            )
        # A fallback may have another precision than was asked for; the file's name tells the truth.
        written = dataclasses.replace(target, precision=attempt.recipe.precision)
        path = self.folder / file_name(self._metadata.name, written)
        artifact = seal_artifact(content, metadata)
        if self._trust is not None:
            artifact = calibrated(artifact, self._trust, path)
        artifact = save_artifact(artifact, path)
        if self._config.c_array and attempt.recipe.precision == "int8-full":
            write_c_source(artifact)
        return artifact


def convert_all(
    model: Path, config: ConversionConfig, cache: Path | None = None
) -> ConversionResult:
    """Converts to every target and writes ``NAME.conversion.json`` beside the artifacts.

    Args:
        model: The source.
        config: What is wanted.
        cache: As for `Conversion`.

    Raises:
        ConversionError: The model cannot be read, or its photos cannot be used.
    """
    start = time.monotonic()
    conversion = Conversion(model, config, cache)
    clock = cpu_clock()
    artifacts: list[Artifact] = []
    results: dict[str, Any] = {}
    failures: list[str] = []
    only_errors = True
    conversion.exports.begin(conversion.targets)
    for target in track(conversion.targets, f"convert {conversion.name}", len(conversion.targets)):
        name = f"{conversion.name}.{target}"
        artifact, results[name] = conversion.run(target)
        if results[name]["file"] != name:  # what an earlier run left under the name is out of date
            (conversion.folder / name).unlink(missing_ok=True)
        if artifact is not None:
            artifacts.append(artifact)
        elif results[name]["error"]:
            failures.append(f"{name}: {results[name]['error']}")
        else:
            only_errors = False
            comparison = AnswerComparison(**results[name]["comparison"])
            failures.append(f"{name} {comparison.verdict(conversion.evaluation_kind)}")
    report = {
        **conversion.report(), "seconds": time.monotonic() - start, "results": results,
        "advice": advise(results, cpus_left(clock, cpu_clock())),
    }  # fmt: skip
    path = conversion.folder / f"{conversion.name}.conversion.json"
    files.write_json(path, report)
    log_results(results, report["advice"])
    error: ConversionError | None = None
    if failures and only_errors:
        error = ConversionError("; ".join(failures))
    elif failures:
        allowed, advice = remedy(conversion.evaluation_kind, config.tolerance)
        error = QualityGateError(
            f"{'; '.join(failures)} (allowed: {allowed}) and was not written. {path} holds what "
            f"was tried; {advice}."
        )
    return ConversionResult(tuple(artifacts), report, path, error)


def _of_quantization(artifact: Artifact | None, key: str) -> Any:
    return (artifact.metadata.quantization or {}).get(key) if artifact else None


def _median_ms(classifier: Classifier, images: UInt8Array) -> float:
    """A first look at the speed of one image on one runtime; `edgeclf benchmark` measures it."""
    times = []
    for image in images[:_TIMED_IMAGES]:
        start = time.perf_counter()
        classifier.probabilities(image[np.newaxis])
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3
