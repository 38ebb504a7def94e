"""A histogram that costs a service next to nothing to fill: for one thread, read by Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class Buckets:
    """The observations of one set of labels.

    Args:
        limits: Upper limits of the buckets, rising; what is above all of them counts as well.
    """

    __slots__ = ("_limits", "counts", "total")

    def __init__(self, limits: Sequence[float]) -> None:
        self._limits = limits
        self.counts = [0] * (len(limits) + 1)  # of each bucket alone
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Counts one."""
        self.counts[bisect_left(self._limits, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them: upper limit, and how many were at most that."""
        seen = 0
        found: list[tuple[str, float]] = []
        for limit, count in zip((*map(str, self._limits), "+Inf"), self.counts, strict=True):
            seen += count
            found.append((limit, seen))
        return found


class PlainHistogram(Collector):
    """A histogram without locks: filled on one thread, a tenth of the client library's time.

    Args:
        name: As Prometheus sees it.
        text: What it is of.
        label: The name of its one label.
        limits: Upper limits of the buckets, rising.
        registry: Where it is entered.
    """

    def __init__(
        self, name: str, text: str, label: str, limits: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._about = name, text
        self._label = label
        self._limits = tuple(limits)
        self._children: dict[str, Buckets] = {}
        registry.register(self)

    def labels(self, value: str) -> Buckets:
        """The observations of one value of the label."""
        found = self._children.get(value)
        if found is None:
            found = self._children[value] = Buckets(self._limits)
        return found

    def keep(self, values: Collection[str]) -> None:
        """Drops the observations of all other values of the label."""
        for value in self._children.keys() - set(values):
            del self._children[value]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """All of it, for the registry."""
        family = HistogramMetricFamily(*self._about, labels=(self._label,))
        for value, buckets in list(self._children.items()):
            family.add_metric((value,), buckets.cumulative(), buckets.total)
        yield family
