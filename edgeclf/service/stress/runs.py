"""The stress tests of a service: one at a time, and the last ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from edgeclf.service.access import Access
from edgeclf.service.config import ServiceConfig
from edgeclf.service.problem import Problem
from edgeclf.service.stress.asked import Asked
from edgeclf.service.stress.run import StressRun


class StressRuns:
    """All of them; used on one event loop's thread.

    Args:
        config: Says how many are kept.
        access: Lends each a key.
        depth: How many pictures are in the service.
        leaving: Whether the service is being stopped.
    """

    def __init__(
        self,
        config: ServiceConfig,
        access: Access,
        depth: Callable[[], int],
        leaving: Callable[[], bool],
    ) -> None:
        self._config = config
        self._access = access
        self._depth = depth
        self._leaving = leaving
        self._runs: dict[str, StressRun] = {}  # the last one comes last
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> StressRun | None:
        """The one that runs."""
        return next((run for run in self._runs.values() if run.state == "running"), None)

    def begin(self, asked: Asked, url: str, images: Sequence[bytes]) -> StressRun:
        """Starts one.

        Args:
            asked: What is asked of the service.
            url: Where its pictures go: this service.
            images: Bytes of an image file each.

        Raises:
            Problem: 409 another one runs; 503 the service is being stopped.
        """
        running = self.running
        if running is not None:
            raise Problem(
                409, "stress_running",
                f"The stress test {running.id} is running, and there is one at a time. Wait for "
                "its end, or end it.",
            )  # fmt: skip
        if self._leaving():
            raise Problem(503, "stopping", "The service is being stopped.", retry_after_s=5)
        run = StressRun(asked, url, images, asked.words(self._config.max_connections))
        self._runs[run.id] = run
        for old in list(self._runs)[: -self._config.max_stress_runs]:
            del self._runs[old]
        self._task = asyncio.create_task(
            run.work(self._access.lent(), self._depth, self._leaving)
        )  # fmt: skip
        return run

    def find(self, name: str) -> StressRun:
        """One by its id.

        Raises:
            Problem: 404 there is none.
        """
        run = self._runs.get(name)
        if run is None:
            raise Problem(
                404, "no_run",
                f"There is no stress test {name!r} here; the last {self._config.max_stress_runs} "
                "are kept until the service ends.",
            )  # fmt: skip
        return run

    def entries(self) -> list[dict[str, Any]]:
        """What is said of each, the last one first."""
        return [run.entry() for run in reversed(self._runs.values())]

    async def close(self) -> None:
        """Ends the one that runs, and waits until its process is gone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
