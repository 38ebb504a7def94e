"""A small HTTP server whose every answer is scripted, so that a load test's figures are known."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import httptools

TIMING = {"queue_ms": 1.0, "decode_ms": 0.2, "preprocess_ms": 0.1, "inference_ms": 0.3,
          "total_ms": 1.7}  # fmt: skip
BODY = json.dumps({"label": "mug", "timing": TIMING}).encode()


@dataclass
class Reply:
    """What comes of one request.

    Attributes:
        after_s: How long it takes.
        status: Of HTTP.
        body: The answer's.
        close: ``before``: the connection is closed instead of an answer; ``after``: behind it.
        raw: Sent instead of an HTTP answer.
    """

    after_s: float = 0.0
    status: int = 200
    body: bytes = BODY
    close: str = ""
    raw: bytes = b""


@dataclass
class Server:
    """The server, and what it has seen.

    Attributes:
        script: From a request's number and the seconds since `restart` to what comes of it.
        url: Where it takes pictures.
        bodies: Sizes of the pictures that came.
        heads: The headers of each.
        connections: How many were made.
        looks: Requests by GET, which it refuses.
    """

    script: Callable[[int, float], Reply]
    url: str = ""
    bodies: list[int] = field(default_factory=list)
    heads: list[dict[bytes, bytes]] = field(default_factory=list)
    connections: int = 0
    looks: int = 0
    transports: list[asyncio.BaseTransport] = field(default_factory=list)
    begun: float = field(default_factory=perf_counter)

    def restart(self, script: Callable[[int, float], Reply] | None = None) -> None:
        """Counts time and requests from now on, perhaps by another script."""
        self.script = script or self.script
        self.begun = perf_counter()
        self.bodies.clear()
        self.heads.clear()
        self.connections = 0


class _Protocol(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._size = 0
        self._headers: dict[bytes, bytes] = {}
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._server.connections += 1
        self._server.transports.append(transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._size += len(body)

    def on_message_complete(self) -> None:
        server = self._server
        if self._parser.get_method() == b"GET":
            server.looks += 1
            self._answer(Reply(status=404, body=b"{}"))
            return
        reply = server.script(len(server.bodies), perf_counter() - server.begun)
        server.bodies.append(self._size)
        server.heads.append(self._headers)
        self._size, self._headers = 0, {}
        asyncio.get_running_loop().call_later(reply.after_s, self._answer, reply)

    def _answer(self, reply: Reply) -> None:
        if self._transport.is_closing():
            return
        if reply.close != "before":
            head = f"HTTP/1.1 {reply.status} X\r\nContent-Length: {len(reply.body)}\r\n"
            head += "Connection: close\r\n" if reply.close else ""
            whole = reply.raw or f"{head}\r\n".encode() + reply.body
            self._transport.write(whole)  # type: ignore[attr-defined]
        if reply.close:
            self._transport.close()


@contextmanager
def scripted(
    script: Callable[[int, float], Reply] = lambda number, now: Reply(),
) -> Iterator[Server]:
    """Serves on a free port, in a thread of its own."""
    server = Server(script)
    loop = asyncio.new_event_loop()
    started, ended = threading.Event(), asyncio.Event()

    async def serve() -> None:
        made = await loop.create_server(lambda: _Protocol(server), "127.0.0.1", 0)
        server.url = f"http://127.0.0.1:{made.sockets[0].getsockname()[1]}/classify"
        started.set()
        await ended.wait()
        made.close()
        for transport in server.transports:
            transport.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(30)
        yield server
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.run_until_complete(asyncio.sleep(0.05))  # in which transports close their sockets
        loop.close()


class OneAfterTheOther:
    """A script: a server that takes so long for each, and refuses what would wait too long.

    Args:
        per_s: What it can answer.
        most_wait_s: The queue.
    """

    def __init__(self, per_s: float, most_wait_s: float) -> None:
        self._service_s = 1 / per_s
        self._most_wait_s = most_wait_s
        self._free_at = 0.0

    def __call__(self, number: int, now: float) -> Reply:
        wait_s = max(0.0, self._free_at - now)
        if wait_s > self._most_wait_s:
            return Reply(status=503, body=b"{}")
        self._free_at = now + wait_s + self._service_s
        return Reply(wait_s + self._service_s)
