"""uvicorn's reading of HTTP, with limits for what comes before a request is complete."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from edgeclf.service.problem import Problem

_MOST_HEADER_BYTES = 64 * 2**10
_MOST_HEADERS = 128


class LimitedProtocol(HttpToolsProtocol):
    """Counts connections, and ends those whose line and headers are too large or too slow."""

    max_connections = 1024
    header_timeout_s = 10.0
    _timer: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Takes a connection, or answers 503 where there are as many as there may be."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._refuse(Problem(
                503, "too_many_connections",
                f"{self.max_connections} connections are open, which is the most; ask again.",
                retry_after_s=1,
            ))  # fmt: skip
            return
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets a connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request's first byte; of the first one on a connection, time runs already."""
        super().on_message_begin()
        self._header_bytes = 0
        if self._timer is None:
            self._start_timer()

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """All of them."""
        self._stop_timer()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a request that has been taken."""
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of it."""
        if self.cycle is not None:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP at all gets the form that every refusal has."""
        self._refuse(Problem(400, "bad_request", f"{msg} Expected HTTP/1.1."))

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self.transport.is_closing():
            return
        if self._header_bytes > _MOST_HEADER_BYTES or len(self.headers) > _MOST_HEADERS:
            self._refuse(Problem(
                431, "headers_too_large",
                f"The request has more than {_MOST_HEADERS} headers, or more than "
                f"{_MOST_HEADER_BYTES:,} bytes of them and of its address.",
            ))  # fmt: skip

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self.header_timeout_s, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(Problem(
            408, "headers_too_slow",
            f"The request's headers had not come after {self.header_timeout_s:g} s.",
        ))  # fmt: skip

    def _refuse(self, problem: Problem) -> None:
        if self.transport.is_closing():
            return
        body = problem.body()
        lines = [STATUS_LINE[problem.status], b"content-type: application/json\r\n"]
        lines += [b"%b: %b\r\n" % pair for pair in problem.headers()]
        lines.append(b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body))
        self.transport.write(b"".join([*lines, body]))
        self.transport.close()


def limited_protocol(max_connections: int, header_timeout_s: float) -> type[LimitedProtocol]:
    """The protocol's class with these limits, as uvicorn wants a class."""
    limits = {"max_connections": max_connections, "header_timeout_s": header_timeout_s}
    return type("Protocol", (LimitedProtocol,), limits)
