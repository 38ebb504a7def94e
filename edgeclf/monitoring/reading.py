"""What is known of a service's answers: asked of it, or read from its log."""

from __future__ import annotations

import http.client
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgeclf.errors import DataError, OptionError, ServiceError
from edgeclf.monitoring.expected_accuracy import MEANING, ExpectedAccuracy

SCHEMA = "edgeclf.monitor/1"
_ROUTE = "/v1/monitor"
_TIMEOUT_S = 10.0
_MOST_BYTES = 64 * 2**20
_STAGES = ("queue_ms", "decode_ms", "preprocess_ms", "inference_ms")
_MOST_LABELS = 20
_IN_LOG = (
    "A log holds answers and no reference, so that neither drift nor a shift of classes can be "
    "told from it. Ask the service itself: edgeclf monitor http://HOST:PORT."
)


def ask_service(url: str, key: str | None = None) -> dict[str, Any]:
    """What a running service knows.

    Args:
        url: ``http://HOST:PORT``.
        key: That it asks for.

    Raises:
        OptionError: That is no such address.
        ServiceError: Nothing there answers, or something else.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme != "http":
        raise OptionError(f"The address is {url!r}; expected one as http://127.0.0.1:8080.")
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", _ROUTE, headers=headers)
        response = connection.getresponse()
        body = response.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException) as exc:
        raise ServiceError(f"{url} does not answer: {exc}. Is it served there?") from exc
    finally:
        connection.close()
    try:
        document = json.loads(body)
        if response.status == 200:
            return {"schema": SCHEMA, "source": url, "versions": list(document["versions"])}
        reason = str(document["error"])
    except (ValueError, LookupError, TypeError):
        reason = f"expected what 'edgeclf serve' says at {_ROUTE}"
    raise ServiceError(f"{url} answers {response.status}: {reason}")


def read_log(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the lines of ``serve --log`` say.

    Args:
        path: The file; a last line that is being written, and others that are damaged, are counted
            and passed over.

    Raises:
        DataError: It cannot be read, or holds none.
    """
    versions: dict[str, _OfLog] = {}
    statuses: Counter[str] = Counter()
    damaged = 0
    try:
        with Path(path).open("rb") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                    answers = [_complete(answer) for answer in entry["answers"]]
                    statuses[str(int(entry["status"]))] += 1
                    for answer in answers:
                        sha256 = answer["sha256"]
                        if sha256 not in versions:
                            versions[sha256] = _OfLog(answer)
                        versions[sha256].add(answer)
                except (ValueError, LookupError, TypeError, RecursionError):
                    damaged += 1
    except OSError as exc:
        raise DataError(f"The log {os.fspath(path)} cannot be read: {exc.strerror}.") from exc
    if not statuses:
        raise DataError(
            f"{os.fspath(path)} holds no line of a log; expected what 'edgeclf serve --log' writes."
        )
    return {"schema": SCHEMA, "source": os.fspath(path),
            "requests": dict(sorted(statuses.items())), "damaged_lines": damaged,
            "versions": [each.report() for each in versions.values()]}  # fmt: skip


def _complete(answer: dict[str, Any]) -> dict[str, Any]:
    """The same, which has all that is counted."""
    for name in ("model", "version", "sha256"):
        answer[name] = str(answer[name])
    if "error" not in answer:
        answer["label"] = str(answer["label"])
        for name in ("confidence", *_STAGES):
            if answer.get(name) is not None:
                answer[name] = float(answer[name])
    return answer


class _OfLog:
    """One version's lines."""

    def __init__(self, first: dict[str, Any]) -> None:
        self._about = {name: first[name] for name in ("model", "version", "sha256")}
        self._accuracy = ExpectedAccuracy()
        self._labels: Counter[str] = Counter()
        self._unknown: Counter[bool] = Counter()
        self._errors: Counter[str] = Counter()
        self._times: dict[str, list[float]] = {stage: [] for stage in _STAGES}

    def add(self, answer: dict[str, Any]) -> None:
        if "error" in answer:
            self._errors[str(answer["error"])] += 1
            return
        self._labels[answer["label"]] += 1
        if answer.get("unknown") is not None:
            self._unknown[bool(answer["unknown"])] += 1
        if answer.get("confidence") is not None:
            self._accuracy.add(answer["confidence"])
        for stage, values in self._times.items():
            if answer.get(stage) is not None:
                values.append(answer[stage])

    def report(self) -> dict[str, Any]:
        judged = self._unknown.total()
        known = self._accuracy.report()
        return {
            **self._about,
            "pictures": self._labels.total(), "cannot": [_IN_LOG], "drift": None,
            "label_shift": None,
            "expected_accuracy": None if known["all"] is None else {**known, "meaning": MEANING},
            "errors": dict(self._errors),
            "labels": dict(self._labels.most_common(_MOST_LABELS)),
            "unknown_share": self._unknown[True] / judged if judged else None,
            "times": {s: _quantiles(v) for s, v in self._times.items() if v},
        }  # fmt: skip


def _quantiles(values: list[float]) -> dict[str, float]:
    """The nearest-rank median and, of as many as it needs, 99th percentile."""
    values.sort()
    found = {"p50": values[(len(values) - 1) // 2]}
    if len(values) >= 100:
        found["p99"] = values[-(-99 * len(values) // 100) - 1]
    return found
