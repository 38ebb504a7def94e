"""When requests come: at times drawn beforehand, or whenever a client has had its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Arrivals(Protocol):
    """Says which requests are due. Times are in seconds from the start of the step."""

    def due(self, now: float, open_requests: int) -> Sequence[float]:
        """The times at which those that are due by now should have been sent, each once.

        Args:
            now: The time.
            open_requests: Those without an answer yet.
        """
        ...

    def following(self, now: float) -> float | None:
        """When the next is due, if that does not depend on answers."""
        ...

    def ended(self, now: float) -> bool:
        """Whether no more will come."""
        ...


class OpenLoop:
    """Arrivals that do not wait for answers.

    Args:
        times: When, in order; see `edgeclf.measurement.workloads.open_loop.arrival_times`.
    """

    def __init__(self, times: Sequence[float]) -> None:
        self._times = times
        self._next = 0

    def due(self, now: float, open_requests: int) -> Sequence[float]:
        """See `Arrivals.due`."""
        first, times = self._next, self._times
        while self._next < len(times) and times[self._next] <= now:
            self._next += 1
        return times[first : self._next]

    def following(self, now: float) -> float | None:
        """See `Arrivals.following`."""
        return None if self.ended(now) else self._times[self._next]

    def ended(self, now: float) -> bool:
        """See `Arrivals.ended`."""
        return self._next == len(self._times)


class ClosedLoop:
    """Clients that send again as soon as they have an answer.

    Args:
        clients: How many.
        seconds: For how long.
    """

    def __init__(self, clients: int, seconds: float) -> None:
        self._clients = clients
        self._seconds = seconds

    def due(self, now: float, open_requests: int) -> Sequence[float]:
        """See `Arrivals.due`."""
        return () if self.ended(now) else (now,) * (self._clients - open_requests)

    def following(self, now: float) -> float | None:
        """See `Arrivals.following`."""
        return None

    def ended(self, now: float) -> bool:
        """See `Arrivals.ended`."""
        return now >= self._seconds
