"""uvicorn's reading of HTTP, with limits for clients that send or read too much, too slowly.

What can be said of a connection is said here, so that no route and no worker is kept waiting by
one. Every refusal leaves the client time to read it: a connection that is closed over bytes which
nobody has read is reset, and the answer lost with it. So its end is announced, what still comes is
thrown away, and soon it is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from edgeclf.service.config import ServiceConfig
from edgeclf.service.problem import Problem

_MOST_HEADER_BYTES = 64 * 2**10
_MOST_HEADERS = 128
_MOST_PIPELINED = 32
_MOST_UNREAD_BYTES = 2**20  # of a body that nobody wants, for the connection's sake
_UNREAD_S = 5.0  # likewise
_LINGER_S = 2.0
_STALLED_S = 20.0  # in which a client must read something of a long answer


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    max_connections: int
    header_timeout_s: float
    body_timeout_s: float
    count_refusal: Callable[[str], None]
    _timer: asyncio.TimerHandle | None = None  # the one limit of time that applies now
    _stalled: asyncio.TimerHandle | None = None
    _active: Any = None  # the cycle that answers; `cycle` is the one that is being read
    _in_headers = False
    _header_bytes = 0
    _surplus_bytes = 0  # what came beyond bodies
    _unread_bytes = 0
    _deaf = False  # what still comes is thrown away
    _ended = False

    def connection_made(self, transport: Any) -> None:
        """Takes a connection, or answers 503 where there are as many as there may be."""
        super().connection_made(transport)
        self._ending = _Ending(transport, self._end)
        beyond = len(self.connections) - self.max_connections
        if beyond > self.max_connections // 8:  # too many to be told
            transport.abort()
        elif beyond > 0:
            self._refuse(Problem(
                503, "too_many_connections",
                f"{self.max_connections} connections are open, which is the most; ask again.",
                retry_after_s=1,
            ))  # fmt: skip
        else:
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets a connection, and tells whoever still answers it."""
        self._stop_timer()
        self.resume_writing()
        self._deaf = self._ended = True
        active = self._active
        super().connection_lost(exc)
        if active is not None and not active.response_complete:
            active.disconnected = True
            active.message_event.set()

    # --- what comes ---------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes of whatever there is."""
        if self._deaf:
            self._throw_away(len(data))
            return
        cycle = self.cycle
        if self._timer is None and (cycle is None or cycle.response_complete):
            self._wait_for_headers()
        self._surplus_bytes += len(data)
        super().data_received(data)
        if self._ended:
            return
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not self._in_headers:
            if cycle.response_complete:
                self._throw_away(len(data))
            elif self._timer is None:
                self._set_timer(self.body_timeout_s, self._body_too_slow)
        if self._surplus_bytes > _MOST_HEADER_BYTES:
            self._refuse(_headers_too_large())

    def on_message_begin(self) -> None:
        """A request's first byte; of the first one on a connection, time runs already."""
        super().on_message_begin()
        self._header_bytes = self._surplus_bytes = 0
        if not self._in_headers:
            self._wait_for_headers()

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those that follow a body are read, and say nothing."""
        if self._in_headers:
            super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """All of them."""
        self._stop_timer()
        self._in_headers = False
        if self._deaf:
            return
        if len(self.pipeline) >= _MOST_PIPELINED:
            self._end_after(self.cycle)
            return
        super().on_headers_complete()
        if self._upgrades():
            return
        self.cycle.transport = self._ending  # type: ignore[assignment]
        if self.expect_100_continue or self.parser.should_upgrade():
            # After the answer, nobody could tell a body from the next request.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A piece of a request that has been taken."""
        if not self._deaf and not self._upgrades():
            self._surplus_bytes -= 2 * len(body)  # chunks may be as small as what frames them
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of it."""
        if self._deaf or self._upgrades():
            return
        self._stop_timer()
        if self.cycle.response_complete:
            self.cycle.more_body = False
            self._keep_alive()
        else:
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Hands the connection on; none of these limits is about it any more."""
        self._deaf = self._ended = True
        self._stop_timer()
        self.resume_writing()
        super().handle_websocket_upgrade()

    def _should_upgrade(self) -> bool:
        """Whether it becomes a WebSocket: what streams, and not while an answer is owed on it."""
        if self._deaf or (self.cycle is not None and not self.cycle.response_complete):
            return False
        streams = self.url.partition(b"?")[0].endswith(b"/stream")
        keyed = any(name == b"sec-websocket-key" for name, _ in self.headers)
        return streams and keyed and super()._should_upgrade()

    def _upgrades(self) -> bool:
        return bool(self.parser.should_upgrade()) and self._should_upgrade()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP at all gets the form that every refusal has."""
        self._refuse(Problem(400, "bad_request", f"{msg} Expected HTTP/1.1."))

    # --- what goes ----------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """An answer is out: on to what waits, or to the rest of a body that nobody read."""
        if self._ended:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._unset_keepalive_if_required()
            self._unread_bytes = 0
            self._set_timer(_UNREAD_S, self._end)

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(_STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read something."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def timeout_keep_alive_handler(self) -> None:
        """Nothing more is wanted."""
        self._end()

    def shutdown(self) -> None:
        """The service ends: at once where nothing is owed, else after the answer."""
        super().shutdown()
        if self.transport.is_closing():
            self._set_timer(_LINGER_S, self.transport.abort)

    # --- how it ends --------------------------------------------------------------------------

    def _refuse(self, problem: Problem) -> None:
        """Answers what cannot be read any further, after the answers that are owed."""
        if self._deaf or self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and cycle.response_complete and cycle.more_body:
            self._end()  # it has its answer
            return
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                self._end_after(cycle)
                return
            if cycle is not self._active:  # the last that waits, and no whole request
                self.pipeline.popleft()
                self.cycle = self.pipeline[0][0] if self.pipeline else self._active
                self._end_after(self.cycle)
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.abort()
                return
        self.count_refusal(problem.code)
        body = problem.body()
        lines = [STATUS_LINE[problem.status], b"content-type: application/json\r\n"]
        lines += [b"%b: %b\r\n" % pair for pair in problem.headers()]
        lines.append(b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body))
        self.transport.write(b"".join([*lines, body]))
        self._end()

    def _end_after(self, cycle: Any) -> None:
        self._stop_timer()
        self._deaf = True
        cycle.keep_alive = False

    def _end(self) -> None:
        """Ends the connection once the client has what was written."""
        if self._ended or self.transport.is_closing():
            return
        heard = self._deaf or self.cycle is None or self.cycle.more_body or self._in_headers
        self._ended = self._deaf = True
        self._set_timer(_LINGER_S, self.transport.abort)
        if heard and self.transport.can_write_eof():
            self._unread_bytes = 0
            self.flow.resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()

    def _throw_away(self, size: int) -> None:
        self._unread_bytes += size
        if self._unread_bytes > _MOST_UNREAD_BYTES:
            if self._ended:
                self.transport.abort()
            else:
                self._end()

    # --- limits -------------------------------------------------------------------------------

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MOST_HEADER_BYTES or len(self.headers) > _MOST_HEADERS:
            self._refuse(_headers_too_large())

    def _wait_for_headers(self) -> None:
        self._in_headers = True
        self._set_timer(self.header_timeout_s, self._headers_too_slow)

    def _keep_alive(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _set_timer(self, after_s: float, call: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(after_s, call)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _headers_too_slow(self) -> None:
        self._refuse(Problem(
            408, "headers_too_slow",
            f"The request's headers had not come after {self.header_timeout_s:g} s.",
        ))  # fmt: skip

    def _body_too_slow(self) -> None:
        self._refuse(Problem(
            408, "body_too_slow",
            f"The request's body had not come after {self.body_timeout_s:g} s. Send it again, "
            "smaller.",
        ))  # fmt: skip


class _Ending:
    """A connection's transport as an answer sees it: it is closed as the protocol closes it."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: Any, end: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = end


def _headers_too_large() -> Problem:
    return Problem(
        431, "headers_too_large",
        f"The request has more than {_MOST_HEADERS} headers, or more than "
        f"{_MOST_HEADER_BYTES:,} bytes of them and of its address.",
    )  # fmt: skip


def limited_protocol(
    config: ServiceConfig, count_refusal: Callable[[str], None]
) -> type[LimitedProtocol]:
    """The protocol's class with a service's limits, as uvicorn wants a class.

    Args:
        config: Says the limits.
        count_refusal: Called with the code of each refusal.
    """
    limits = {
        "max_connections": config.max_connections,
        "header_timeout_s": config.header_timeout_s,
        "body_timeout_s": config.body_timeout_s,
        "count_refusal": staticmethod(count_refusal),
    }
    return type("Protocol", (LimitedProtocol,), limits)
