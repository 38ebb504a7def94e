"""How often the process's cgroup was held back because its CPU quota was used up."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from edgeclf.system.cpu import throttling


class Throttling(Collector):
    """Of the one among its own and all groups above it that was held back for longest."""

    def collect(self) -> Iterable[CounterMetricFamily]:
        """What the kernel says; nothing where it says nothing."""
        found = throttling()
        if found is None:
            return
        for name, text, value in zip(
            ("edgeclf_cpu_periods", "edgeclf_cpu_throttled_periods",
             "edgeclf_cpu_throttled_seconds"),
            ("Periods of the cgroup's CPU quota", "Periods in which it was used up",
             "Seconds that threads were held back for it"),
            found, strict=True,
        ):  # fmt: skip
            family = CounterMetricFamily(name, text)
            family.add_metric((), value)
            yield family
