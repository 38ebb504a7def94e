"""One connection of a stream: frames come, of which each is told what became of it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic, perf_counter

from edgeclf.errors import EdgeclfError
from edgeclf.service.answers import answer_entry, version_entry
from edgeclf.service.asgi import Bodies, Gone, Message, Receive, Scope
from edgeclf.service.explaining import explanation_entry
from edgeclf.service.intake import Wanted
from edgeclf.service.problem import Problem
from edgeclf.service.service import Service
from edgeclf.service.stream_memory import Answers, Entry, Memory
from edgeclf.service.stream_messages import ROUTES, Frame, Hello, read_frame, read_ping

_MOST_WAITING = 32  # frames of a client that blocks; more than that has no window
_MOST_NAMED = 64  # frames that were replaced, and are named before the next answer
_LEAST_RETRY_MS = 100
_IDLE_S = 30.0  # without a word: a client pings every other second

Tell = Callable[[Entry], Awaitable[None]]


class _Waiting:
    """A frame that has come, and how much of the room for bodies it takes."""

    def __init__(self, frame: Frame, bodies: Bodies) -> None:
        self.frame = frame
        self._bodies = bodies
        self._held: Scope = {}
        bodies.hold(self._held, len(frame.content))

    def release(self) -> None:
        self._bodies.release(self._held)


class Session:
    """A stream from its hello to its end.

    Args:
        service: What answers.
        scope: The connection's.
        place: Model and version as the address has them.
        wanted: What is asked of each answer.
        hello: What was agreed on.
        tell: Sends a message of JSON.
        memory: What was answered on connections before.
    """

    def __init__(
        self,
        service: Service,
        scope: Scope,
        place: tuple[str, str | None],
        wanted: Wanted,
        hello: Hello,
        tell: Tell,
        memory: Memory,
    ) -> None:
        self._service = service
        self._scope = scope
        self._place = place
        self._wanted = wanted
        self._hello = hello
        self._tell = tell
        self._memory = memory
        self._answers: Answers | None = None
        self._bodies: Bodies = scope["edgeclf.bodies"]
        self._frames: deque[_Waiting] = deque()
        self._replaced: deque[int] = deque(maxlen=_MOST_NAMED)
        self._come = asyncio.Event()
        self._gone = asyncio.Event()
        self._ended = asyncio.Event()
        self._offset_s = monotonic() - hello.clock_ms / 1e3
        self._heard = monotonic()

    def end(self) -> None:
        """Ends it from elsewhere: another connection has taken its place, or it was silent."""
        self._ended.set()

    async def run(self, receive: Receive) -> None:
        """Answers until the client leaves, says nothing for long, or `end` is called.

        Raises:
            Problem: The client sends what is no frame, or may not ask any more.
        """
        name = (self._scope.get("edgeclf.key"), *self._place, self._hello.session)
        if self._hello.session is not None:
            known = self._memory.enter(name, self.end)
            self._answers = known if self._hello.mode == "block" else None
        create = asyncio.create_task
        tasks = (create(self._read(receive)), create(self._answer_forever()),
                 create(self._ended.wait()))  # fmt: skip
        idle = _Idle(lambda: monotonic() - self._heard, self.end)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.close()
            self._gone.set()
            self._memory.leave(name, self.end)
            for task in tasks:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            while self._frames:
                self._frames.popleft().release()
        for each in found:
            if isinstance(each, Exception):
                raise each

    # --- what comes -----------------------------------------------------------------------------

    async def _read(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            self._heard = monotonic()
            content = message.get("bytes")
            if content is not None:
                await self._take(read_frame(content))
            else:
                await self._pong(message["text"])

    async def _pong(self, text: str) -> None:
        ping = read_ping(text)
        if ping.offset_ms is not None:
            self._offset_s = ping.offset_ms / 1e3
        await self._tell({"type": "pong", "clock_ms": ping.clock_ms, "service_ms": now_ms()})

    async def _take(self, frame: Frame) -> None:
        if self._hello.mode == "drop":
            while self._frames:  # nobody wants it any more: this one is newer
                old = self._frames.popleft()
                old.release()
                self._replaced.append(old.frame.sequence)
                self._count("replaced")
        elif len(self._frames) >= _MOST_WAITING:
            await self._refuse(frame, Problem(
                429, "too_many_frames",
                f"{_MOST_WAITING} frames of this stream wait; send no more than the window that "
                "the service's welcome names.", retry_after_s=1,
            ))  # fmt: skip
            return
        try:
            self._frames.append(_Waiting(frame, self._bodies))
        except Problem as problem:
            await self._refuse(frame, problem)
            return
        self._come.set()

    # --- what goes ------------------------------------------------------------------------------

    async def _answer_forever(self) -> None:
        while True:
            if not self._frames:
                self._come.clear()
                await self._come.wait()
            waiting = self._frames.popleft()
            try:
                await self._settle(waiting.frame)
            finally:
                waiting.release()

    async def _settle(self, frame: Frame) -> None:
        again = False
        if self._answers is None:
            entry = await self._work(frame)
        else:
            entry, again = await self._answers.once(frame.sequence, lambda: self._work(frame))
        message = {"type": "answer", "sequence": frame.sequence, **entry}
        if again:
            message["duplicate"] = True
            self._count("duplicate")
        if self._replaced:
            message["replaced"] = list(self._replaced)
            self._replaced.clear()
        await self._tell(message)
        if entry.get("code") == "no_key":
            raise Problem(401, "no_key", entry["error"])

    async def _refuse(self, frame: Frame, problem: Problem) -> None:
        entry = self._refusal(problem)
        await self._tell({"type": "answer", "sequence": frame.sequence, **entry})

    async def _work(self, frame: Frame) -> Entry:
        """What becomes of a frame, as JSON types."""
        start = perf_counter()
        log = self._service.log
        if log is not None:
            log.begin()
        status = 200
        try:
            entry = await self._answered(frame)
        except EdgeclfError as exc:
            problem = Problem.of(exc)
            status, entry = problem.status, self._refusal(problem)
            if problem.code == "deadline_exceeded" and self._hello.mode == "drop":
                entry["outcome"] = "late"
        except Gone:
            status, entry = 499, {"outcome": "refused", "code": "gone", "error": ""}
        entry["resent"] = frame.resent
        self._count(entry["outcome"])
        if log is not None:
            name = f"{self._scope['edgeclf.request_id']}.{frame.sequence}"
            log.end(name, ROUTES[self._place[1] is not None], status, perf_counter() - start)
        return entry

    async def _answered(self, frame: Frame) -> Entry:
        service, limit_s = self._service, self._hello.deadline_s
        age_s = self._age_s(frame)
        wanted = self._wanted
        if limit_s is not None:
            _check_age(age_s, limit_s)  # before anything is decoded
            rest_s = min(limit_s - age_s, wanted.timeout_s or limit_s)
            wanted = dataclasses.replace(wanted, timeout_s=max(rest_s, 0.001))
        service.access.admit(self._scope)  # each frame is a request to whoever counts them
        explaining = partial(explanation_entry, label=wanted.explain_label)
        version, (answered,) = await service.answer(
            *self._place,
            [frame.content],
            wanted,
            self._until_gone,
            explaining if wanted.explain else None,
        )
        entry = answer_entry(answered, wanted)
        if limit_s is not None:
            _check_age(self._age_s(frame), limit_s)
        entry["timing"]["age_ms"] = round(age_s * 1e3, 3)
        return {"outcome": "answered", **version_entry(version), **entry}

    def _age_s(self, frame: Frame) -> float:
        """How long ago it was taken, by both clocks."""
        return max(0.0, monotonic() - (frame.taken_ms / 1e3 + self._offset_s))

    async def _until_gone(self) -> Message:
        """Tells whoever answers when nobody waits any more."""
        if self._hello.mode == "block":  # it will come back for the answer
            await asyncio.Event().wait()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    def _refusal(self, problem: Problem) -> Entry:
        self._service.metrics.refused.labels(problem.code).inc()
        entry: Entry = {"outcome": "refused", **problem.entry()}
        if problem.retry_after_s is not None:
            entry["retry_after_ms"] = max(_LEAST_RETRY_MS, round(problem.retry_after_s * 1e3))
        return entry

    def _count(self, outcome: str) -> None:
        self._service.metrics.stream_frames.labels(outcome).inc()


class _Idle:
    """Ends what has not been heard of for long; one timer, which says nothing in between."""

    def __init__(self, silent_s: Callable[[], float], end: Callable[[], None]) -> None:
        self._silent_s = silent_s
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_IDLE_S, self._look)

    def _look(self) -> None:
        silent_s = self._silent_s()
        if silent_s >= _IDLE_S:
            self._end()
        else:
            self._timer = self._loop.call_later(_IDLE_S - silent_s, self._look)

    def close(self) -> None:
        self._timer.cancel()


def now_ms() -> float:
    """The service's clock, of which only differences mean something."""
    return round(monotonic() * 1e3, 3)


def _check_age(age_s: float, limit_s: float) -> None:
    if age_s > limit_s:
        raise Problem(
            503, "deadline_exceeded",
            f"The frame is {age_s * 1e3:.0f} ms old, and its deadline is {limit_s * 1e3:.0f} ms. "
            "Send smaller frames, or fewer.",
        )  # fmt: skip
