"""A client over raw sockets in one thread, so that measuring takes little beside what is measured.

Closed loop: each connection sends its next request once it has the answer to the last. Open loop:
requests are due at a fixed rate whatever comes back, and latency counts from when one was due.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_CHUNK = 1 << 18
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class AnswerError(Exception):
    """The server closed, or said what this client cannot read."""


@dataclass(frozen=True)
class Reply:
    """What came of one request.

    Attributes:
        status: Of the answer; 0 where none came.
        due_s: When it was to be sent, by `time.perf_counter`.
        latency_ms: From then to the answer's last byte.
        index: Of its request among those that were given.
        body: The answer's; as it was sent, where that was in chunks.
    """

    status: int
    due_s: float
    latency_ms: float
    index: int = 0
    body: bytes = field(repr=False, default=b"")


def post(path: str, body: bytes, content_type: str = "image/jpeg") -> bytes:
    """A request as bytes, for a connection that is kept."""
    head = (f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n")  # fmt: skip
    return head.encode() + body


def get(path: str) -> bytes:
    """Likewise, without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


class _Connection:
    """One socket with at most one request on its way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due_s = 0.0
        self.index = 0
        self.busy = False
        self.closes = False
        self._unsent = memoryview(b"")
        self._received = bytearray()
        self._wanted: int | None = None  # bytes of the answer; -1: until the last chunk
        self._status = 0
        self._head = 0

    def start(self, request: bytes, index: int, due_s: float) -> None:
        self.busy, self.index, self.due_s = True, index, due_s
        self._unsent = memoryview(request)
        self._received.clear()
        self._wanted = None
        self.send()

    def send(self) -> None:
        while self._unsent:
            try:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            except BlockingIOError:
                return
            except OSError:  # refused in mid-request: the answer may be there all the same
                self._unsent = memoryview(b"")

    @property
    def sending(self) -> bool:
        return bool(self._unsent)

    def receive(self) -> Reply | None:
        """The reply once it is complete."""
        try:
            part = self.socket.recv(_CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            part = b""
        if not part:
            self.closes = True
            return Reply(0, self.due_s, (time.perf_counter() - self.due_s) * 1e3, self.index)
        self._received += part
        if self._wanted is None:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = bytes(self._received[: end + 2])
            length = _LENGTH.search(head)
            if length is None and not _CHUNKED.search(head):
                raise AnswerError(f"an answer without a length: {head!r}")
            self._status, self._head = int(head[9:12]), end + 4
            self._wanted = -1 if length is None else self._head + int(length[1])
            self.closes = _CLOSES.search(head) is not None
        if self._wanted < 0 and not self._received.endswith(_LAST_CHUNK):
            return None
        if len(self._received) < self._wanted:
            return None
        body = bytes(self._received[self._head :])
        latency_ms = (time.perf_counter() - self.due_s) * 1e3
        return Reply(self._status, self.due_s, latency_ms, self.index, body)


class Client:
    """Connections to one server.

    Args:
        address: Host and port.
        most: Connections at once.
    """

    def __init__(self, address: tuple[str, int], most: int) -> None:
        self._address = address
        self._most = most
        self._selector = selectors.DefaultSelector()
        self._idle: list[_Connection] = []
        self._open = 0

    def closed_loop(
        self, requests: Sequence[bytes], count: int | None = None, seconds: float | None = None
    ) -> list[Reply]:
        """Sends until so many have been answered, or so much time is over, on all connections."""
        sent = 0
        replies: list[Reply] = list(self._wait(0))  # what a server has closed meanwhile
        until = float("inf") if seconds is None else time.perf_counter() + seconds
        while True:
            now = time.perf_counter()
            while (count is None or sent < count) and now < until:
                if not self._start(requests, sent, now):
                    break
                sent += 1
                now = time.perf_counter()
            if len(replies) == sent:
                return replies
            replies += self._wait(None)

    def open_loop(
        self, requests: Sequence[bytes], rate: float, seconds: float, grace_s: float = 15.0
    ) -> list[Reply]:
        """Sends at a rate; those that no connection is free for wait, and that counts.

        Args:
            requests: In turns.
            rate: A second.
            seconds: In which requests fall due.
            grace_s: To wait for the last answers; what has none then is not among the replies.
        """
        replies: list[Reply] = list(self._wait(0))  # what a server has closed meanwhile
        start = time.perf_counter()
        total = round(rate * seconds)
        due: deque[tuple[int, float]] = deque()
        scheduled = 0
        while len(replies) < total:
            now = time.perf_counter()
            while scheduled < total and start + scheduled / rate <= now:
                due.append((scheduled, start + scheduled / rate))
                scheduled += 1
            while due and self._start(requests, *due[0]):
                due.popleft()
            if now > start + seconds + grace_s:
                break
            wait_s = start + scheduled / rate - now if scheduled < total else 0.1
            replies += self._wait(max(0.0, min(0.1, wait_s)))
        return replies

    def close(self) -> None:
        """Closes all connections."""
        for key in list(self._selector.get_map().values()):
            self._drop(key.data)
        self._selector.close()

    def _start(self, requests: Sequence[bytes], place: int, due_s: float) -> bool:
        """Sends the next one in turn, if there is a connection for it."""
        if self._idle:
            connection = self._idle.pop()
        elif self._open < self._most:
            connection = _Connection(self._address)
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
            self._open += 1
        else:
            return False
        index = place % len(requests)
        connection.start(requests[index], index, due_s)
        if connection.sending:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(connection.socket, both, connection)
        return True

    def _wait(self, timeout_s: float | None) -> Iterator[Reply]:
        for key, events in self._selector.select(timeout_s):
            connection: _Connection = key.data
            if events & selectors.EVENT_WRITE:
                connection.send()
                if not connection.sending:
                    self._selector.modify(connection.socket, selectors.EVENT_READ, connection)
            if events & selectors.EVENT_READ:
                reply = connection.receive()
                if reply is not None:
                    if connection.busy:
                        yield reply
                    if connection.closes or connection.sending:
                        self._drop(connection)
                    else:
                        connection.busy = False
                        self._idle.append(connection)

    def _drop(self, connection: _Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._open -= 1
