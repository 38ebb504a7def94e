"""How long requests wait for workers that take the same time for each: M/D/c, exactly.

Poisson arrivals, a fixed service time D, c workers, one queue. The number of requests in the system
at two moments D apart is linked by what arrives in between (C. D. Crommelin, "Delay Probability
Formulae When the Holding Times Are Constant", 1932), as whoever is served at the first has left by
the second. From its distribution follows that of the wait (G. J. Franx, "A simple solution for the
M/D/c waiting time distribution", Operations Research Letters 29, 2001), for (k-1) D <= x < k D:

    P(W <= x) = e^-u * sum over j < k c of Q(k c - j - 1) * u^j / j!,        u = rate * (k D - x)

with Q(m) the probability that at most m wait. All its terms are positive, so nothing cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edgeclf.errors import OptionError

_LEFT_OUT = 1e-12  # of the distribution, at its far end
_MOST_STATES = 4000
_HALVINGS = 60

Float64Array = npt.NDArray[np.float64]


def wait_at_most(limit_ms: float, service_ms: float, rate_per_s: float, servers: int) -> float:
    """The share of requests that wait no longer.

    Args:
        limit_ms: The wait.
        service_ms: That each takes.
        rate_per_s: Of arrivals.
        servers: Workers.

    Raises:
        OptionError: More comes than can be answered, or very nearly so.
    """
    if limit_ms < 0:
        return 0.0
    waiting = _at_most_waiting(round(rate_per_s * service_ms / 1e3, 12), servers)
    ends = math.floor(limit_ms / service_ms) + 1
    mean = rate_per_s / 1e3 * (ends * service_ms - limit_ms)
    arrived = _poisson(mean, ends * servers)
    last = ends * servers - 1 - np.arange(ends * servers)
    return float(min(1.0, np.sum(arrived * waiting[np.minimum(last, len(waiting) - 1)])))


def fixed_latency_quantile_ms(
    service_ms: float, rate_per_s: float, servers: int, share: float = 0.99
) -> float:
    """A quantile of wait and service together.

    Args:
        service_ms: That each request takes.
        rate_per_s: Of arrivals.
        servers: Workers.
        share: Of requests that are answered by then.

    Raises:
        OptionError: More comes than can be answered, or very nearly so.
    """
    low, high = 0.0, service_ms
    if wait_at_most(0.0, service_ms, rate_per_s, servers) >= share:
        return service_ms
    while wait_at_most(high, service_ms, rate_per_s, servers) < share:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = wait_at_most(middle, service_ms, rate_per_s, servers) >= share
        low, high = (low, middle) if enough else (middle, high)
    return service_ms + high


def ideal_latencies_ms(
    arrivals_s: Sequence[float], service_ms: float, servers: int
) -> Float64Array:
    """What these very requests would take, in the order of their arrival, in such a queue.

    As each takes as long, they end in the order in which they came: one begins once it is there
    and the one that came `servers` before it has ended.

    Args:
        arrivals_s: When they came, ascending.
        service_ms: That each takes.
        servers: Workers.
    """
    ends: Float64Array = np.empty(len(arrivals_s))
    service_s = service_ms / 1e3
    for index, arrival in enumerate(arrivals_s):
        free = ends[index - servers] if index >= servers else arrival
        ends[index] = max(arrival, free) + service_s
    return np.asarray((ends - np.asarray(arrivals_s, float)) * 1e3, np.float64)


@lru_cache(maxsize=64)
def _at_most_waiting(load: float, servers: int) -> Float64Array:
    """Q(m) for m = 0, 1, ..., as far as it is not 1.

    Args:
        load: Arrivals in a service time.
        servers: Workers.
    """
    if not 0 < load < servers:
        raise OptionError(
            f"{load:g} requests come in a service time and {servers} workers answer; expected "
            "fewer than can be answered."
        )
    count = servers + 2 * _tail(load, servers)
    if count > _MOST_STATES:
        raise OptionError(
            f"{load:g} requests in a service time are too near to what {servers} workers answer "
            f"({load / servers:.2%}) for an exact distribution; expected some less."
        )
    arrived = _poisson(load, count)
    # Whoever is in service leaves within D, and all that arrives in it is there at its end.
    after = np.zeros((count, count))
    for before in range(count):
        left = max(0, before - servers)
        after[before, left:] = arrived[: count - left]
    after[:, -1] += 1 - after.sum(axis=1)  # what lies beyond the end
    equations = after.T - np.eye(count)
    equations[-1] = 1.0
    right = np.zeros(count)
    right[-1] = 1.0
    there = np.maximum(np.linalg.solve(equations, right), 0.0)
    return np.asarray(np.cumsum(there)[servers:], np.float64)


def _tail(load: float, servers: int) -> int:
    """How many states it takes until the distribution, in the end geometric, has run out."""
    low, high = 1.0, 2.0

    def grows(ratio: float) -> bool:  # beyond the root of ratio^c = e^(load (ratio - 1))
        return servers * math.log(ratio) < load * (ratio - 1)

    while not grows(high):
        high *= 2
    low = servers / load  # where the difference is greatest: the root lies above
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if grows(middle) else (middle, high)
    return math.ceil(-math.log(_LEFT_OUT) / math.log(high)) + 8


def _poisson(mean: float, count: int) -> Float64Array:
    """The probabilities of 0, 1, ..., count - 1."""
    numbers = np.arange(count)
    if mean <= 0:
        return np.asarray(numbers == 0, np.float64)
    logs = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, count)))))
    return np.asarray(np.exp(numbers * math.log(mean) - mean - logs), np.float64)
