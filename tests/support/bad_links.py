"""A link that is slow, stalls and breaks, as a TCP proxy: the same way each time, by its seed."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

_BUFFER_BYTES = 16 * 1024  # of each socket: what lies in a kernel's buffer is a queue
_PART_BYTES = 4096
_PARTS = 32  # on the way at once
_END_S = 10

Kind = Literal["reset", "silent"]


@dataclass(frozen=True)
class Cut:
    """An outage.

    Attributes:
        after_s: That the link is whole before.
        seconds: That it lasts.
        kind: ``reset``: every connection is reset, and so is each that is tried. ``silent``:
            nothing arrives any more, and what is open is reset in the end.
    """

    after_s: float
    seconds: float
    kind: Kind


def cuts(
    seed: int, count: int, between_s: tuple[float, float], seconds: tuple[float, float]
) -> list[Cut]:
    """Outages at random: from both ranges, and of both kinds in turns."""
    rng = random.Random(seed)
    kinds: tuple[Kind, Kind] = ("reset", "silent")
    return [
        Cut(rng.uniform(*between_s), rng.uniform(*seconds), kinds[index % 2])
        for index in range(count)
    ]


class BadLink:
    """The proxy; its port leads to another one's.

    Args:
        target: The port that it leads to, on this machine.
        delay_s: That each byte takes, each way.
    """

    def __init__(self, target: int, delay_s: float = 0.0) -> None:
        self.target = target
        self.delay_s = delay_s
        self.port = 0
        self.broken: Kind | None = None
        self.cut_connections = 0  # that an outage has ended
        self._open: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def play(self, script: Sequence[Cut]) -> None:
        """Breaks as a script says."""
        for cut in script:
            await asyncio.sleep(cut.after_s)
            self.broken = cut.kind
            if cut.kind == "reset":
                self.cut_connections += self.reset()
            await asyncio.sleep(cut.seconds)
            self.cut_connections += self.reset()
            self.broken = None

    def reset(self) -> int:
        """Resets every connection, on both sides of it; how many there were."""
        for writers in self._open:
            for each in writers:
                each.transport.abort()
        return len(self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.broken == "reset":
            writer.transport.abort()
            return
        _narrow(writer)
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        _narrow(to_writer)
        both = (writer, to_writer)
        self._open.add(both)
        await asyncio.gather(self._carry(reader, to_writer), self._carry(to_reader, writer))
        self._open.remove(both)
        for each in both:
            each.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_PARTS)
        arriving = asyncio.create_task(self._arrive(on_the_way, writer))
        now = asyncio.get_running_loop().time
        with suppress(OSError):
            while part := await reader.read(_PART_BYTES):
                await on_the_way.put((now() + self.delay_s, part))
        await on_the_way.put((now() + self.delay_s, b""))
        await arriving

    async def _arrive(
        self, on_the_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        part = b"..."
        while part:
            due, part = await on_the_way.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            if self.broken is not None or writer.is_closing():  # lost, as the connection will be
                continue
            with suppress(OSError):
                writer.write(part) if part else writer.write_eof()
                await writer.drain()


def _narrow(writer: asyncio.StreamWriter) -> None:
    made: socket.socket = writer.get_extra_info("socket")
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        made.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    writer.transport.set_write_buffer_limits(high=_PART_BYTES)


@contextmanager
def bad_link(target: int, delay_s: float = 0.0) -> Iterator[tuple[BadLink, Any]]:
    """A link in a thread of its own, and what runs a coroutine there: its future."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    link = BadLink(target, delay_s)

    def begin(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    server = begin(link.listen()).result(_END_S)
    try:
        yield link, begin
    finally:
        begin(_end(link, server)).result(_END_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_END_S)
        loop.close()


async def _end(link: BadLink, server: asyncio.Server) -> None:
    server.close()
    link.reset()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, playing = await asyncio.wait(others, timeout=1)
        for task in playing:
            task.cancel()
