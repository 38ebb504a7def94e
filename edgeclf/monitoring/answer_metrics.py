"""Figures of answers and pictures, by model, with as many labels as were decided beforehand."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from edgeclf.image.formats import format_of
from edgeclf.monitoring.histogram import PlainHistogram

if TYPE_CHECKING:
    from edgeclf.inference.prediction import Prediction

MOST_LABELS = 50  # of one model, the first that are answered; the others count as one
OTHER = "other"
_HEAD_BYTES = 64
_SHARES = tuple(n / 20 for n in range(1, 21))
_LIMITS = {
    "confidence": _SHARES,
    "margin": _SHARES,
    "brightness": tuple(255 / 10 * n for n in range(1, 11)),
    "contrast": tuple(12.8 * n for n in range(1, 11)),
    "sharpness": (1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0),
}
_TEXTS = {
    "confidence": "Calibrated confidence of answers, 0 to 1",
    "margin": "Probability of the first class less that of the second",
    "brightness": "Mean luma of what the model sees, 0 to 255; of some of the pictures",
    "contrast": "Standard deviation of that luma; of some of the pictures",
    "sharpness": "Mean size of its Laplacian; of some of the pictures",
}
_BYTES = tuple(float(2**n) for n in range(12, 26, 2))  # 4 KiB to 16 MiB


class AnswerMetrics(Collector):
    """Filled on one thread.

    Args:
        registry: Where it is entered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._histograms = {
            name: PlainHistogram(f"edgeclf_{name}", _TEXTS[name], "model", limits, registry)
            for name, limits in _LIMITS.items()
        }
        self._bytes = PlainHistogram(
            "edgeclf_picture_bytes", "Size of the files of pictures that were answered", "format",
            _BYTES, registry,
        )  # fmt: skip
        self._labels: dict[str, dict[str, int]] = {}
        self._judged: dict[str, dict[str, int]] = {}
        registry.register(self)

    def add(
        self,
        model: str,
        content: object,
        prediction: Prediction,
        label: str,
        margin: float,
        statistics: Mapping[str, float] | None,
    ) -> None:
        """Counts an answer.

        Args:
            model: Whose it is.
            content: What was asked: the bytes of a file, or pixels.
            prediction: The answer.
            label: Its most probable class.
            margin: How far that is before the next.
            statistics: Of the picture; None where nobody looked.
        """
        values = {"confidence": prediction.confidence, "margin": margin, **(statistics or {})}
        for name, value in values.items():
            if value is not None and math.isfinite(value):
                self._histograms[name].labels(model).observe(value)
        if isinstance(content, bytes):
            known = format_of(content[:_HEAD_BYTES]) or OTHER
            self._bytes.labels(known).observe(len(content))
        else:
            self._bytes.labels("pixels").observe(getattr(content, "nbytes", 0))
        labels = self._labels.setdefault(model, {})
        if label not in labels and len(labels) >= MOST_LABELS:
            label = OTHER
        labels[label] = labels.get(label, 0) + 1
        if prediction.unknown is not None:
            judged = self._judged.setdefault(model, {"true": 0, "false": 0})
            judged["true" if prediction.unknown else "false"] += 1

    def keep(self, models: Collection[str]) -> None:
        """Drops the series of models that are not among these."""
        for histogram in self._histograms.values():
            histogram.keep(models)
        for counts in (self._labels, self._judged):
            for model in counts.keys() - set(models):
                del counts[model]

    def collect(self) -> Iterable[CounterMetricFamily]:
        """What it counts itself, for the registry."""
        for name, text, label, counts in (
            ("edgeclf_answers", "Answers by their most probable class: the first "
             f"{MOST_LABELS} of a model, and the others", "label", self._labels),
            ("edgeclf_judged", "Answers for which it was told whether the picture is unknown",
             "unknown", self._judged),
        ):  # fmt: skip
            family = CounterMetricFamily(name, text, labels=("model", label))
            for model, found in counts.items():
                for value, count in found.items():
                    family.add_metric((model, value), count)
            yield family
