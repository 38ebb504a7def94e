"""What runs in a child process: a job comes in and its result goes out, over pipes of their own.

Engines print where and when they like, and close what they like of stdin, stdout and stderr; none
of that reaches the two pipes that a child inherits beside them. Each carries one message: a header,
a JSON document and, behind it, bytes as they are. Models and arrays travel there and not as files,
so that a child gets the very bytes that its parent has checked, and a device needs no room to write
and nothing to clean up.

``python -m edgeclf.system.child MODULE:FUNCTION`` serves a function of edgeclf, and `serve` one of
another program. The parent's side is `edgeclf.system.child_process`. As the start of a child is
what a cold start measures, this imports little.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeclf.errors import EdgeclfError

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[dict[str, Any], bytes], "tuple[dict[str, Any], bytes]"]

PIPES = "EDGECLF_CHILD"  # the variable that names the two, as "3,4"
_MAGIC = b"edgeclf1"
_SIZE_BYTES = 8  # of a length
HEADER_BYTES = len(_MAGIC) + 2 * _SIZE_BYTES


class Message(NamedTuple):
    """What goes through a pipe.

    Attributes:
        document: Plain JSON types.
        payload: Bytes beside it, such as a model or an array.
    """

    document: dict[str, Any]
    payload: bytes = b""


def pack(message: Message) -> bytes:
    """The bytes of a message."""
    document = json.dumps(message.document).encode()
    sizes = (len(part).to_bytes(_SIZE_BYTES, "little") for part in (document, message.payload))
    return b"".join((_MAGIC, *sizes, document, message.payload))


def message_sizes(header: bytes) -> tuple[int, int]:
    """The lengths of document and payload that a header announces.

    Raises:
        ValueError: It is not a header.
    """
    if len(header) != HEADER_BYTES or not header.startswith(_MAGIC):
        raise ValueError(f"{header[:HEADER_BYTES]!r} is not the start of a message")
    document, payload = header[len(_MAGIC) : -_SIZE_BYTES], header[-_SIZE_BYTES:]
    return int.from_bytes(document, "little"), int.from_bytes(payload, "little")


def unpack(content: bytes) -> Message:
    """Reads the bytes of one whole message.

    Raises:
        ValueError: They are none, are cut short, or go on behind it.
    """
    document, payload = message_sizes(content[:HEADER_BYTES])
    end = HEADER_BYTES + document
    if len(content) != end + payload:
        raise ValueError(f"{len(content)} bytes came of a message of {end + payload}")
    read = json.loads(content[HEADER_BYTES:end])
    if not isinstance(read, dict):
        raise ValueError(f"its document is a {type(read).__name__}")
    return Message(read, content[end:])


def serve(handle: Handler) -> int:
    """Reads the job that the parent sent, and sends what `handle` makes of it.

    Args:
        handle: Turns a document and a payload into those of the result. An `EdgeclfError` is
            raised again in the parent; any other exception ends this process.

    Returns:
        The exit code.
    """
    incoming, outgoing = map(int, os.environ[PIPES].split(","))
    job = unpack(_read_message(incoming))
    _end_with_parent(incoming)
    _apply(job.document)
    try:
        document, payload = handle(job.document["job"], job.payload)
        result = Message({"result": document}, payload)
    except EdgeclfError as exc:
        result = Message({"error": type(exc).__name__, "message": str(exc)})
    _write(outgoing, pack(result))
    forget_closed_streams()
    return 0


def _apply(envelope: dict[str, Any]) -> None:
    """Takes on the CPUs and limits of a job, before anything of it is imported."""
    if envelope["cpus"]:
        os.sched_setaffinity(0, envelope["cpus"])
    if envelope["limits"]:
        from edgeclf.system.limits import Limits

        Limits(**envelope["limits"]).apply()


def _read_message(pipe: int) -> bytes:
    header = _read(pipe, HEADER_BYTES)
    return header + _read(pipe, sum(message_sizes(header)))


def _read(pipe: int, count: int) -> bytes:
    parts, left = [], count
    while left and (part := os.read(pipe, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _write(pipe: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(pipe, left) :]


def _end_with_parent(incoming: int) -> None:
    """Has the kernel end this process, and those that it starts, when its parent has gone.

    The parent keeps its end of the pipe open for as long as it lives. That it closes raises SIGIO
    here, which ends a process: no thread that waits, and no figure that such a thread would change.
    """
    try:
        import fcntl

        group = os.getpgrp()
        fcntl.fcntl(incoming, fcntl.F_SETOWN, -group if group == os.getpid() else os.getpid())
        flags = fcntl.fcntl(incoming, fcntl.F_GETFL)
        fcntl.fcntl(incoming, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    except (ImportError, AttributeError, OSError):  # a system without; its parent ends it
        return
    try:
        gone = os.read(incoming, 1) == b""
    except BlockingIOError:
        return
    if gone:  # before the kernel was asked
        raise SystemExit(1)


def forget_closed_streams() -> None:
    """Lets this process end well although what Python flushes at the end is closed, or full."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (OSError, ValueError):
            setattr(sys, name, None)


def main() -> int:
    """Serves the function that the command line names, as ``package.module:function``."""
    module, _, name = sys.argv[1].partition(":")

    def handle(document: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        from importlib import import_module

        result: tuple[dict[str, Any], bytes] = getattr(import_module(module), name)(
            document, payload
        )
        return result

    return serve(handle)


if __name__ == "__main__":
    raise SystemExit(main())
