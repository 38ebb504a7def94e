"""The monitoring of a service: each model's, what Prometheus is told of it, and its file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from edgeclf.monitoring.answer_metrics import AnswerMetrics
from edgeclf.monitoring.model_monitor import ModelMonitor, top_and_margin
from edgeclf.monitoring.state import StateFile
from edgeclf.system.progress import log

if TYPE_CHECKING:
    from edgeclf.artifact import Metadata
    from edgeclf.inference.prediction import Prediction


class Watched(NamedTuple):
    """A version whose answers are watched."""

    model: str
    version: str
    sha256: str
    metadata: Metadata


class Monitoring(Collector):
    """Fed and read on the loop's thread.

    Args:
        registry: Where its figures are entered.
        watched: Says which versions there are.
        state: The file that outlives a restart; None for none.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        watched: Callable[[], Iterable[Watched]],
        state: str | None = None,
    ) -> None:
        self._watched = watched
        self._monitors: dict[str, ModelMonitor] = {}
        self._metrics = AnswerMetrics(registry)
        self._unsaved = 0
        self._failures = Counter(
            "edgeclf_monitor_state_failures", "Times that the monitoring's file was not written",
            registry=registry,
        )  # fmt: skip
        self._file = None if state is None else StateFile(state)
        self._said = ""
        if self._file is not None:
            self._say(self._file.read() or "")
        registry.register(self)

    def add(
        self,
        of: Watched,
        content: object,
        prediction: Prediction,
        statistics: Mapping[str, float] | None,
    ) -> None:
        """Takes an answer.

        Args:
            of: Who gave it.
            content: What was asked: the bytes of a file, or pixels.
            prediction: The answer.
            statistics: Brightness, contrast and sharpness; None where nobody measured them.
        """
        top, margin = top_and_margin(prediction.probabilities)
        self._unsaved += 1
        self._monitor(of).add(prediction, top, margin, statistics, time.time())
        label = prediction.labels[top]
        self._metrics.add(of.model, content, prediction, label, margin, statistics)

    def report(self) -> list[dict[str, Any]]:
        """What is known of each version, as JSON can say it."""
        return [
            {"model": of.model, "version": of.version, "sha256": of.sha256,
             **self._monitor(of).report()}
            for of in self._watched()
        ]  # fmt: skip

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """What is not counted answer by answer, for the registry."""
        by = ("model", "version")
        capital = GaugeMetricFamily(
            "edgeclf_drift_capital_log10", "Evidence of drift: log10 of what betting on it made of "
            "1", labels=(*by, "signal"),
        )  # fmt: skip
        limit = GaugeMetricFamily(
            "edgeclf_drift_limit_log10", "Above which it is an alarm", labels=(*by, "signal")
        )
        alarm = GaugeMetricFamily(
            "edgeclf_drift_alarm", "Whether it has ever been above", labels=(*by, "signal")
        )
        shift = GaugeMetricFamily(
            "edgeclf_label_shift_log10", "log10 of the Bayes factor that other classes are "
            "answered than in the reference", labels=by,
        )  # fmt: skip
        accuracy = GaugeMetricFamily(
            "edgeclf_expected_accuracy", "Mean calibrated confidence, of the last 1,000 answers "
            "and of all", labels=(*by, "over"),
        )  # fmt: skip
        blind = GaugeMetricFamily(
            "edgeclf_monitor_blind", "Whether the file has no reference to tell drift by", labels=by
        )
        versions = list(self._watched())
        self._metrics.keep({of.model for of in versions})
        for of in versions:
            place, monitor = (of.model, of.version), self._monitor(of)
            blind.add_metric(place, monitor.drift is None)
            for name, entry in ({} if monitor.drift is None else monitor.drift.report()).items():
                capital.add_metric((*place, name), entry["log10_capital"])
                limit.add_metric((*place, name), entry["log10_limit"])
                alarm.add_metric((*place, name), entry["alarm"] is not None)
            if monitor.label_shift is not None:
                shift.add_metric(place, monitor.label_shift.log10_factor)
            estimates = {} if monitor.accuracy is None else monitor.accuracy.report()
            for over, estimate in estimates.items():
                if estimate is not None:
                    accuracy.add_metric((*place, over), estimate["accuracy"])
        return [capital, limit, alarm, shift, accuracy, blind]

    def save(self) -> Callable[[], None] | None:
        """What writes the file, to be called in another thread; None if there is nothing new.

        Forgets the versions that are gone, which the file still knows.
        """
        states = {sha256: monitor.state() for sha256, monitor in self._monitors.items()}
        present = {of.sha256 for of in self._watched()}
        content = None
        if self._file is not None and self._unsaved:
            content = self._file.encode(states)
        for sha256 in self._monitors.keys() - present:
            del self._monitors[sha256]
        self._unsaved = 0
        return None if content is None else lambda: self._write(content)

    def _write(self, content: bytes) -> None:
        assert self._file is not None
        try:
            self._file.write(content)
        except OSError as exc:  # a full disk: monitoring goes on in memory, and answers as well
            self._failures.inc()
            self._unsaved += 1
            self._say(f"The monitoring's state is not written: {exc}.")
        else:
            self._said = ""

    def _say(self, text: str) -> None:
        """Once, until all is well again."""
        if text and text != self._said:
            log(f"edgeclf: {text}")
        self._said = text

    def _monitor(self, of: Watched) -> ModelMonitor:
        found = self._monitors.get(of.sha256)
        if found is not None:
            return found
        found = ModelMonitor(of.metadata)
        known = None if self._file is None else self._file.of(of.sha256)
        if known is not None:
            try:
                found.restore(known)
            except (KeyError, TypeError, ValueError) as exc:
                found = ModelMonitor(of.metadata)
                self._say(f"What was known of {of.model} {of.version} cannot be used ({exc}); its "
                          "monitoring begins anew.")  # fmt: skip
        self._monitors[of.sha256] = found
        return found
