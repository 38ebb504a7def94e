from __future__ import annotations

import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise, takewhile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from http_client import Client, get, post

Serve = Callable[[Callable[[bytes], tuple[float, bytes]]], tuple[str, int]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
BUSY = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Servers that answer each request's body with bytes, after so many seconds."""
    servers: list[socketserver.ThreadingTCPServer] = []

    def start(answer: Callable[[bytes], tuple[float, bytes]]) -> tuple[str, int]:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while head := b"".join(takewhile(b"\r\n".__ne__, self.rfile)):
                    length = head.partition(b"Content-Length: ")[2].split(b"\r\n")[0] or b"0"
                    wait_s, content = answer(self.rfile.read(int(length)))
                    time.sleep(wait_s)
                    self.wfile.write(content)
                    if b"close" in content or not content:
                        return

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        host, port = server.server_address
        return str(host), int(port)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_closed_loop_answers_as_many_as_were_asked_for_in_turns(serve: Serve) -> None:
    seen: list[bytes] = []
    client = Client(serve(lambda body: (0.0, seen.append(body) or OK)), 3)  # type: ignore[func-returns-value]
    replies = client.closed_loop([post("/", b"a"), post("/", b"b" * 300_000)], count=11)
    assert [reply.status for reply in replies] == [200] * 11
    assert {reply.body for reply in replies} == {b"hi"}
    assert sorted(reply.index for reply in replies) == [0] * 6 + [1] * 5
    assert sorted(len(body) for body in seen) == [1] * 6 + [300_000] * 5
    client.close()


def test_an_open_loop_counts_from_when_a_request_was_due(serve: Serve) -> None:
    client = Client(serve(lambda body: (0.05, OK)), 1)  # one connection: they have to wait
    replies = client.open_loop([get("/")], rate=100, seconds=0.1)
    assert len(replies) == 10
    latencies = [reply.latency_ms for reply in replies]
    assert latencies == sorted(latencies)
    assert latencies[0] < 200 < latencies[-1]
    gaps = [b.due_s - a.due_s for a, b in pairwise(replies)]
    assert gaps == pytest.approx([0.01] * 9)
    client.close()


def test_a_connection_that_the_server_ends_is_opened_again(serve: Serve) -> None:
    client = Client(serve(lambda body: (0.0, BUSY)), 2)
    assert [reply.status for reply in client.closed_loop([get("/")], count=5)] == [503] * 5
    client.close()


def test_an_answer_in_chunks_is_read_to_its_end(serve: Serve) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    client = Client(serve(lambda body: (0.0, chunked)), 1)
    assert [reply.status for reply in client.closed_loop([get("/")], count=3)] == [200] * 3
    client.close()


def test_no_answer_at_all_is_a_reply_too(serve: Serve) -> None:
    client = Client(serve(lambda body: (0.0, b"")), 1)
    assert [reply.status for reply in client.closed_loop([get("/")], count=2)] == [0, 0]
    client.close()


def test_time_ends_a_closed_loop(serve: Serve) -> None:
    client = Client(serve(lambda body: (0.01, OK)), 2)
    start = time.perf_counter()
    assert len(client.closed_loop([get("/")], seconds=0.1)) >= 2
    assert time.perf_counter() - start < 5
    client.close()
