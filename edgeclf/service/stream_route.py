"""`/v1/models/M/stream`: a WebSocket on which a camera's frames are answered, docs/serving.md."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

from edgeclf.service.answers import version_entry
from edgeclf.service.asgi import Receive, Scope, Send, header, to_json
from edgeclf.service.catalog import Version
from edgeclf.service.explaining import check_explainable
from edgeclf.service.intake import read_wanted
from edgeclf.service.problem import Problem
from edgeclf.service.service import Service
from edgeclf.service.stream_memory import Entry, Memory
from edgeclf.service.stream_messages import WINDOW, Hello, most_frame_bytes, read_hello
from edgeclf.service.stream_session import Session, now_ms

PROTOCOL = "edgeclf.stream.1"
_ADDRESS = re.compile(r"/v1/models/([^/]+)(?:/versions/([^/]+))?/stream")
_NORMAL, _POLICY = 1000, 1008  # RFC 6455, 7.4.1


class Streams:
    """All streams of a service.

    Args:
        service: What answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._memory = Memory(2 * service.config.max_streams)
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one connection; what is refused before it is open is refused as HTTP."""
        await receive()  # websocket.connect
        try:
            place = self._admit(scope)
            wanted = read_wanted(scope["query_string"])
            if wanted.explain_passes is not None:
                raise Problem(
                    400, "bad_option",
                    "explain_passes is for single pictures: a frame's map takes one pass. Leave it "
                    "out, or post the picture to /classify.",
                )  # fmt: skip
            version = self._service.catalog.find(*place)
            if wanted.explain:
                check_explainable(version, wanted)
        except Problem as problem:
            self._service.metrics.refused.labels(problem.code).inc()
            await _deny(send, problem)
            return
        offered = PROTOCOL in scope.get("subprotocols", ())
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL if offered else None})

        async def tell(entry: Entry) -> None:
            await send({"type": "websocket.send", "text": to_json(entry).decode()})

        self._count(1)
        try:
            hello = await self._hello(receive)
            if hello is not None:
                await tell(self._welcome(version, hello))
                await Session(
                    self._service, scope, place, wanted, hello, tell, self._memory
                ).run(receive)  # fmt: skip
            await send({"type": "websocket.close", "code": _NORMAL})
        except Problem as problem:
            self._service.metrics.refused.labels(problem.code).inc()
            await tell({"type": "problem", **problem.entry()})
            await send({"type": "websocket.close", "code": _POLICY, "reason": problem.code})
        finally:
            self._count(-1)

    def _admit(self, scope: Scope) -> tuple[str, str | None]:
        """Model and version that an address names, if whoever asks may.

        Raises:
            Problem: 401 it has no key; 403 another site's page asks; 404 it is no stream's address;
                429 the key was used too often; 503 there are as many streams as there may be.
        """
        service = self._service
        service.access.admit(scope)
        found = _ADDRESS.fullmatch(scope["path"])
        if found is None:
            raise Problem(404, "no_route", f"There is no {scope['path']} here that streams.")
        origin = header(scope, b"origin")
        host = header(scope, b"host") or b""
        if origin is not None and urlsplit(origin)[1].lower() != host.lower():
            raise Problem(  # a browser asks for any page, and sends no preflight for a WebSocket
                403, "other_origin",
                f"A page of {origin.decode('latin-1')} may not ask {host.decode('latin-1')}. "
                "Behind a proxy, let it hand on the Host that the page was asked of.",
            )  # fmt: skip
        most = service.config.max_streams
        if service.draining or self._open >= most:
            raise Problem(
                503, "too_many_streams",
                "The service is being stopped." if service.draining else
                f"{most} streams are open, which is the most (max_streams). Ask by POST, one "
                "picture at a time, or later.", retry_after_s=5,
            )  # fmt: skip
        return found[1], found[2]

    async def _hello(self, receive: Receive) -> Hello | None:
        """What the client says first; None where it leaves."""
        try:
            message = await asyncio.wait_for(receive(), self._service.config.header_timeout_s)
        except asyncio.TimeoutError:
            raise Problem(408, "no_hello", "The stream's first message has not come.") from None
        if message["type"] != "websocket.receive":
            return None
        return read_hello(message.get("text") or "", self._service.config)

    def _welcome(self, version: Version, hello: Hello) -> Entry:
        return {
            "type": "welcome", **version_entry(version), "mode": hello.mode, "window": WINDOW,
            "deadline_ms": None if hello.deadline_s is None else hello.deadline_s * 1e3,
            "most_frame_bytes": most_frame_bytes(self._service.config),
            "clock_ms": hello.clock_ms, "service_ms": now_ms(),
        }  # fmt: skip

    def _count(self, change: int) -> None:
        self._open += change
        self._service.metrics.streams.set(self._open)


async def _deny(send: Send, problem: Problem) -> None:
    """Refuses to open a stream, as any request is refused."""
    body = problem.body()
    headers = [(b"content-type", b"application/json"),
               (b"content-length", b"%d" % len(body)), *problem.headers()]  # fmt: skip
    await send({"type": "websocket.http.response.start", "status": problem.status,
                "headers": headers})  # fmt: skip
    await send({"type": "websocket.http.response.body", "body": body})
