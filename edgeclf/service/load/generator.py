"""Sends requests when they are due, and notes when each should have gone, went, and was answered.

One thread and no event loop: it waits in `select`, which wakes it to some microseconds, where the
timers of asyncio and uvloop know milliseconds. What it costs is measured with each step.
"""

from __future__ import annotations

import gc
import re
import select
import selectors
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, process_time, sleep
from typing import Any, NamedTuple

import httptools

from edgeclf.service.load.arrivals import Arrivals
from edgeclf.service.load.connection import Connection
from edgeclf.service.load.target import Target

_TICK_S = 0.2
_FAILED_IN_A_ROW = 100  # from then on the server is taken to be gone
_BREATHER_S = 0.01
_TIMING = re.compile(rb'"timing"\s*:\s*(\{[^{}]*\})')

TIMEOUT = "timeout"
_Key = selectors.SelectorKey


class Outcome(NamedTuple):
    """What came of one request. Times are in seconds from the start of the step.

    Attributes:
        scheduled: When it should have been sent.
        noticed: When the generator got to it.
        sent: When it went to a connection; None if it never did.
        done: When its answer was whole, or it was given up.
        status: Of HTTP; 0 without an answer.
        failure: Why there is no answer; empty if there is one.
        timing: The answer's ``timing`` as JSON; empty if it has none.
    """

    scheduled: float
    noticed: float
    sent: float | None
    done: float
    status: int
    failure: str = ""
    timing: bytes = b""


@dataclass
class Run:
    """What a step gave.

    Attributes:
        outcomes: One a request, in the order in which they ended.
        seconds: How long it took, to the last answer.
        cpu_s: CPU time of this process meanwhile.
        connections: Most that were open at once.
        interrupted: Whether Ctrl-C ended it; what was without an answer then does not count.
    """

    outcomes: list[Outcome]
    seconds: float = 0.0
    cpu_s: float = 0.0
    connections: int = 0
    interrupted: bool = False


# Called now and then: seconds since the start, what has ended so far, and how many have come.
Tick = Callable[[float, list[Outcome], int], None]


class _Request:
    __slots__ = ("content", "noticed", "scheduled", "sent")

    def __init__(self, scheduled: float, noticed: float, content: bytes) -> None:
        self.scheduled = scheduled
        self.noticed = noticed
        self.content = content
        self.sent: float | None = None


