from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeclf.errors import MissingDependencyError
from edgeclf.service.telemetry import Telemetry
from support.services import artifact, client, serving, shade, write

TRACE, PARENT = "ab" * 16, "cd" * 8


@pytest.fixture
def exporter() -> Any:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    return InMemorySpanExporter()


@pytest.fixture
def http_client(tmp_path: Path, exporter: Any) -> Iterator[httpx.Client]:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    with client(write(tmp_path, artifact()), max_pictures=4) as made:
        made.service.telemetry = Telemetry(SimpleSpanProcessor(exporter))  # type: ignore[attr-defined]
        yield made


def test_a_request_is_a_span_below_the_client_s_with_its_stages(
    http_client: httpx.Client, exporter: Any
) -> None:
    before = time.time_ns()
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "mine-7"}
    answer = http_client.post("/classify", content=shade(20), headers=headers)
    *stages, request = exporter.get_finished_spans()
    assert [span.name for span in stages] == ["queue", "decode", "preprocess", "inference"]
    assert request.name == "POST /classify"
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == PARENT
    assert answer.headers["traceparent"] == f"00-{TRACE}-{request.context.span_id:016x}-01"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["edgeclf.request_id"] == "mine-7"
    assert request.attributes["edgeclf.sha256"] == answer.json()["sha256"]
    assert request.resource.attributes["service.name"] == "edgeclf"
    timing, at = answer.json()["timing"], before
    for span in stages:
        assert span.parent.span_id == request.context.span_id
        assert at <= span.start_time <= span.end_time <= request.end_time
        assert (span.end_time - span.start_time) / 1e6 == pytest.approx(
            timing[f"{span.name}_ms"], abs=1e-3
        )
        at = span.end_time


def test_each_picture_has_its_stages_and_a_refusal_none(
    http_client: httpx.Client, exporter: Any
) -> None:
    files = [("f", shade(20)), ("f", b"none"), ("f", shade(240))]
    http_client.post("/classify", files=files)
    *stages, request = exporter.get_finished_spans()
    assert [span.attributes["edgeclf.picture"] for span in stages] == [0] * 4 + [2] * 4
    exporter.clear()
    for path, status in (("/classify", 422), ("/nowhere", 404)):
        http_client.post(path, content=b"none")
        (request,) = exporter.get_finished_spans()
        assert request.attributes["http.response.status_code"] == status
        assert request.status.is_unset
        exporter.clear()
    assert request.name == "POST other"  # an address of the client's names nothing


def test_a_fault_is_marked(http_client: httpx.Client, exporter: Any) -> None:
    http_client.service.draining = True  # type: ignore[attr-defined]
    assert http_client.get("/healthz/ready").status_code == 503
    (request,) = exporter.get_finished_spans()
    assert not request.status.is_ok and not request.status.is_unset


class Collector(http.server.BaseHTTPRequestHandler):
    got: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def test_spans_are_sent_where_the_environment_says_and_only_if_asked(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs edgeclf[otel]")
    got: list[tuple[str, bytes]] = []
    handler = type("Handler", (Collector,), {"got": got})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "OTEL_SERVICE_NAME": "birds",
        }
        model = write(tmp_path, artifact())
        try:
            for words in ((), ("--otel",)):
                with serving(model, "--runtime", "fake", "--drain-s", "0", *words, env=env) as run:
                    httpx.post(f"{run.url}/classify", content=shade(20))
                    assert not got
                    assert run.stop() == 0
        finally:
            server.shutdown()
    assert {path for path, _ in got} == {"/v1/traces"}
    sent = b"".join(body for _, body in got)
    assert b"birds" in sent and b"POST /classify" in sent


def test_without_the_package_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in sys.modules if n.split(".")[0] == "opentelemetry"]:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "opentelemetry", None)
        with pytest.raises(MissingDependencyError, match=r"edgeclf\[otel\]"):
            Telemetry()


def test_a_service_without_it_never_imports_it(tmp_path: Path) -> None:
    code = "import sys, edgeclf.service.server; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env=dict(os.environ), check=True)  # fmt: skip
    assert done.stdout == "False\n"
