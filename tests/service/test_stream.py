"""Streams of a real service, by a client that is not ours: python-websockets."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from edgeclf.runtimes.fake import FakeRuntime
from edgeclf.service.config import ServiceConfig
from edgeclf.service.keys import add_key
from edgeclf.service.problem import Problem
from edgeclf.service.stream_memory import Memory
from edgeclf.service.stream_messages import read_frame, read_hello, read_ping
from edgeclf.service.stream_protocol import StreamProtocol
from support.bad_links import Cut, bad_link
from support.services import Listening, answers, artifact, eventually, listening, shade, write

MODEL = "/v1/models/shades/stream"
ANSWER_S = 10
UPGRADE = (
    f"GET {MODEL} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model"), artifact())


@pytest.fixture(scope="module")
def service(path: Path) -> Iterator[Listening]:
    with listening(path, workers=1) as running:
        yield running


class Gate:
    """Holds the fake runtime until it is opened; counts what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.runs = 0
        run = FakeRuntime.run

        def held(runtime: FakeRuntime, images: Any) -> Any:
            self.runs += 1
            assert self.open.wait(ANSWER_S)
            return run(runtime, images)

        monkeypatch.setattr(FakeRuntime, "run", held)


def now_ms() -> float:
    return time.perf_counter() * 1e3


def frame(sequence: int, content: bytes, taken_ms: float | None = None, kind: int = 1) -> bytes:
    taken_ms = now_ms() if taken_ms is None else taken_ms
    return struct.pack("!BBHId", 1, kind, 0, sequence, taken_ms) + content


def stream(
    port: int, address: str = MODEL, key: str | None = None, **hello: Any
) -> tuple[ClientConnection, dict[str, Any]]:
    """A stream after its welcome."""
    headers = {} if key is None else {"X-API-Key": key}
    made = connect(f"ws://127.0.0.1:{port}{address}", additional_headers=headers).__enter__()
    said = {"type": "hello", "clock_ms": now_ms(), **hello}
    made.send(json.dumps(said))
    return made, hear(made)


def hear(made: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made.recv(ANSWER_S))
    return found


def counted(running: Listening, outcome: str) -> float:
    counter = running.service.metrics.stream_frames.labels(outcome)
    return float(counter._value.get())


def refusal(port: int, address: str = MODEL, **headers: str) -> tuple[int, str]:
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(f"ws://127.0.0.1:{port}{address}", additional_headers=headers),
    ):
        pass
    response = caught.value.response
    return response.status_code, json.loads(response.body or b"{}")["code"]


def test_a_frame_is_answered_as_by_classify(service: Listening) -> None:
    made, welcome = stream(service.port, MODEL + "?top=2&tensor=true", deadline_ms=5_000)
    with closing(made):
        assert welcome["type"] == "welcome" and welcome["mode"] == "drop"
        assert (welcome["window"], welcome["deadline_ms"]) == (2, 5_000)
        made.send(frame(7, shade(240)))
        answer = hear(made)
    assert (answer["sequence"], answer["outcome"], answer["label"]) == (7, "answered", "bright")
    assert (answer["top"][0]["label"], len(answer["top"])) == ("bright", 2)
    assert answer["sha256"] == welcome["sha256"] and len(answer["tensor_sha256"]) == 64
    assert {"queue_ms", "decode_ms", "inference_ms", "age_ms"} <= answer["timing"].keys()
    number = f"/v1/models/shades/versions/{welcome['version']}/stream"
    closing(stream(service.port, number)[0]).__exit__(None, None, None)


