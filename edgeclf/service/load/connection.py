"""One keep-alive connection of the load test: a socket that does not block, and an HTTP parser."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

import httptools

_CHUNK = 65_536
_KEPT_BYTES = 8 * 2**20  # of one answer; a longer one is no answer to a picture


@dataclass
class Answer:
    """What came back.

    Attributes:
        status: Of HTTP.
        body: Its bytes.
        keeps: Whether the connection can be used again.
    """

    status: int
    body: bytes
    keeps: bool


class Connection:
    """A connection that has at most one request on its way.

    Args:
        family: Of the socket.
        address: Of the server.

    Raises:
        OSError: It cannot even begin to connect.
    """

    def __init__(self, family: int, address: Any) -> None:
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.answered = 0  # requests; a server may close one that has answered before
        self.heard = False  # whether a part of the present answer has come
        self._rest: memoryview | None = None
        self._parser: Any = None
        self._parts: list[bytes] = []
        self._size = 0
        self._complete = self._keeps = False
        self.socket.setblocking(False)
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.connect(address)
        except BlockingIOError:
            pass
        except OSError:
            self.socket.close()
            raise

    def begin(self, request: bytes) -> None:
        """Takes a request; `write` sends it."""
        self._rest = memoryview(request)
        self._parser = httptools.HttpResponseParser(self)
        self._parts.clear()
        self._size = 0
        self._complete = self.heard = False

    def write(self) -> bool:
        """Sends what the socket takes; True once all has gone.

        Raises:
            OSError: The connection failed, or could not be made.
        """
        while self._rest:
            try:
                sent = self.socket.send(self._rest)
            except (BlockingIOError, InterruptedError):
                return False
            self._rest = self._rest[sent:]
        self._rest = None
        return True

    def read(self) -> Answer | None:
        """Takes what has come; the answer once it is whole.

        Raises:
            OSError: The connection failed, or ended before the answer did.
            httptools.HttpParserError: What came is no HTTP.
            KeyboardInterrupt: Ctrl-C, which the parser would call an error of the server's.
        """
        try:
            content = self.socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return None
        if not content:
            raise ConnectionResetError("the server closed the connection")
        if self._parser is None:
            raise ConnectionResetError("the server spoke before it was asked")
        self.heard = True
        try:
            self._parser.feed_data(content)
        except httptools.HttpParserCallbackError as exc:
            if isinstance(exc.__context__, KeyboardInterrupt):  # in the midst of `on_body`
                raise exc.__context__ from None
            raise
        if not self._complete:
            return None
        status, self._parser = self._parser.get_status_code(), None
        self.answered += 1
        keeps = self._rest is None and self._keeps
        return Answer(status, b"".join(self._parts), keeps)

    def close(self) -> None:
        """Ends it, whatever is on its way."""
        self.socket.close()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._size += len(body)
        if self._size > _KEPT_BYTES:
            raise ValueError(f"the answer has more than {_KEPT_BYTES:,} bytes")
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser, which knows only then whether the connection is kept."""
        self._complete = True
        self._keeps = bool(self._parser.should_keep_alive())