class Generator:
    """Loads one server.

    Args:
        target: What is sent, and where.
        connections: Most that are open at once; requests beyond wait for one, and their time runs.
        timeout_s: After which a request is given up, from when it should have been sent.
    """

    def __init__(self, target: Target, connections: int, timeout_s: float) -> None:
        self._target = target
        self._most = connections
        self._timeout_s = timeout_s
        self._sent = 0
        self._failed = 0  # in a row
        self._start = 0.0
        self._selector: Any = None  # epoll's, which is a file that `select` can wait for
        self._idle: list[Connection] = []
        self._busy: dict[Connection, _Request] = {}  # the one that was sent first comes first
        self._waiting: deque[_Request] = deque()
        self._run = Run([])

    def run(self, arrivals: Arrivals, tick: Tick | None = None) -> Run:
        """Sends what is due, until no more comes and all is answered or given up.

        Args:
            arrivals: What is due.
            tick: Called now and then.
        """
        run = self._run = Run([])
        self._selector = selectors.DefaultSelector()
        cpu_s, collects = process_time(), gc.isenabled()
        gc.disable()  # a pause of ours would be counted as theirs
        self._start = perf_counter()
        try:
            self._loop(arrivals, tick)
        except KeyboardInterrupt:
            run.interrupted = True
        finally:
            if collects:
                gc.enable()
            run.seconds, run.cpu_s = self._now(), process_time() - cpu_s
            for connection in [*self._busy, *self._idle]:
                self._close(connection)
            self._busy.clear()
            self._idle.clear()
            self._waiting.clear()
            self._selector.close()
        return run

    def _loop(self, arrivals: Arrivals, tick: Tick | None) -> None:
        ticked = 0.0
        requests = self._target.requests
        while True:
            now = self._now()
            for scheduled in arrivals.due(now, len(self._busy) + len(self._waiting)):
                content = requests[self._sent % len(requests)]
                self._sent += 1
                self._waiting.append(_Request(scheduled, now, content))
            self._send_waiting()
            self._give_up(now)
            if arrivals.ended(now) and not self._busy and not self._waiting:
                return
            if tick is not None and now - ticked >= _TICK_S:
                ticked = now
                tick(now, self._run.outcomes, self._sent)
            if self._failed >= _FAILED_IN_A_ROW:
                sleep(_BREATHER_S)
            following = arrivals.following(now)
            self._wait(_TICK_S if following is None else following - self._now())

    def _now(self) -> float:
        return perf_counter() - self._start

    def _wait(self, seconds: float) -> None:
        """Until something has come, but not longer."""
        limit = min(max(seconds, 0.0), _TICK_S)
        # epoll's own timeout is in whole milliseconds; that of select is not.
        select.select([self._selector], [], [], limit)
        for key, events in self._selector.select(0):
            connection: Connection = key.data
            if events & selectors.EVENT_WRITE:
                self._write(connection, key)
            if events & selectors.EVENT_READ and connection.socket.fileno() >= 0:
                self._read(connection)

    def _send_waiting(self) -> None:
        while self._waiting:
            if self._idle:
                connection = self._idle.pop()
            elif len(self._busy) < self._most:
                try:
                    connection = Connection(self._target.family, self._target.address)
                except OSError as exc:
                    self._fail(self._waiting.popleft(), _words(exc))
                    continue
                self._selector.register(connection.socket, selectors.EVENT_READ, connection)
            else:
                return
            request = self._waiting.popleft()
            self._busy[connection] = request
            self._run.connections = max(self._run.connections, len(self._busy) + len(self._idle))
            request.sent = self._now()
            connection.begin(request.content)
            self._write(connection, None)

    def _write(self, connection: Connection, key: _Key | None) -> None:
        try:
            done = connection.write()
        except OSError as exc:
            # A server may refuse a picture, and close, before it has read all of it.
            if not self._read(connection):
                self._lost(connection, exc)
            return
        wanted = selectors.EVENT_READ | (0 if done else selectors.EVENT_WRITE)
        if wanted != (selectors.EVENT_READ if key is None else key.events):
            self._selector.modify(connection.socket, wanted, connection)

    def _read(self, connection: Connection) -> bool:
        """Takes what has come; whether that ended a request, or the connection."""
        try:
            answer = connection.read()
        except (OSError, httptools.HttpParserError) as exc:
            self._lost(connection, exc)
            return True
        if answer is None:
            return False
        now = self._now()
        request = self._busy.pop(connection)
        self._failed = 0
        found = _TIMING.search(answer.body) if answer.status == 200 else None
        self._run.outcomes.append(Outcome(
            request.scheduled, request.noticed, request.sent, now, answer.status,
            timing=found[1] if found else b"",
        ))  # fmt: skip
        if answer.keeps:
            self._idle.append(connection)
        else:
            self._close(connection)
        return True

    def _lost(self, connection: Connection, reason: Exception) -> None:
        """A connection failed. A server may close one that is idle just when it is used again."""
        request = self._busy.pop(connection, None)
        if request is None:
            self._idle.remove(connection)
        elif connection.answered and not connection.heard:
            self._waiting.appendleft(request)
        else:
            self._fail(request, _words(reason))
        self._close(connection)

    def _give_up(self, now: float) -> None:
        """Ends what has waited too long; those that came first are looked at first."""
        while self._waiting and now - self._waiting[0].scheduled > self._timeout_s:
            self._fail(self._waiting.popleft(), TIMEOUT)
        while self._busy:
            connection, request = next(iter(self._busy.items()))
            if now - request.scheduled <= self._timeout_s:
                return
            del self._busy[connection]
            self._fail(request, TIMEOUT)
            self._close(connection)

    def _fail(self, request: _Request, why: str) -> None:
        self._failed += 1
        self._run.outcomes.append(
            Outcome(request.scheduled, request.noticed, request.sent, self._now(), 0, why)
        )

    def _close(self, connection: Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.close()


def _words(reason: Exception) -> str:
    if isinstance(reason, httptools.HttpParserError):
        return "no HTTP"
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
