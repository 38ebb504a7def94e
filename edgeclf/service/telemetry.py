"""Requests as OpenTelemetry's spans, where that is asked for; else nothing is kept or sent."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from time import monotonic_ns, time_ns
from typing import Any

from edgeclf.errors import MissingDependencyError
from edgeclf.inference.prediction import Prediction
from edgeclf.service.asgi import Scope, header
from edgeclf.service.catalog import Version
from edgeclf.service.pool import Answered

_SPAN: ContextVar[Any] = ContextVar("edgeclf_span")  # of the request whose task this is
_FLUSH_S = 3.0  # for what has not been sent yet when the service ends


class Telemetry:
    """Makes a span of each request, and one of each stage of each picture in it.

    Where they go, how many of them, and what the service is called there is said by OpenTelemetry's
    own environment variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`,
    `OTEL_SERVICE_NAME` and the rest.

    Args:
        processor: What takes the spans; by default, they are sent by OTLP over HTTP in batches.

    Raises:
        MissingDependencyError: OpenTelemetry is not installed.
    """

    def __init__(self, processor: Any = None) -> None:
        try:
            from opentelemetry import propagate, trace
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider

            if processor is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
                from opentelemetry.sdk.trace.export import BatchSpanProcessor

                processor = BatchSpanProcessor(OTLPSpanExporter())
        except ModuleNotFoundError as exc:
            raise MissingDependencyError("opentelemetry", "otel", "--otel") from exc
        said = OTELResourceDetector().detect()
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "edgeclf"}).merge(said),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("edgeclf")
        self._trace, self._propagate = trace, propagate

    def begin(self, scope: Scope) -> Any:
        """Starts a request's span, below the client's where it names one."""
        carrier = {
            name: value.decode("latin-1")
            for name in ("traceparent", "tracestate")
            if (value := header(scope, name.encode())) is not None
        }
        span = self._tracer.start_span(
            scope["method"],
            context=self._propagate.extract(carrier),
            kind=self._trace.SpanKind.SERVER,
            attributes={"http.request.method": scope["method"], "url.path": scope["path"],
                        "edgeclf.request_id": scope["edgeclf.request_id"]},
        )  # fmt: skip
        _SPAN.set(span)
        return span

    def traceparent(self, span: Any) -> bytes:
        """What the answer's header says of a span."""
        context = span.get_span_context()
        words = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        return words.encode()

    def picture(self, version: Version, submitted_s: float, index: int, answered: Answered) -> None:
        """Adds the stages of a picture to the span of the request that is being answered.

        Args:
            version: Who answered.
            submitted_s: When the picture was queued, by `time.monotonic`.
            index: Which one of the request's it is.
            answered: What came of it.
        """
        span = _SPAN.get(None)
        if span is None or not span.is_recording() or not isinstance(answered.result, Prediction):
            return
        span.set_attributes({"edgeclf.model": version.model, "edgeclf.version": version.number,
                             "edgeclf.sha256": version.sha256})  # fmt: skip
        timing = answered.result.timing
        context = self._trace.set_span_in_context(span)
        at = time_ns() - monotonic_ns() + round(submitted_s * 1e9)
        for name, took_ms in (
            ("queue", answered.queue_ms),
            ("decode", timing.decode_ms),
            ("preprocess", timing.preprocess_ms),
            ("inference", timing.inference_ms),
        ):
            end = at + round(took_ms * 1e6)
            self._tracer.start_span(
                name, context=context, start_time=at, attributes={"edgeclf.picture": index}
            ).end(end)
            at = end

    def end(self, span: Any, method: str, route: str, status: int) -> None:
        """Ends a request's span.

        Args:
            span: From `begin`.
            method: The request's.
            route: The route's pattern.
            status: Of the answer.
        """
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.route": route, "http.response.status_code": status})
        if status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()

    def close(self) -> None:
        """Sends what is left, if it goes soon."""
        # In a thread, as neither has a limit of its own where nobody takes the spans.
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(_FLUSH_S)
