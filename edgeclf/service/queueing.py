"""How long requests wait for workers: an estimate from how long they are worked on.

M/G/c: Poisson arrivals, any service time, c workers, one queue. There is no exact formula for its
wait; the approximation of Allen and Cunneen is used (A. O. Allen, "Probability, Statistics, and
Queueing Theory with Computer Science Applications", 2nd ed. 1990, section 5.3):

    mean wait = C(c, a) / (c / s - rate) * (1 + cv^2) / 2,        a = rate * s

with s the mean and cv the coefficient of variation of the service time, and Erlang's C(c, a) for
the share of requests that wait. It is exact for M/M/c, and for M/G/1 the formula of Pollaczek and
Khinchine. The tail of the wait is taken to be exponential, as it is in M/M/c, and as it becomes for
any G under heavy load (J. F. C. Kingman, "On Queues in Heavy Traffic", 1962).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_HALVINGS = 60


def erlang_c(servers: int, load: float) -> float:
    """The share of requests that wait in M/M/c.

    Args:
        servers: c, at least 1.
        load: Arrivals in the mean service time; below `servers`.
    """
    blocked = 1.0  # Erlang's B, by its recursion over the number of servers
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    busy = load / servers
    return blocked / (1 - busy * (1 - blocked))


def mean_wait_ms(service_ms: Sequence[float], rate_per_s: float, servers: int) -> float:
    """The mean wait by Allen and Cunneen; infinite where more comes than can be answered.

    Args:
        service_ms: A sample of service times.
        rate_per_s: Of arrivals.
        servers: Workers.
    """
    mean, cv = _moments(service_ms)
    load = rate_per_s * mean / 1e3
    if load >= servers:
        return math.inf
    return erlang_c(servers, load) / (servers / mean - rate_per_s / 1e3) * (1 + cv**2) / 2


def latency_quantile_ms(
    service_ms: Sequence[float],
    rate_per_s: float,
    servers: int,
    *,
    share: float = 0.99,
    beside_ms: float = 0.0,
) -> float:
    """A quantile of wait and service together; infinite where more comes than can be answered.

    Args:
        service_ms: A sample of service times.
        rate_per_s: Of arrivals.
        servers: Workers.
        share: Of requests that are answered by then.
        beside_ms: What each takes besides, while its worker is free for others.
    """
    wait_ms = mean_wait_ms(service_ms, rate_per_s, servers)
    if math.isinf(wait_ms):
        return wait_ms
    times = np.asarray(service_ms, float) + beside_ms
    waits = erlang_c(servers, rate_per_s * float(np.mean(service_ms)) / 1e3)
    scale = max(wait_ms / waits, 1e-9) if waits > 0 else 1e-9  # mean wait of those that wait

    def beyond(limit_ms: float) -> float:
        left = np.maximum(limit_ms - times, 0.0)
        return float(np.mean(np.where(times > limit_ms, 1.0, waits * np.exp(-left / scale))))

    low, high = 0.0, float(times.max()) + scale * 40
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle) > 1 - share else (low, middle)
    return high


def _moments(sample: Sequence[float]) -> tuple[float, float]:
    mean = float(np.mean(sample))
    return mean, float(np.std(sample)) / mean if mean else 0.0
