"""Times some of a latency table's probe networks, in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgeclf.measurement.jobs.base import Job

if TYPE_CHECKING:
    from edgeclf.artifact import Precision


@dataclass(frozen=True)
class ProbesResult:
    """What the probes took.

    Attributes:
        networks: One each, as `edgeclf.measurement.probe_networks.timing.time_network` gives it.
    """

    networks: tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class ProbesJob(Job[ProbesResult]):
    """Times those of `count` networks, drawn by `seed`, that have the `numbers`, in that order.

    The rest is as for `time_network`.
    """

    kind: ClassVar[str] = "probes"
    result: ClassVar[type] = ProbesResult

    count: int
    seed: int
    numbers: tuple[int, ...]
    format: str
    precision: Precision
    threads: int
    seconds: float

    def run(self, started_s: float) -> ProbesResult:
        """See `Job.run`."""
        from edgeclf.measurement.probe_networks.plan import random_networks
        from edgeclf.measurement.probe_networks.timing import time_network

        networks = random_networks(self.count, self.seed)
        return ProbesResult(
            tuple(
                time_network(networks[number], self.format, self.precision,
                             threads=self.threads, seconds=self.seconds)
                for number in self.numbers
            )
        )  # fmt: skip
