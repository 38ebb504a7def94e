"""What a conversion's report says: of one attempt, of the images that changed most, of the end."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from edgeclf.artifact import Metadata
from edgeclf.converters.base import Converted, Recipe
from edgeclf.converters.evaluation import Evaluation
from edgeclf.converters.gate import AnswerComparison, answer_changes
from edgeclf.image import UInt8Array
from edgeclf.runtimes.base import Float32Array
from edgeclf.system.progress import log

SCHEMA = "edgeclf.conversion/1"
LIBRARIES = ("edgeclf", "tensorflow", "keras", "litert-quantizer", "ai-edge-litert", "tf2onnx",
             "onnx", "onnxruntime", "numpy", "pillow")  # fmt: skip
_WORST_IMAGES = 6
_WORST_LAYERS = 20


@dataclass(frozen=True)
class Attempt:
    """One recipe, converted and compared.

    Attributes:
        recipe: What was tried.
        converted: The result.
        metadata: What the artifact would know, but for accuracy and certificate.
        answers: float32 [N, classes] to the evaluation's images.
        comparison: With the source's answers.
        record: The same for the report.
    """

    recipe: Recipe
    converted: Converted
    metadata: Metadata
    answers: Float32Array
    comparison: AnswerComparison
    record: dict[str, Any]


def record_attempt(
    attempt: Attempt, source: Float32Array, evaluation: Evaluation
) -> dict[str, Any]:
    """How an attempt's answers differ from the source's, as plain JSON types.

    Args:
        attempt: The one that was taken, or the last.
        source: float32 [N, classes], the source's answers to the evaluation's images.
        evaluation: Those images.
    """
    labels = attempt.metadata.labels
    # Those of values that are not finite come first.
    worst = sorted(
        attempt.converted.layer_errors,
        key=lambda layer: (math.isfinite(layer.error), -layer.error),
    )
    return {
        "comparison": dataclasses.asdict(attempt.comparison),
        "quantization": attempt.converted.quantization,
        "changes": answer_changes(source, attempt.answers, evaluation.targets, labels),
        "worst_images": _worst_images(source, attempt.answers, evaluation, labels),
        "layer_errors": [dataclasses.asdict(layer) for layer in worst[:_WORST_LAYERS]],
    }


def _worst_images(
    source: Float32Array, answers: Float32Array, evaluation: Evaluation, labels: Sequence[str]
) -> list[dict[str, Any]]:
    targets = evaluation.targets
    change = np.abs(source - answers).max(axis=1)

    def top(row: Float32Array) -> list[list[Any]]:
        return [[labels[i], float(row[i])] for i in np.argsort(-row, kind="stable")[:3]]

    return [
        {
            "png": _png(evaluation.images[index]),
            "truth": None if targets is None else labels[targets[index]],
            "source": top(source[index]),
            "artifact": top(answers[index]),
            "change": float(change[index]),
        }
        for index in np.argsort(-change, kind="stable")[:_WORST_IMAGES]
    ]


def _png(image: UInt8Array) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def log_results(results: dict[str, dict[str, Any]], advice: Sequence[str]) -> None:
    """Prints a line for each target, whether it holds and what it lost, and which one to take."""
    for name, result in results.items():
        comparison = result.get("comparison")
        if comparison is None:
            log(f"  {name:<28} FAILED  {result['error']}")
            continue
        top1 = ""
        if comparison["source_top1"] is not None:
            top1 = f"top-1 {comparison['source_top1']:.1%} -> {comparison['artifact_top1']:.1%}  "
        log(
            f"  {name:<28} {'passed' if result['passed'] else 'FAILED'}  {top1}"
            f"agreement {comparison['top1_agreement']:.1%}  "
            f"max change {comparison['max_change']:.4f}"
        )
        if result["passed"] and len(result["attempts"]) > 1:
            log(f"    after {len(result['attempts'])} attempts: {result['attempts'][-1]['recipe']} "
                f"-> {result['file']}")  # fmt: skip
    for sentence in advice:
        log(f"  {sentence}")
