"""Engines that fail, clients that leave, and work that nobody waits for any more."""

from __future__ import annotations

import asyncio
import resource
import signal
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from edgeclf import Classifier
from edgeclf.errors import ServiceError
from edgeclf.runtimes.fake import FakeRuntime
from edgeclf.service.asgi import Bodies
from edgeclf.service.front import Front
from edgeclf.service.intake import parse_json
from edgeclf.service.problem import Problem
from edgeclf.service.server import allow_connections
from edgeclf.service.stream_route import Streams
from support.pictures import save
from support.services import (
    Listening,
    artifact,
    eventually,
    listening,
    received,
    shade,
    write,
)

LIVE = b"GET /healthz/live HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("models"), artifact())


@pytest.fixture
def served(model: Path) -> Iterator[Listening]:
    with listening(model, workers=1, queue=8, max_pictures=8) as made:
        yield made


@pytest.fixture
def http(served: Listening) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=20) as made:
        yield made


def behave(served: Listening, answer: Callable[[Any], Any]) -> None:
    """Lets the engine answer pictures that are brighter than 200 otherwise."""
    version = served.service.catalog.find()
    plain = FakeRuntime(version.artifact)

    def either(images: Any) -> Any:
        return answer(images) if images.mean() > 200 else plain.run(images)

    runtime = FakeRuntime(version.artifact, answer=either)
    version.engines = [Classifier(version.artifact, runtime=runtime)]


def fails_with(error: BaseException) -> Callable[[Any], Any]:
    def fail(images: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda images: np.full((len(images), 3), np.nan), "not finite"),
        (lambda images: np.full((len(images), 3), np.inf), "not finite"),
        (lambda images: np.zeros((len(images), 2)), "expected"),
        (fails_with(RuntimeError("/home/secret/model failed")), "RuntimeError"),
        (fails_with(MemoryError()), "MemoryError"),
        (fails_with(SystemExit(3)), "SystemExit"),
        (fails_with(KeyboardInterrupt()), "KeyboardInterrupt"),
    ],
)
def test_an_engine_that_fails_costs_one_answer(
    served: Listening, http: httpx.Client, answer: Callable[[Any], Any], words: str
) -> None:
    behave(served, answer)
    for _ in range(3):
        failed = http.post("/classify", content=shade(240))
        assert (failed.status_code, failed.json()["code"]) == (500, "inference_failed")
        error = failed.json()["error"]
        assert words in error and "secret" not in error and "\n" not in error
        assert http.post("/classify", content=shade(20)).json()["label"] == "dark"
    several = http.post("/classify", files=[("f", shade(level)) for level in (20, 240, 128)])
    labels = [entry.get("label", entry.get("code")) for entry in several.json()["answers"]]
    assert labels == ["dark", "inference_failed", "middle"]
    eventually(lambda: served.service.pool.pending == 0)


