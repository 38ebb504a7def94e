"""What was answered of streams lately, so that a frame that comes again is not answered twice."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

_MOST_ANSWERS = 64  # of one session: twice what a client keeps unanswered
_KEPT_S = 60.0  # after its connection has ended

Entry = dict[str, Any]
Name = tuple["str | None", ...]
End = Callable[[], None]


class Answers:
    """The answers of one session, over its connections; those that are being worked on too."""

    def __init__(self) -> None:
        self.end: End | None = None  # of the connection that has it now
        self.left_at = 0.0
        self._found: OrderedDict[int, asyncio.Task[Entry]] = OrderedDict()

    async def once(
        self, sequence: int, work: Callable[[], Coroutine[Any, Any, Entry]]
    ) -> tuple[Entry, bool]:
        """A frame's answer, and whether it had been asked for before.

        Whoever waits may leave: the work goes on, and is there for the frame's next coming. What
        was refused is forgotten, so that it may be tried again.
        """
        known = self._found.get(sequence)
        if known is None:
            while len(self._found) >= _MOST_ANSWERS:
                self._found.popitem(last=False)
            self._found[sequence] = asyncio.get_running_loop().create_task(work())
        task = known or self._found[sequence]
        entry: Entry = {"outcome": "refused"}
        try:
            entry = await asyncio.shield(task)
        finally:
            if task.done() and entry["outcome"] == "refused":
                self._found.pop(sequence, None)
        return entry, known is not None


class Memory:
    """The sessions that have been here lately.

    Args:
        most: At once; whoever left longest ago is forgotten for a new one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sessions: OrderedDict[Name, Answers] = OrderedDict()

    def enter(self, name: Name, end: End) -> Answers:
        """What is known of a session that comes, perhaps again; its connection of before ends.

        Args:
            name: Whose session it is, of which model, and what the client calls it.
            end: Ends the connection on which it comes now.
        """
        self._forget()
        answers = self._sessions.pop(name, None) or Answers()
        if answers.end is not None:
            answers.end()
        answers.end = end
        self._sessions[name] = answers
        return answers

    def leave(self, name: Name, end: End) -> None:
        """A connection has ended; it may have lost the session to another one before."""
        answers = self._sessions.get(name)
        if answers is not None and answers.end == end:
            answers.end, answers.left_at = None, monotonic()
            self._sessions.move_to_end(name)

    def _forget(self) -> None:
        now = monotonic()
        for name, answers in list(self._sessions.items()):
            too_many = len(self._sessions) >= self._most
            if answers.end is None and (too_many or now - answers.left_at > _KEPT_S):
                del self._sessions[name]
