"""A line of JSON for each request: what was answered, and how long it took. No pixels, no EXIF."""

from __future__ import annotations

import json
import math
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from edgeclf.errors import OptionError
from edgeclf.monitoring.line_file import LineFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeclf.errors import EdgeclfError
    from edgeclf.inference.prediction import Prediction

_QUIET = ("/healthz/", "/v2/health/", "/metrics")  # what asks for these, asks all day
_DIGITS = 6
_answers: ContextVar[list[dict[str, Any]] | None] = ContextVar("edgeclf_answers", default=None)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class RequestLog(Collector):
    """Used on the loop's thread.

    Args:
        path: Of the file; ``-`` for standard output.
        registry: Where lost lines are counted.

    Raises:
        OptionError: It cannot be written.
    """

    def __init__(self, path: str, registry: CollectorRegistry) -> None:
        try:
            self._file = LineFile(path)
        except OSError as exc:
            raise OptionError(
                f"The log {path!r} cannot be written: {exc.strerror}. Give another --log, or '-'."
            ) from exc
        registry.register(self)

    def begin(self) -> None:
        """A request has come, in whose task this is called."""
        _answers.set([])

    def answer(
        self, model: str, version: str, sha256: str, result: Prediction | EdgeclfError,
        queue_ms: float,
    ) -> None:  # fmt: skip
        """Notes what came of one of its pictures."""
        answers = _answers.get()
        if answers is None:  # of no request: a trial's
            return
        entry: dict[str, Any] = {"model": model, "version": version, "sha256": sha256}
        timing = getattr(result, "timing", None)
        if timing is None:
            entry["error"] = type(result).__name__
        else:
            entry |= {
                "label": result.label,  # type: ignore[union-attr]
                "probability": _number(result.probability),  # type: ignore[union-attr]
                "confidence": _number(result.confidence),  # type: ignore[union-attr]
                "unknown": result.unknown,  # type: ignore[union-attr]
                "queue_ms": _number(queue_ms), "decode_ms": _number(timing.decode_ms),
                "preprocess_ms": _number(timing.preprocess_ms),
                "inference_ms": _number(timing.inference_ms),
            }  # fmt: skip
        answers.append(entry)

    def end(self, request_id: str, route: str, status: int, seconds: float) -> None:
        """Writes the request's line.

        Args:
            request_id: As the client gets it.
            route: The route's pattern.
            status: Of the answer.
            seconds: That it took.
        """
        if route.startswith(_QUIET):
            return
        line = {
            "time": round(time.time(), 3), "id": request_id, "route": route, "status": status,
            "total_ms": round(seconds * 1e3, 3), "answers": _answers.get() or [],
        }  # fmt: skip
        self._file.add(_encode(line).encode("utf-8", "replace"))

    def close(self) -> None:
        """Writes what is left."""
        self._file.close()

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Lost lines, for the registry."""
        family = CounterMetricFamily("edgeclf_log_lines_lost", "Lines of the log that were lost")
        family.add_metric((), self._file.lost_lines)
        return [family]


def _number(value: float | None) -> float | None:
    return round(value, _DIGITS) if value is not None and math.isfinite(value) else None
