"""The time from the start of a process to its first answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from edgeclf.measurement.jobs.base import CallJob


@dataclass(frozen=True)
class StartResult:
    """A start.

    Attributes:
        start_ms: What it took.
        files: What the process used of the disk, if that was asked for.
    """

    start_ms: float
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StartJob(CallJob[StartResult]):
    """The time from the process's start to its first answer, and nothing else.

    Attributes:
        list_files: Whether to tell which files were used.
    """

    kind: ClassVar[str] = "start"
    result: ClassVar[type] = StartResult

    list_files: bool = False

    def run(self, started_s: float) -> StartResult:
        """See `Job.run`."""
        self.answering(self.load())()
        start_ms = (time.monotonic() - started_s) * 1e3
        if not self.list_files:
            return StartResult(start_ms, ())
        from edgeclf.measurement.probes.page_cache import files_in_use

        return StartResult(start_ms, (self.model, *self.images[:1], *files_in_use()))
