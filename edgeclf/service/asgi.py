"""What every route does with ASGI's two callables: read a body within limits, and answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from edgeclf.service.problem import Problem

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False).encode


class Gone(Exception):  # noqa: N818 - nothing failed here
    """The client has closed the connection; nobody is left to answer."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that name, which is in lower case; None without it."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


class Bodies:
    """How much of the requests' bodies is in memory, until each request has its answer.

    Args:
        most_bytes: Of all together.
    """

    def __init__(self, most_bytes: int) -> None:
        self.held_bytes = 0
        self._most_bytes = most_bytes

    def hold(self, scope: Scope, size: int) -> None:
        """Notes that so many bytes of a request have come.

        Raises:
            Problem: 503, there is no room for them.
        """
        if self.held_bytes + size > self._most_bytes:
            raise Problem(
                503, "busy",
                f"The bodies of all requests may take {self._most_bytes:,} bytes together, and "
                "this one does not fit; ask again.",
                retry_after_s=1, close=True,
            )  # fmt: skip
        self.held_bytes += size
        scope["edgeclf.held"] = scope.get("edgeclf.held", 0) + size

    def release(self, scope: Scope) -> None:
        """Forgets a request's body."""
        self.held_bytes -= scope.pop("edgeclf.held", 0)


async def read_body(scope: Scope, receive: Receive, most_bytes: int) -> bytes:
    """The whole body of a request; in what time it must come is the protocol's affair.

    Args:
        scope: The request's.
        receive: Likewise.
        most_bytes: Refused if the client declares more, or sends more.

    Raises:
        Problem: 413 it is too large, 503 others take the room.
        Gone: The client left, or was too slow.
    """
    declared = header(scope, b"content-length")
    if declared is not None and int(declared) > most_bytes:  # llhttp lets nothing but digits pass
        raise _too_large(f"declares {int(declared):,} bytes", most_bytes)
    bodies: Bodies = scope["edgeclf.bodies"]
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size > most_bytes:
            raise _too_large("sends more", most_bytes)
        bodies.hold(scope, len(part))
        if not message.get("more_body"):
            return bytes(part) if not parts else b"".join([*parts, part])
        parts.append(part)


def _too_large(what: str, most_bytes: int) -> Problem:
    return Problem(
        413, "body_too_large",
        f"The request {what}; this service takes {most_bytes:,} bytes. Send smaller or fewer "
        "pictures: a photo need not be larger than twice the model's input.",
        close=True,
    )  # fmt: skip


async def respond(
    send: Send,
    status: int,
    body: bytes,
    headers: Iterable[tuple[bytes, bytes]] = (),
    content_type: bytes = b"application/json",
) -> None:
    """Sends a whole answer."""
    kind = _JSON if content_type == b"application/json" else (b"content-type", content_type)
    length = (b"content-length", str(len(body)).encode())
    await send(
        {"type": "http.response.start", "status": status, "headers": [kind, length, *headers]}
    )
    await send({"type": "http.response.body", "body": body})


async def respond_json(
    send: Send, document: Any, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Sends plain JSON types; numbers that are none are errors long before this."""
    await respond(send, status, to_json(document), headers)


def to_json(document: Any) -> bytes:
    """UTF-8; half a letter, which a file's name may hold, becomes a question mark."""
    return _encode(document).encode("utf-8", "replace")


async def respond_problem(send: Send, problem: Problem) -> None:
    """Sends a refusal."""
    await respond(send, problem.status, problem.body(), problem.headers())
