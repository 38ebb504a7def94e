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
    """Times probe networks.

    Attributes:
        count: How many networks the table has.
        seed: What they are drawn by.
        numbers: Which of them to time, in this order.
        format: ``tflite`` or ``onnx``.
        precision: ``int8`` or ``fp32``.
        threads: Threads for one call.
        seconds: Of calls of one network, half of them with the profiler on.
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