def test_the_newest_frame_is_answered_and_those_it_replaced_are_named(
    service: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    made, _ = stream(service.port, deadline_ms=5_000)
    with closing(made):
        made.send(frame(1, shade(20)))
        eventually(lambda: gate.runs)
        for sequence in range(2, 9):
            made.send(frame(sequence, shade(128)))
        made.send(json.dumps({"type": "ping", "clock_ms": 1}))
        assert hear(made)["type"] == "pong"  # so they have all come
        gate.open.set()
        answers = [hear(made), hear(made)]
    assert [(a["sequence"], a.get("replaced", [])) for a in answers] in (
        [(1, [2, 3, 4, 5, 6, 7]), (8, [])], [(1, []), (8, [2, 3, 4, 5, 6, 7])],
    )  # fmt: skip
    assert gate.runs == 2


def test_what_is_past_its_deadline_is_not_even_decoded(
    service: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    made, _ = stream(service.port, deadline_ms=1_000)
    with closing(made):
        made.send(frame(1, b"no picture, which nobody finds out", now_ms() - 5_000))
        late = hear(made)
        assert (late["outcome"], late["code"]) == ("late", "deadline_exceeded")
        assert 1_000 < int(late["error"].split()[3]) < 15_000
        made.send(frame(2, shade(20)))  # young enough, and then it waits for the engine
        late = hear(made)
        gate.open.set()
    assert (late["sequence"], late["outcome"], gate.runs) == (2, "late", 1)


def test_ages_are_told_over_clocks_that_differ(service: Listening) -> None:
    made, _ = stream(service.port, deadline_ms=300, clock_ms=0)
    with closing(made):
        start = now_ms()
        made.send(json.dumps({"type": "ping", "clock_ms": 5}))
        service_ms = hear(made)["service_ms"]
        ours = now_ms() - start  # of a clock that began with the hello
        offset = service_ms - ours
        made.send(json.dumps({"type": "ping", "clock_ms": ours, "offset_ms": offset}))
        hear(made)
        made.send(frame(1, shade(20), ours))
        assert hear(made)["outcome"] == "answered"
        made.send(frame(2, shade(20), now_ms() - start - 1_000))
        assert hear(made)["outcome"] == "late"


def test_a_blocking_client_gets_each_answer_once_and_again_from_memory(
    service: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    hello = {"mode": "block", "session": "a-session-of-its-own"}
    first, welcome = stream(service.port, **hello)
    assert welcome["deadline_ms"] is None
    first.send(frame(1, shade(240)))
    eventually(lambda: gate.runs)
    second, _ = stream(service.port, **hello)  # the first has not noticed yet that it was cut
    with closing(second):
        second.send(frame(1, shade(240), kind=2))
        second.send(frame(2, shade(20), now_ms() - 60_000))  # old, and wanted all the same
        gate.open.set()
        again, other = hear(second), hear(second)
        assert (again["sequence"], again["label"], again["duplicate"]) == (1, "bright", True)
        assert (other["sequence"], other["label"], "duplicate" in other) == (2, "dark", False)
        assert gate.runs == 2
        with pytest.raises(ConnectionClosed):
            first.recv(ANSWER_S)
    stranger, _ = stream(service.port, mode="block", session="another-session")
    with closing(stranger):
        stranger.send(frame(1, shade(128), kind=2))
        assert hear(stranger)["label"] == "middle" and gate.runs == 3


def test_a_frame_that_was_refused_may_come_again(
    service: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = stream(service.port, mode="block", session="refused-first")
    with closing(made):
        monkeypatch.setattr(service.service.pool, "capacity", 0)
        made.send(frame(1, shade(240)))
        busy = hear(made)
        assert (busy["outcome"], busy["code"]) == ("refused", "busy") and busy["retry_after_ms"] > 0
        monkeypatch.undo()
        made.send(frame(1, shade(240), kind=2))
        found = hear(made)
        assert (found["label"], "duplicate" in found) == ("bright", False)
        made.send(frame(2, b"no picture"))
        assert hear(made)["code"] == "picture_refused"
        made.send(frame(3, shade(20)))
        assert hear(made)["label"] == "dark"  # the stream goes on


def test_a_client_without_a_window_is_refused_and_holds_nobody_else(
    service: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    made, _ = stream(service.port, mode="block", session="no-window-at-all")
    with closing(made):
        made.send(frame(0, shade(20)))
        eventually(lambda: gate.runs)
        for sequence in range(1, 40):
            made.send(frame(sequence, shade(20)))
        refused = [hear(made) for _ in range(7)]  # one is asked, 32 wait
        assert {each["code"] for each in refused} == {"too_many_frames"}
        assert [each["sequence"] for each in refused] == list(range(33, 40))
        gate.open.set()
        assert [hear(made)["sequence"] for _ in range(33)] == list(range(33))


def test_bodies_of_frames_count_among_those_of_all_requests(path: Path) -> None:
    big = shade(20) + bytes(3000)
    with listening(path, max_body_bytes=4_000, max_held_bytes=4_000) as running:
        made, welcome = stream(running.port)
        with closing(made):
            assert welcome["most_frame_bytes"] == 4_016
            made.send(frame(1, big))
            assert hear(made)["outcome"] == "answered"
            made.send(frame(2, bytes(5_000)))
            with pytest.raises(ConnectionClosed) as caught:
                made.recv(ANSWER_S)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009
        eventually(lambda: running.service.pool.pending == 0)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"\0" * 40, "bad_frame"),
        (b"\1\1\0\0", "bad_frame"),
        (frame(1, b"x", float("nan")), "bad_frame"),
        ("no JSON", "bad_message"),
        ('{"type": "ping"}', "bad_message"),
        ("[" * 9_000, "bad_message"),
    ],
)
def test_what_is_no_message_ends_the_stream_and_says_why(
    service: Listening, said: bytes | str, code: str
) -> None:
    made, _ = stream(service.port)
    with closing(made):
        made.send(said)
        found = hear(made)
        assert (found["type"], found["code"]) == ("problem", code) and found["error"]
        with pytest.raises(ConnectionClosed) as caught:
            made.recv(ANSWER_S)
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1008, code)


@pytest.mark.parametrize(
    "hello",
    [
        {},
        {"clock_ms": True},
        {"clock_ms": 1, "mode": "all"},
        {"clock_ms": 1, "session": "short"},
        {"clock_ms": 1, "session": 12345678},
        {"clock_ms": 1, "deadline_ms": 0},
        {"clock_ms": 1, "deadline_ms": "1000"},
    ],
)
def test_a_hello_that_is_none(hello: dict[str, Any]) -> None:
    with pytest.raises(Problem, match="hello"):
        read_hello(json.dumps({"type": "hello", **hello}), ServiceConfig())


def test_messages_are_read_as_the_page_writes_them() -> None:
    # The same bytes are in tests/web/stream.test.mjs.
    head = bytes([1, 1, 0, 0, 1, 2, 3, 4, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0])
    found = read_frame(head + b"\7\10\11")
    assert (found.sequence, found.taken_ms, found.resent) == (0x01020304, 1.5, False)
    assert found.content == b"\7\10\11"
    ping = read_ping('{"type": "ping", "clock_ms": 1000, "offset_ms": null}')
    assert (ping.clock_ms, ping.offset_ms) == (1000, None)
    hello = read_hello('{"type": "hello", "deadline_ms": 60000, "clock_ms": 1}', ServiceConfig())
    assert (hello.mode, hello.deadline_s, hello.session) == ("drop", 10.0, None)


def test_who_may_not_stream_is_refused_as_any_request_is(
    service: Listening, path: Path, tmp_path: Path
) -> None:
    assert refusal(service.port, "/v1/models/none/stream") == (404, "no_model")
    assert refusal(service.port, "/v1/models/shades/versions/9/stream") == (404, "no_version")
    assert refusal(service.port, "/classify") == (405, "bad_method")  # as if nobody had upgraded
    assert refusal(service.port, "/v1/stream") == (404, "no_route")
    assert refusal(service.port, MODEL + "?tops=1") == (400, "bad_option")
    assert refusal(service.port, MODEL + "?explain=true") == (400, "no_explanation")
    assert refusal(service.port, MODEL + "?explain=true&explain_passes=64") == (400, "bad_option")
    elsewhere = refusal(service.port, Origin="http://a.site.example")
    assert elsewhere == refusal(service.port, Origin="null") == (403, "other_origin")
    own = {"Origin": f"http://127.0.0.1:{service.port}"}
    with connect(f"ws://127.0.0.1:{service.port}{MODEL}", additional_headers=own):
        pass
    keys = tmp_path / "keys.txt"
    key, slow = add_key(keys, "camera"), add_key(keys, "slow", rate=3)
    with listening(path, keys=str(keys), max_streams=1) as running:
        assert refusal(running.port) == (401, "no_key")
        made, _ = stream(running.port, key=key)
        assert refusal(running.port, **{"X-API-Key": key}) == (503, "too_many_streams")
        made.close()
        word = base64.urlsafe_b64encode(slow.encode()).decode().rstrip("=")
        protocols = ["edgeclf.stream.1", f"edgeclf.key.{word}"]  # as a browser has to
        while running.service.metrics.streams._value.get():
            time.sleep(0.005)
        with connect(f"ws://127.0.0.1:{running.port}{MODEL}", subprotocols=protocols) as browser:  # type: ignore[arg-type]
            assert browser.subprotocol == "edgeclf.stream.1"
            browser.send(json.dumps({"type": "hello", "clock_ms": now_ms()}))
            hear(browser)
            found = []
            for sequence in range(3):  # the connection was the first of its three requests
                browser.send(frame(sequence, shade(20)))
                found.append(hear(browser))
            assert [each["outcome"] for each in found] == ["answered", "answered", "refused"]
            assert found[-1]["code"] == "too_often" and found[-1]["retry_after_ms"] > 0
            lines = keys.read_text().splitlines()
            keys.write_text(
                "\n".join(line for line in lines if not line.startswith("slow ")) + "\n"
            )
            running.service.access._looked = 0.0
            browser.send(frame(9, shade(20)))
            assert hear(browser)["code"] == "no_key"
            assert hear(browser)["type"] == "problem"
            with pytest.raises(ConnectionClosed):
                browser.recv(ANSWER_S)


def test_the_end_of_the_service_is_told(path: Path) -> None:
    with listening(path) as running:
        made, _ = stream(running.port)
        running.service.draining = True
        assert refusal(running.port) == (503, "too_many_streams")
        made.send(frame(1, shade(20)))
        assert hear(made)["outcome"] == "answered"  # until it ends
        running.server.should_exit = True
        with pytest.raises(ConnectionClosed) as caught:
            made.recv(ANSWER_S)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1001


def test_streams_that_are_silent_or_do_not_say_hello_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeclf.service.stream_session._IDLE_S", 0.2)
    with listening(path, header_timeout_s=0.2) as running:
        made, _ = stream(running.port)
        for _ in range(3):
            time.sleep(0.1)
            made.send('{"type": "ping", "clock_ms": 1}')
            hear(made)
        for silent in (made, connect(f"ws://127.0.0.1:{running.port}{MODEL}").__enter__()):
            with pytest.raises(ConnectionClosed):
                while hear(silent)["code"] == "no_hello":
                    pass
        assert counted(running, "answered") == 0


def test_a_client_that_does_not_read_is_let_go_and_holds_no_worker(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeclf.service.stream_protocol._STALLED_S", 0.3)
    made_connection = StreamProtocol.connection_made

    def narrow(protocol: StreamProtocol, transport: Any) -> None:
        kernel = transport.get_extra_info("socket")
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # which else takes megabytes
        made_connection(protocol, transport)

    monkeypatch.setattr(StreamProtocol, "connection_made", narrow)
    ping = json.dumps({"type": "ping", "clock_ms": 1}).encode()
    with listening(path, workers=1) as running:
        made = running.connect()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.sendall(UPGRADE.encode())
        while b"\r\n\r\n" not in made.recv(65_536):
            pass
        made.sendall(text(json.dumps({"type": "hello", "clock_ms": 1}).encode()))
        with pytest.raises(ConnectionError):
            while True:
                made.sendall(text(ping) * 500)
        made.close()
        other, _ = stream(running.port)
        with closing(other):
            other.send(frame(1, shade(20)))
            assert hear(other)["outcome"] == "answered"


def text(content: bytes) -> bytes:
    """A WebSocket's message of text, masked by zeros."""
    return bytes([0x81, 0x80 | len(content)]) + bytes(4) + content


def test_a_cut_in_the_middle_of_a_frame_harms_nobody(service: Listening) -> None:
    eventually(lambda: service.service.pool.pending == 0)  # other tests ended by now
    with bad_link(service.port) as (link, begin):
        made, _ = stream(link.port, mode="block", session="cut-in-the-middle")
        cut = begin(link.play([Cut(0.0, 0.1, "silent")]))
        made.send(frame(1, shade(20)))
        cut.result(ANSWER_S)
        with pytest.raises(ConnectionClosed):
            made.recv(ANSWER_S)
        again, _ = stream(link.port, mode="block", session="cut-in-the-middle")
        with closing(again):
            again.send(frame(1, shade(20), kind=2))
            assert hear(again)["label"] == "dark"
    assert link.cut_connections == 1
    eventually(lambda: service.service.pool.pending == 0)


def test_an_upgrade_behind_a_request_that_is_owed_an_answer_is_no_stream(
    service: Listening,
) -> None:
    owed = "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    found = service.ask((owed + UPGRADE).encode())
    assert [status for status, _ in answers(found)] == [200, 404]


def test_sessions_that_have_left_are_forgotten_for_new_ones() -> None:
    memory = Memory(2)
    ended = []
    first = memory.enter(("a",), lambda: ended.append("a"))
    memory.enter(("a",), second := lambda: None)
    assert ended == ["a"]
    memory.leave(("a",), second)
    assert memory.enter(("a",), second) is first
    memory.enter(("b",), second)
    memory.enter(("c",), second)  # both others are here: more than usual, and none is lost
    assert memory.enter(("a",), second) is first
    memory.leave(("a",), second)
    memory.enter(("d",), second)
    assert memory.enter(("a",), second) is not first
