"""What only sockets show: limits, and what a connection is worth after a refusal."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from edgeclf.service import protocol
from support.services import Listening, answers, artifact, listening, received, shade, write

MOST = 200_000
LIVE = b"GET /healthz/live HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /healthz/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("models"), artifact())


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[Listening]:
    limits = {"header_timeout_s": 0.6, "body_timeout_s": 0.6, "max_body_bytes": MOST}
    with listening(model, max_connections=600, **limits) as made:
        yield made


@pytest.fixture(autouse=True)
def still_serves(served: Listening) -> Iterator[None]:
    yield
    answer = httpx.post(f"{served.url}/classify", content=shade(240), timeout=10)
    assert answer.json()["label"] == "bright"
    until = time.monotonic() + 10
    while served.service.pool.pending:
        assert time.monotonic() < until
        time.sleep(0.01)


def post(*headers: str, path: str = "/classify", body: bytes = b"") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: a", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def whole(body: bytes, *headers: str) -> bytes:
    return post(f"Content-Length: {len(body)}", *headers, body=body)


def only_error(raw: bytes) -> tuple[int, str]:
    ((status, document),) = answers(raw)
    assert set(document) == {"error", "code"} and b"connection: close" in raw
    return status, document["code"]


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 70_000 + b"\r\n\r\n", 431, "headers_too_large"),
        # One header without an end, which the parser would go on collecting.
        (b"GET / HTTP/1.1\r\na: " + b"b" * 400_000, 431, "headers_too_large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
        (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nb\x00c: d\r\n\r\n", 400, "bad_request"),
        (post("Content-Length: ten"), 400, "bad_request"),
        (post("Content-Length: -1"), 400, "bad_request"),
        (post("Content-Length: 5", "Content-Length: 6", body=b"aaaaa"), 400, "bad_request"),
        (post("Content-Length: 5", "Content-Length: 5", body=b"aaaaa"), 400, "bad_request"),
        (post("Content-Length: " + "9" * 30), 400, "bad_request"),
        (
            post("Transfer-Encoding: chunked", "Content-Length: 5", body=b"0\r\n\r\n" + LIVE),
            400,
            "bad_request",
        ),
        (
            post("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + LIVE),
            400,
            "bad_request",
        ),
        (post("Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"), 400, "bad_request"),
        (post("Transfer-Encoding: chunked", body=b"zz\r\n"), 400, "bad_request"),
        (post(f"Content-Length: {MOST + 1}"), 413, "body_too_large"),
        (
            post("Transfer-Encoding: chunked", body=b"10000\r\n" + b"a" * 65_536 + b"\r\n"
                 + b"80000\r\n" + b"a" * 200_000),
            413,
            "body_too_large",
        ),
        # Chunks of a byte are more frame than body.
        (post("Transfer-Encoding: chunked", body=b"1\r\na\r\n" * 60_000), 431, "headers_too_large"),
        (post("Content-Length: 100", body=b"a"), 408, "body_too_slow"),
        (post("Content-Length: 100"), 408, "body_too_slow"),
        (post("Transfer-Encoding: chunked", body=b"5\r\naaaaa\r\n"), 408, "body_too_slow"),
        (b"", 408, "headers_too_slow"),
        (b"GET / HTTP/1.1\r\nHost:", 408, "headers_too_slow"),
        (b"\r\n\r\n", 408, "headers_too_slow"),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_once_and_the_connection_ends(
    served: Listening, sent: bytes, status: int, code: str
) -> None:
    counted = served.service.metrics.refused.labels(code)._value.get
    before = counted()
    assert only_error(served.ask(sent)) == (status, code)
    assert counted() == before + 1


def test_a_smuggled_request_is_no_request(served: Listening) -> None:
    counted = served.service.metrics.requests.labels("/healthz/live", "200")._value.get
    before = counted()
    for sent in (
        post("Transfer-Encoding: chunked", "Content-Length: 50", body=b"0\r\n\r\n" + LIVE),
        post("Transfer-Encoding : chunked", "Content-Length: 5", body=b"0\r\n\r\n" + LIVE),
        post("Transfer-Encoding: xchunked", "Content-Length: 5", body=b"0\r\n\r\n" + LIVE),
        post("Content-Length: 0", "Content-Length: 50", body=LIVE),
    ):
        ((status, _),) = answers(served.ask(sent))
        assert status == 400
    assert counted() == before


def test_headers_that_follow_a_body_change_nothing(served: Listening) -> None:
    picture = shade(240)
    body = b"%x\r\n%b\r\n0\r\nContent-Type: text/html\r\nX-Request-Id: b\r\n\r\n"
    sent = post("Transfer-Encoding: chunked", "Connection: close", "X-Request-Id: a",
                body=body % (len(picture), picture))  # fmt: skip
    ((status, document),) = answers(served.ask(sent))
    assert (status, document["request_id"]) == (200, "a")


def test_a_trailer_without_an_end_is_not_collected(served: Listening) -> None:
    sent = post("Transfer-Encoding: chunked", body=b"0\r\na: " + b"b" * 300_000)
    assert only_error(served.ask(sent)) == (431, "headers_too_large")


@pytest.mark.parametrize("length", [50, 60_000])
def test_a_refusal_leaves_the_connection_fit_for_the_next_request(
    served: Listening, length: int
) -> None:
    # The body is one request inside another: read as one, it would be answered.
    inner = (LIVE * (length // len(LIVE) + 1))[:length]
    refused = post(f"Content-Length: {length}", path="/nowhere")
    with served.connect(refused) as made:
        assert made.recv(65_536).startswith(b"HTTP/1.1 404 ")
        made.sendall(inner[: length // 2])
        time.sleep(0.05)
        made.sendall(inner[length // 2 :] + LAST)
        assert answers(received(made)) == [(200, {"live": True})]


def test_a_body_that_nobody_wants_is_not_read_for_ever(
    served: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_UNREAD_S", 0.3)
    monkeypatch.setattr(protocol, "_LINGER_S", 0.3)
    with served.connect(post("Content-Length: 1000", path="/nowhere", body=b"a")) as made:
        assert [status for status, _ in answers(received(made))] == [404]
    with served.connect(post("Content-Length: 1000000000", path="/nowhere")) as made:
        with pytest.raises(OSError):
            for _ in range(10_000):
                made.sendall(b"a" * 65_536)
        assert made.fileno() >= 0


def test_a_refusal_reaches_a_client_that_sends_before_it_reads(served: Listening) -> None:
    with served.connect(post("Content-Length: 900000")) as made:
        made.sendall(b"a" * 900_000)
        assert only_error(received(made)) == (413, "body_too_large")


@pytest.mark.parametrize("size", [MOST + 1, 1000])
def test_a_client_that_asks_before_it_sends_is_answered_before(
    served: Listening, size: int
) -> None:
    picture = shade(240) + bytes(max(0, size - len(shade(240))))
    with served.connect(post("Expect: 100-continue", f"Content-Length: {len(picture)}")) as made:
        first = made.recv(65_536)
        if size > MOST:
            assert only_error(first + received(made)) == (413, "body_too_large")
        else:
            assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
            made.sendall(picture)
            raw = received(made)  # it ends: what follows could be the body of who did not wait
            assert answers(raw)[0][0] == 200


def test_requests_that_come_at_once_are_answered_in_order(served: Listening) -> None:
    sent = b"".join(whole(shade(level)) for level in (20, 240, 128, 240)) + LAST
    documents = [document for _, document in answers(served.ask(sent))]
    assert [d.get("label") for d in documents] == ["dark", "bright", "middle", "bright", None]


@pytest.mark.parametrize(
    "rubbish",
    [
        b"rubbish\x00\r\n\r\n",
        post("Transfer-Encoding: chunked", body=b"zz\r\n"),
        post("Content-Length: 100", body=b"a"),
        b"GET / HTTP/1.1\r\nHost",
    ],
)
@pytest.mark.parametrize("whole_ones", [1, 3])
def test_rubbish_after_a_request_takes_nothing_from_it(
    served: Listening, rubbish: bytes, whole_ones: int
) -> None:
    found = answers(served.ask(whole(shade(240)) * whole_ones + rubbish))
    labels = [document.get("label") for status, document in found if status == 200]
    assert labels == ["bright"] * whole_ones
    # What came too late to be told apart from the end may still be refused, after them.
    assert all(status in (400, 408) for status, _ in found[whole_ones:])


def test_no_more_requests_are_taken_at_once_than_a_few(served: Listening) -> None:
    found = answers(served.ask(LIVE * 2000))
    assert 10 < len(found) < 100 and {status for status, _ in found} == {200}


@pytest.mark.parametrize("sent", [
    b"GET /healthz/live HTTP/1.0\r\n\r\n",
    b"GET http://elsewhere/healthz/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /healthz/live?a=b HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"GET /healthz/live HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
])  # fmt: skip
def test_other_forms_of_a_request_are_answered(served: Listening, sent: bytes) -> None:
    assert answers(served.ask(sent)) == [(200, {"live": True})]


def test_head_has_no_body_and_other_methods_are_told_what_is_allowed(served: Listening) -> None:
    with httpx.Client(base_url=served.url) as http:
        head = http.head("/healthz/live")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "14")
        for method, path, allowed in (
            ("OPTIONS", "/classify", {"POST"}),
            ("DELETE", "/healthz/live", {"GET", "HEAD"}),
        ):
            answer = http.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (405, "bad_method")
            assert set(answer.headers["allow"].replace(" ", "").split(",")) == allowed
        odd = http.get("/a%00%0d%0ab%ff")
        assert odd.status_code == 404 and odd.json()["code"] == "no_route"


def test_as_many_connections_as_there_may_be(model: Path) -> None:
    with listening(model, max_connections=8) as served, ExitStack() as stack:
        made = [stack.enter_context(served.connect(LIVE)) for _ in range(8)]
        assert all(b"200 OK" in each.recv(65_536) for each in made)
        raw = served.ask(LIVE)
        assert only_error(raw) == (503, "too_many_connections") and b"retry-after: 1" in raw
        for each in made:
            each.sendall(LIVE)
            assert b"200 OK" in each.recv(65_536)
        made[0].close()
        until = time.monotonic() + 10
        while not (found := answers(served.ask(LAST))) or found[0][0] != 200:
            assert time.monotonic() < until


def dribble(sockets: list[socket.socket], stop: threading.Event) -> None:
    while not stop.wait(0.1):
        for each in sockets:
            try:
                each.send(b"a")
            except OSError:
                continue


def test_500_that_dribble_hinder_nobody_and_are_ended(served: Listening) -> None:
    head = post("Content-Length: 100000")
    with ExitStack() as stack:
        slow = [stack.enter_context(served.connect(head)) for _ in range(500)]
        stop = threading.Event()
        thread = threading.Thread(target=dribble, args=(slow, stop))
        start = time.monotonic()
        thread.start()
        try:
            waits = []
            with httpx.Client(base_url=served.url) as http:
                while len(waits) < 3 or time.monotonic() - start < 0.5:
                    before = time.monotonic()
                    assert http.get("/healthz/live").status_code == 200
                    waits.append(time.monotonic() - before)
            assert sorted(waits)[len(waits) // 2] < 5  # seconds: the test itself needs the CPU
            for each in slow:
                each.settimeout(10)
                assert each.recv(65_536).startswith(b"HTTP/1.1 408 ")
            assert time.monotonic() - start < 30
        finally:
            stop.set()
            thread.join()


def test_a_client_that_does_not_read_is_ended(
    served: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_STALLED_S", 0.3)
    with served.connect() as made:
        made.settimeout(0.1)
        until = time.monotonic() + 10  # half of what is allowed outside of this test
        while True:
            assert time.monotonic() < until
            try:
                made.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 16)
            except TimeoutError:  # its own buffer is full
                continue
            except OSError as exc:
                assert isinstance(exc, ConnectionResetError | BrokenPipeError)
                return
