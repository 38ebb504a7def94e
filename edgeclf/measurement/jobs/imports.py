"""What the import of a runtime's engine takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from edgeclf.measurement.jobs.base import Job


@dataclass(frozen=True)
class ImportResult:
    """An engine that can be imported.

    Attributes:
        import_ms: What that took.
        devices: What it was built for, beside the cpu.
    """

    import_ms: float
    devices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ImportJob(Job[ImportResult]):
    """The time to import a runtime and its engine, and what that was built for.

    Attributes:
        runtime: The runtime's name.
    """

    kind: ClassVar[str] = "import"
    result: ClassVar[type] = ImportResult

    runtime: str

    def run(self, started_s: float) -> ImportResult:
        """See `Job.run`."""
        from edgeclf.runtimes import import_runtime

        start = time.perf_counter()
        runtime_class = import_runtime(self.runtime)
        import_ms = (time.perf_counter() - start) * 1e3
        accelerators = getattr(runtime_class, "accelerators", lambda: ())
        return ImportResult(import_ms, tuple(accelerators()))
