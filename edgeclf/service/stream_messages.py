"""What goes over a stream: frames with a header of 16 bytes, and a little JSON around them.

The header, in network byte order: version (uint8), kind (uint8), two bytes that are 0, sequence
(uint32), and when the frame was taken, in milliseconds of the client's own clock (float64). The
rest is an image file. How far that clock is from the service's, the client finds out by pings.
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from typing import Any, Literal

from edgeclf.service.config import ServiceConfig
from edgeclf.service.problem import Problem

VERSION = 1
ROUTES = ("/v1/models/{model}/stream", "/v1/models/{model}/versions/{version}/stream")
WINDOW = 2  # frames on their way that are worth it: one travels while one is answered
_HEADER = struct.Struct("!BBHId")
_KINDS = {1: False, 2: True}  # whether it was sent before
_MOST_FRAME_BYTES = 2 * 2**20
_DEADLINE_MS = 1000.0
_SESSION = re.compile(r"[A-Za-z0-9_-]{8,64}")
_SHAPE = (
    '{"type": "hello", "mode": "drop" or "block", "deadline_ms": number, "session": 8 to 64 '
    'letters, digits, "_" and "-", "clock_ms": number}'
)

Mode = Literal["drop", "block"]


@dataclass(frozen=True)
class Frame:
    """One picture of a stream.

    Attributes:
        sequence: Its number.
        resent: Whether the client has sent it before.
        taken_ms: When it was taken, by the client's clock.
        content: Bytes of an image file.
    """

    sequence: int
    resent: bool
    taken_ms: float
    content: bytes


@dataclass(frozen=True)
class Hello:
    """What is agreed on at the start.

    Attributes:
        mode: ``drop``: of the frames that wait, the newest is answered, and none that is older than
            the deadline. ``block``: each is answered, once, whatever happens to the connection.
        deadline_s: Of a frame, from when it was taken; None for ``block``.
        session: The client's name for what outlives a connection; None without.
        clock_ms: What the client's clock said when it was sent.
    """

    mode: Mode
    deadline_s: float | None
    session: str | None
    clock_ms: float


@dataclass(frozen=True)
class Ping:
    """A client that asks whether the service is there.

    Attributes:
        clock_ms: What its clock said.
        offset_ms: What it takes the service's clock to be ahead of its own; None if not yet known.
    """

    clock_ms: float
    offset_ms: float | None


def most_frame_bytes(config: ServiceConfig) -> int:
    """The largest message that a stream takes."""
    return min(config.max_body_bytes, _MOST_FRAME_BYTES) + _HEADER.size


def read_frame(message: bytes) -> Frame:
    """Reads a binary message.

    Raises:
        Problem: 400; it is no frame.
    """
    if len(message) <= _HEADER.size:
        raise _bad(f"has {len(message)} bytes; expected {_HEADER.size} of a header and a picture")
    version, kind, zero, sequence, taken_ms = _HEADER.unpack_from(message)
    if version != VERSION or kind not in _KINDS or zero:
        raise _bad(f"has version {version} and kind {kind}; expected {VERSION}, and 1 or 2")
    if not math.isfinite(taken_ms):
        raise _bad("does not say when it was taken")
    return Frame(sequence, _KINDS[kind], taken_ms, message[_HEADER.size :])


def _bad(what: str) -> Problem:
    return Problem(400, "bad_frame", f"The frame {what}.")


def read_hello(text: str, config: ServiceConfig) -> Hello:
    """Reads a stream's first message.

    Raises:
        Problem: 400; it is not of the form.
    """
    found = _object(text, "hello", _SHAPE)
    mode, session = found.get("mode", "drop"), found.get("session")
    if mode not in ("drop", "block"):
        raise _not_of(text, _SHAPE)
    if session is not None and not (isinstance(session, str) and _SESSION.fullmatch(session)):
        raise _not_of(text, _SHAPE)
    clock_ms = _number(found.get("clock_ms"))
    asked_ms = _number(found.get("deadline_ms", _DEADLINE_MS))
    if clock_ms is None or asked_ms is None or asked_ms < 1:
        raise _not_of(text, _SHAPE)
    deadline_s = min(asked_ms / 1e3, config.deadline_s)
    return Hello(mode, deadline_s if mode == "drop" else None, session, clock_ms)


def read_ping(text: str) -> Ping:
    """Reads any later message of text: it is a ping.

    Raises:
        Problem: 400; it is none.
    """
    shape = '{"type": "ping", "clock_ms": number, "offset_ms": number}'
    found = _object(text, "ping", shape)
    clock_ms = _number(found.get("clock_ms"))
    if clock_ms is None:
        raise _not_of(text, shape)
    return Ping(clock_ms, _number(found.get("offset_ms")))


def _object(text: str, kind: str, shape: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("type") != kind:
        raise _not_of(text, shape)
    return found


def _number(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
    return float(value) if good else None


def _not_of(text: str, shape: str) -> Problem:
    return Problem(400, "bad_message", f"The message {text[:80]!r} is not of the form {shape}.")