class Gate:
    """Holds the engine at bright pictures until it is opened, and counts what was decoded."""

    def __init__(self, served: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.decoded = 0
        behave(served, self._wait)
        (engine,) = served.service.catalog.find().engines
        classify = engine.classify_together

        def counted(images: Any, **options: Any) -> Any:
            self.decoded += len(images)
            return classify(images, **options)

        monkeypatch.setattr(engine, "classify_together", counted)

    def _wait(self, images: Any) -> Any:
        self.entered.set()
        assert self.open.wait(20)
        return np.tile(np.float32([0, 0, 1]), (len(images), 1))


@pytest.fixture
def gate(served: Listening, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(served, monkeypatch)
    yield made
    made.open.set()


def posted(picture: bytes, query: str = "") -> bytes:
    head = f"POST /classify{query} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(picture)}\r\n\r\n"
    return head.encode() + picture


def test_what_a_client_that_left_had_asked_is_not_decoded(
    served: Listening, http: httpx.Client, gate: Gate
) -> None:
    pool = served.service.pool
    with served.connect(posted(shade(240))):
        assert gate.entered.wait(10)
        # The second one on the second connection waits for the first: it goes with it as well.
        left = [served.connect(posted(shade(20))), served.connect(posted(shade(20)) * 2)]
        stays = served.connect(posted(shade(20)))
        eventually(lambda: pool.pending == 4)
        for each in left:
            each.close()
        time.sleep(0.1)
        gate.open.set()
        assert b'"dark"' in stays.recv(65_536)
        stays.close()
        eventually(lambda: pool.pending == 0)
    assert gate.decoded == 2
    assert http.post("/classify", content=shade(20)).json()["label"] == "dark"


def test_what_waits_beyond_its_deadline_is_not_decoded(
    served: Listening, http: httpx.Client, gate: Gate
) -> None:
    with served.connect(posted(shade(240))):
        assert gate.entered.wait(10)
        start = time.monotonic()
        late = http.post("/classify?timeout_ms=100", content=shade(20))
        assert (late.status_code, late.json()["code"]) == (503, "deadline_exceeded")
        assert 0.09 < time.monotonic() - start < 5 and "retry-after" in late.headers
        gate.open.set()
        eventually(lambda: served.service.pool.pending == 0)
    assert gate.decoded == 1


def test_a_full_queue_refuses_soon_and_live_answers(
    served: Listening, http: httpx.Client, gate: Gate
) -> None:
    with served.connect(posted(shade(240))), ThreadPoolExecutor(8) as clients:
        assert gate.entered.wait(10)
        futures = [
            clients.submit(httpx.post, f"{served.url}/classify", content=shade(20), timeout=20)
            for _ in range(8)
        ]
        eventually(lambda: served.service.pool.pending == 9)
        start = time.monotonic()
        busy = http.post("/classify", content=shade(20))
        assert (busy.status_code, busy.json()["code"]) == (503, "busy")
        assert int(busy.headers["retry-after"]) >= 1
        assert http.get("/healthz/live").status_code == 200
        assert time.monotonic() - start < 10
        gate.open.set()
        assert {future.result().json()["label"] for future in futures} == {"dark"}


def test_a_service_that_is_stopped_answers_what_it_has_taken(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(model, workers=1, drain_s=0.5) as served:
        gate = Gate(served, monkeypatch)
        idle = served.connect(LIVE)
        assert b"200 OK" in idle.recv(65_536)
        taken = served.connect(posted(shade(240)))
        assert gate.entered.wait(10)
        start = time.monotonic()
        served.server.handle_exit(signal.SIGTERM, None)
        with httpx.Client(base_url=served.url) as http:
            eventually(lambda: http.get("/healthz/ready").status_code == 503)
            waiting = served.connect(posted(shade(20)))  # balancers go on sending for a while
            assert http.get("/healthz/live").headers["connection"] == "close"
        assert received(idle) == b"" and time.monotonic() - start > 0.4
        with pytest.raises(ConnectionRefusedError):
            served.connect()
        gate.open.set()
        for made, label in ((taken, b'"bright"'), (waiting, b'"dark"')):
            raw = received(made)
            assert b"200 OK" in raw and label in raw and b"connection: close" in raw
        for made in (idle, taken, waiting):
            made.close()


def test_bodies_of_all_requests_together_have_a_limit(model: Path) -> None:
    limits = {"max_body_bytes": 100_000, "max_held_bytes": 150_000}
    with listening(model, **limits) as served, httpx.Client(base_url=served.url) as http:
        head = b"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
        with served.connect(head + bytes(90_000)) as slow:
            bodies = held(served)
            eventually(lambda: bodies.held_bytes == 90_000)
            refused = http.post("/classify", content=bytes(90_000))
            assert (refused.status_code, refused.json()["code"]) == (503, "busy")
            assert http.post("/classify", content=shade(20)).status_code == 200
            slow.sendall(bytes(10_000))
            assert slow.recv(65_536).startswith(b"HTTP/1.1 422 ")
        eventually(lambda: bodies.held_bytes == 0)


def held(served: Listening) -> Bodies:
    bodies: Bodies = served.server.config.app._bodies  # type: ignore[union-attr, assignment]
    return bodies


def bomb(width: int, height: int) -> bytes:
    """The head of a PNG that claims to be large, and holds nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_picture_that_claims_to_be_huge_is_refused_undecoded(http: httpx.Client) -> None:
    for size in ((100_000, 100_000), (2**31 - 1, 1), (0, 5)):
        start = time.monotonic()
        refused = http.post("/classify", content=bomb(*size))
        assert (refused.status_code, refused.json()["code"]) == (422, "picture_refused")
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("cut", [0.05, 0.3, 0.6, 0.9])
def test_a_picture_that_was_cut_is_refused(http: httpx.Client, cut: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    whole = save(noise, "PNG")
    refused = http.post("/classify", content=whole[: int(len(whole) * cut)])
    assert (refused.status_code, refused.json()["code"]) == (422, "picture_refused")


def test_json_of_very_many_values_is_refused_unread() -> None:
    start = time.process_time()
    with pytest.raises(Problem, match=r"about 20,000,000 values") as raised:
        parse_json(b"[" + b"[]," * 9_999_999 + b"[]]")
    assert raised.value.status == 413
    assert time.process_time() - start < 3


def test_a_fault_of_ours_is_one_sentence(
    served: Listening, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (ZeroDivisionError("/home/secret"), MemoryError()):

        def fail(error: BaseException = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(served.service, "check_room", fail)
            failed = http.post("/classify", content=shade(20))
        assert failed.status_code == 500
        assert failed.json() == {
            "error": "The service failed; its log has this request's id.", "code": "failed",
        }  # fmt: skip
        assert http.post("/classify", content=shade(20)).json()["label"] == "dark"


def test_a_request_that_the_end_of_the_service_cuts_off_is_told(served: Listening) -> None:
    sent: list[Any] = []

    async def cut_off(*_: Any) -> None:
        raise asyncio.CancelledError

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    front = Front(cut_off, served.service, Streams(served.service))  # type: ignore[arg-type]
    served.wait(front(scope, cut_off, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 503 and b'"ended"' in sent[1]["body"]


def test_a_process_may_open_as_many_connections_as_it_takes(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    for soft, hard in ((256, 4096), (4096, 4096), (resource.RLIM_INFINITY,) * 2):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limits=(soft, hard): limits)
        allow_connections(1000)
    assert asked == [(1381, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    with pytest.raises(ServiceError, match="1000 connections need 1381 open files"):
        allow_connections(1000)
