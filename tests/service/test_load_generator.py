"""The generator of a load test, against a server whose every answer is scripted."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeclf.errors import DataError, OptionError, ServiceError
from edgeclf.measurement.workloads.open_loop import arrival_times
from edgeclf.service.load.arrivals import ClosedLoop, OpenLoop
from edgeclf.service.load.connection import Connection
from edgeclf.service.load.generator import TIMEOUT, Generator, Run
from edgeclf.service.load.server_side import fetch
from edgeclf.service.load.step import summarize
from edgeclf.service.load.target import Target, make_target
from support.scripted_server import Reply, Server, scripted

STALL_S = 1.0
PICTURES = (b"a" * 100, b"b" * 3_000_000)  # the second is more than a socket takes at once


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted() as made:
        yield made


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    (folder / "small.jpg").write_bytes(PICTURES[0])
    return folder


@pytest.fixture
def target(server: Server, images: Path) -> Target:
    server.restart(lambda number, now: Reply())
    return make_target(server.url, images)


def load(target: Target, times: list[float], *, most: int = 64, timeout_s: float = 20.0) -> Run:
    return Generator(target, most, timeout_s).run(OpenLoop(times))


def stalled(number: int, now: float) -> Reply:
    """Nothing is answered between the first and the second second."""
    return Reply(max(0.0, 1 + STALL_S - now) if now >= 1 else 0.0)


def test_a_stall_is_in_the_latency_of_all_who_would_have_come(
    server: Server, target: Target
) -> None:
    server.restart(stalled)
    times = arrival_times(100, 3, seed=1)
    run = Generator(target, 8, 20).run(OpenLoop(times))  # most wait for one of eight connections
    late = [each for each in run.outcomes if each.done - each.scheduled > 0.3 * STALL_S]
    expected = sum(1 <= time < 1 + 0.7 * STALL_S for time in times)
    assert len(run.outcomes) == len(times) and expected >= 55
    assert len(late) >= 0.9 * expected
    figures = summarize(run, 3, 1000)
    assert figures["latency_ms"]["p90"] > 300 * STALL_S > 50 > figures["latency_ms"]["p50"]


def test_a_client_that_waits_sees_a_stall_once(server: Server, target: Target) -> None:
    server.restart(stalled)
    run = Generator(target, 1, 20).run(ClosedLoop(1, 2.5))
    late = [each for each in run.outcomes if each.done - each.scheduled > 0.3 * STALL_S]
    assert len(late) == 1 and len(run.outcomes) > 50
    assert summarize(run, 2.5, 1000)["latency_ms"]["p90"] < 300 * STALL_S


def test_requests_come_when_they_are_due_and_connections_are_used_again(
    server: Server, target: Target
) -> None:
    times = [0.05 * index for index in range(20)]
    run = load(target, times)
    assert [each.scheduled for each in sorted(run.outcomes)] == times
    assert all(each.noticed >= each.scheduled and each.status == 200 for each in run.outcomes)
    assert len(server.bodies) == 20 and server.connections < 20
    assert run.seconds >= times[-1] and run.cpu_s > 0


def test_pictures_are_sent_whole_and_in_turn(server: Server, tmp_path: Path) -> None:
    for name, content in zip("ab", PICTURES, strict=True):
        (tmp_path / f"{name}.jpg").write_bytes(content)
    server.restart(lambda number, now: Reply())
    target = make_target(server.url, tmp_path)
    assert target.sizes == tuple(map(len, PICTURES))
    run = load(target, [0.0, 0.2, 0.4, 0.6])
    assert [each.status for each in run.outcomes] == [200] * 4
    assert sorted(server.bodies) == sorted([*target.sizes, *target.sizes])


def test_what_a_server_does_is_told_apart(server: Server, target: Target) -> None:
    replies = [
        Reply(), Reply(status=503), Reply(status=429), Reply(status=500), Reply(after_s=9.0),
        Reply(close="before"), Reply(raw=b"\x00 no HTTP\r\n\r\n"), Reply(after_s=0.4),
    ]  # fmt: skip
    server.restart(lambda number, now: replies[number])
    run = load(target, [0.05 * index for index in range(len(replies))], timeout_s=2.0)
    figures = summarize(run, 1, 200)
    assert figures["offered"] == len(replies)
    assert (figures["accepted"], figures["on_time"], figures["late"]) == (2, 1, 1)
    assert (figures["refused"], figures["failed"]) == (2, 4)
    assert figures["statuses"] == {"200": 2, "429": 1, "500": 1, "503": 1}
    assert figures["failures"][TIMEOUT] == 1 and sum(figures["failures"].values()) == 3
    assert figures["latency_ms"]["n"] == 3  # the one that was given up counts too
    assert figures["refusal_ms"]["n"] == 2


def test_what_is_given_up_counts_with_the_time_until_then(server: Server, target: Target) -> None:
    server.restart(lambda number, now: Reply(after_s=9.0))
    run = load(target, [0.0, 0.0], most=1, timeout_s=0.5)  # the second never gets a connection
    assert [each.failure for each in run.outcomes] == [TIMEOUT] * 2
    assert all(0.5 <= each.done - each.scheduled < 5 for each in run.outcomes)
    assert {each.sent is None for each in run.outcomes} == {True, False}
    assert run.seconds < 6


def test_ctrl_c_in_the_midst_of_an_answer_is_no_failure_of_the_server(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(connection: Connection, body: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Connection, "on_body", interrupted)
    with scripted() as alone:
        run = load(make_target(alone.url, images), [0.0])
    assert run.interrupted and run.outcomes == []


def test_a_connection_that_a_server_ends_between_requests_is_no_failure(
    server: Server, target: Target
) -> None:
    server.restart(lambda number, now: Reply(close="after"))
    run = load(target, [0.0, 0.1, 0.2])
    assert [each.status for each in run.outcomes] == [200] * 3 and server.connections == 3


def test_a_connection_that_ends_as_it_is_used_again_is_tried_anew(
    server: Server, target: Target
) -> None:
    server.restart(lambda number, now: Reply(close="before" if number == 1 else ""))
    run = load(target, [0.0, 0.3])
    assert [each.status for each in run.outcomes] == [200, 200] and len(server.bodies) == 3


def test_a_server_that_is_gone_ends_no_test(images: Path) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        target = make_target(f"http://127.0.0.1:{taken.getsockname()[1]}/", images)
        run = Generator(target, 4, 5).run(ClosedLoop(4, 0.5))
        assert fetch(target, "/metrics") == b""
    assert run.outcomes and not any(each.status for each in run.outcomes)
    assert len(run.outcomes) < 1000  # it does not hammer at the door
    figures = summarize(run, 0.5, 100)
    assert figures["failed"] == figures["offered"] and figures["latency_ms"] is None


def test_a_key_is_sent_with_each_request(server: Server, images: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret-1\n")
    server.restart(lambda number, now: Reply())
    load(make_target(server.url, images, key), [0.0])
    assert server.heads[0][b"authorization"] == b"Bearer secret-1"
    key.write_text("two\nlines")
    with pytest.raises(OptionError, match="holds no key"):
        make_target(server.url, images, key)


@pytest.mark.parametrize("url", ["https://a/b", "ftp://a", "classify", "http://", "http://a b/"])
def test_other_addresses_are_refused(url: str, images: Path) -> None:
    with pytest.raises(OptionError, match="expected http://HOST:PORT/PATH"):
        make_target(url, images)


def test_what_there_is_not_is_named(images: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        make_target("http://a:port/", images)
    with pytest.raises(ServiceError, match=r"no host 'nosuch\.invalid'"):
        make_target("http://nosuch.invalid/", images)
    with pytest.raises(DataError, match="no photos"):
        make_target("http://127.0.0.1/", tmp_path)
