"""The figures of a service, as Prometheus reads them.

Names follow its conventions: base units, `_total` for what only grows, and no label whose values a
client chooses: an address that no model answers to counts as ``other``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    generate_latest,
)

from edgeclf.monitoring.histogram import Buckets, PlainHistogram
from edgeclf.monitoring.throttling import Throttling

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STAGES = ("queue", "decode", "preprocess", "inference")


class Metrics:
    """What is counted and timed, in a registry of its own: two services in a process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self.registry.register(collector)
        self.registry.register(Throttling())
        self.requests = Counter(
            "edgeclf_requests", "Requests by route and HTTP status", ("route", "status"),
            registry=self.registry,
        )  # fmt: skip
        self.request_seconds = PlainHistogram(
            "edgeclf_request_seconds", "From a request's first byte to its answer's last",
            "route", _SECONDS, self.registry,
        )  # fmt: skip
        self.refused = Counter(
            "edgeclf_refused", "Requests and pictures that got no answer, by the reason's code",
            ("code",), registry=self.registry,
        )  # fmt: skip
        self.pictures = Counter(
            "edgeclf_pictures", "Pictures that were answered",
            ("model", "version"), registry=self.registry,
        )  # fmt: skip
        self.streams = Gauge(
            "edgeclf_streams", "Streams that are open", registry=self.registry,
        )  # fmt: skip
        self.stream_frames = Counter(
            "edgeclf_stream_frames", "Frames of streams, by what became of them: answered, late, "
            "replaced by a newer one, refused; duplicate counts those that came again as well",
            ("outcome",), registry=self.registry,
        )  # fmt: skip
        self.stage_seconds = PlainHistogram(
            "edgeclf_stage_seconds", "Seconds that a picture spent in each stage",
            "stage", _SECONDS, self.registry,
        )  # fmt: skip
        self.waiting = Gauge(
            "edgeclf_pictures_in_service", "Pictures that wait or are being answered",
            registry=self.registry,
        )  # fmt: skip
        self.ready = Gauge(
            "edgeclf_ready", "Whether every model can answer, as /healthz/ready says",
            registry=self.registry,
        )  # fmt: skip
        self.model_info = Gauge(
            "edgeclf_model_info", "1 for each version that is known",
            ("model", "version", "sha256", "precision", "runtime", "state"),
            registry=self.registry,
        )  # fmt: skip
        self.model_bytes = Gauge(
            "edgeclf_model_bytes", "Size of a version's file, of those that are loaded",
            ("model", "version"), registry=self.registry,
        )  # fmt: skip
        self.swaps = Counter(
            "edgeclf_swaps", "What came of new versions and of orders: switched, promoted, rolled "
            "back, rejected by a trial, failed to load, unloaded for want of memory",
            ("outcome",), registry=self.registry,
        )  # fmt: skip
        self.shadow_agreement = Gauge(
            "edgeclf_shadow_agreement", "Share of pictures for which a new version named the class "
            "of the present one", ("model", "version"), registry=self.registry,
        )  # fmt: skip
        self.certificate_passed = Gauge(
            "edgeclf_certificate_passed", "Whether the last replay of the certificate held",
            ("model", "version"), registry=self.registry,
        )  # fmt: skip
        self.certificate_timestamp = Gauge(
            "edgeclf_certificate_timestamp_seconds", "When that was, in seconds since 1970",
            ("model", "version"), registry=self.registry,
        )  # fmt: skip
        self.registry_up = Gauge(
            "edgeclf_registry_up", "Whether the registry said what to serve when last asked",
            ("model",), registry=self.registry,
        )  # fmt: skip
        self.registry_timestamp = Gauge(
            "edgeclf_registry_answered_timestamp_seconds", "When it last did, in seconds "
            "since 1970", ("model",), registry=self.registry,
        )  # fmt: skip
        self._requests: dict[tuple[str, int], tuple[Counter, Buckets]] = {}
        self._answered: dict[tuple[str, str], Counter] = {}
        self._stages = tuple(self.stage_seconds.labels(stage) for stage in _STAGES)

    def observe_stages(self, milliseconds: Sequence[float]) -> None:
        """Times one picture.

        Args:
            milliseconds: In queue, decoding, preprocessing and inference.
        """
        for stage, value in zip(self._stages, milliseconds, strict=True):
            if math.isfinite(value):
                stage.observe(value / 1e3)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Counts and times a request.

        Args:
            route: The route's pattern, not the address that was asked for.
            status: Of the answer.
            seconds: That it took.
        """
        cached = self._requests.get((route, status))
        if cached is None:
            cached = self._requests[route, status] = (
                self.requests.labels(route, str(status)),
                self.request_seconds.labels(route),
            )
        cached[0].inc()
        cached[1].observe(seconds)

    def answered(self, model: str, version: str) -> None:
        """Counts a picture that a version has answered."""
        counter = self._answered.get((model, version))
        if counter is None:
            counter = self._answered[model, version] = self.pictures.labels(model, version)
        counter.inc()

    def versions(self, rows: Iterable[tuple[tuple[str, ...], int | None]]) -> None:
        """Shows the versions that there are, and none that there were.

        Args:
            rows: Of each: model, version, SHA-256, precision, runtime and state; and the size of
                its file in bytes, if it is loaded.
        """
        self.model_info.clear()
        self.model_bytes.clear()
        for labels, size_bytes in rows:
            self.model_info.labels(*labels).set(1)
            if size_bytes is not None:
                self.model_bytes.labels(*labels[:2]).set(size_bytes)

    def forget(self, model: str, version: str) -> None:
        """Drops the series of a version that is gone, which would else be kept for ever."""
        self._answered.pop((model, version), None)
        for family in (self.pictures, self.shadow_agreement, self.certificate_passed,
                       self.certificate_timestamp):  # fmt: skip
            with suppress(KeyError):
                family.remove(model, version)

    def proof(self, model: str, version: str, passed: bool, at: float) -> None:
        """Notes the replay of a certificate, and when it was, in seconds since 1970."""
        self.certificate_passed.labels(model, version).set(passed)
        self.certificate_timestamp.labels(model, version).set(at)

    def exposition(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self.registry)
