"""What every route does with ASGI's two callables: read a body within limits, and answer."""

from __future__ import annotations

import asyncio
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


class Gone(Exception):  # noqa: N818 - nothing failed here
    """The client has closed the connection; nobody is left to answer."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that name, which is in lower case; None without it."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


async def read_body(scope: Scope, receive: Receive, most_bytes: int, timeout_s: float) -> bytes:
    """The whole body of a request.

    Args:
        scope: The request's.
        receive: Likewise.
        most_bytes: Refused if the client declares more, or sends more.
        timeout_s: In which it must have come.

    Raises:
        Problem: 413 it is too large, 408 too slow, 400 its length is no number.
        Gone: The client left.
    """
    declared = header(scope, b"content-length")
    if declared is not None:
        if not declared.isdigit():
            raise Problem(400, "bad_request", "Content-Length is no number.", close=True)
        if int(declared) > most_bytes:
            raise _too_large(f"declares {int(declared):,} bytes", most_bytes)
    message = await _first(receive, timeout_s) if declared is None else await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body = message.get("body", b"")
        if len(body) > most_bytes:
            raise _too_large("sends more", most_bytes)
        return bytes(body)
    try:
        return await asyncio.wait_for(_rest(message, receive, most_bytes), timeout_s)
    except asyncio.TimeoutError:
        raise _too_slow(timeout_s) from None


async def _first(receive: Receive, timeout_s: float) -> Message:
    try:
        return await asyncio.wait_for(receive(), timeout_s)
    except asyncio.TimeoutError:
        raise _too_slow(timeout_s) from None


async def _rest(message: Message, receive: Receive, most_bytes: int) -> bytes:
    parts = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size > most_bytes:
            raise _too_large("sends more", most_bytes)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def _too_large(what: str, most_bytes: int) -> Problem:
    return Problem(
        413, "body_too_large",
        f"The request {what}; this service takes {most_bytes:,} bytes. Send smaller or fewer "
        "pictures: a photo need not be larger than twice the model's input.",
        close=True,
    )  # fmt: skip


def _too_slow(timeout_s: float) -> Problem:
    return Problem(
        408, "body_too_slow",
        f"The request's body had not come after {timeout_s:g} s. Send it again, smaller.",
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
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


async def respond_problem(send: Send, problem: Problem) -> None:
    """Sends a refusal."""
    await respond(send, problem.status, problem.body(), problem.headers())
