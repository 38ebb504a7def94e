"""Requests that arrive when they arrive: Poisson arrivals, as a service meets them.

A client that waits for an answer before it sends the next request measures too little: while the
service is slow, it sends nothing, and the slow time counts once instead of for everyone who would
have come ("coordinated omission", Gil Tene). Here the times of arrival are drawn beforehand, and
latency counts from them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeclf.errors import OptionError
from edgeclf.metrics.statistics import Percentiles, percentiles

_SPIN_S = 0.0005  # a sleeping process is woken up late, by less than this
_OVERRUN = 2.0  # the end comes after this many times the duration, answered or not


@dataclass(frozen=True)
class Arrivals:
    """What a service that answers one request after the other did with an open stream of them.

    Attributes:
        rate_per_s: Mean number of requests a second.
        seed: What the times of arrival were drawn from.
        duration_s: The time in which requests arrived.
        sent: Requests that arrived.
        served: Requests that were answered; fewer than `sent` where they came faster than they
            could be answered.
        latency_ms: From a request's scheduled arrival to its answer; None unless all were served,
            as those left would have been the slowest.
        service_ms: From the start of its handling to its answer.
        busy: Share of the time that was spent answering, 0..1.
        cpu_ms: CPU time of the whole process for each answer, also between them, so that threads
            which spin while nothing arrives are in it; without what waiting took here.
    """

    rate_per_s: float
    seed: int
    duration_s: float
    sent: int
    served: int
    latency_ms: Percentiles | None
    service_ms: Percentiles
    busy: float
    cpu_ms: float


def arrival_times(rate_per_s: float, duration_s: float, seed: int) -> tuple[float, ...]:
    """Moments of a Poisson process in seconds from 0, the same for the same seed; at least one."""
    rng = np.random.default_rng(seed)
    times = [float(rng.exponential(1 / rate_per_s))]
    while (following := times[-1] + float(rng.exponential(1 / rate_per_s))) < duration_s:
        times.append(following)
    return tuple(times)


def sleep_precisely(seconds: float) -> None:
    """Sleeps, and for the last half millisecond watches the clock instead."""
    end = time.perf_counter() + seconds
    if seconds > _SPIN_S:
        time.sleep(seconds - _SPIN_S)
    while time.perf_counter() < end:
        pass


def measure_open_loop(
    call: Callable[[], object],
    rate_per_s: float,
    *,
    duration_s: float,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = sleep_precisely,
) -> Arrivals:
    """Answers requests in the order of their arrival and times each from when it arrived.

    Args:
        call: Answers one request.
        rate_per_s: Mean number of requests a second.
        duration_s: How long requests arrive; all in all it takes twice as long at most, and the
            length of one call.
        seed: For the times of arrival.
        clock: Gives seconds.
        sleep: Waits for seconds.

    Raises:
        OptionError: Rate or duration is not above 0.
    """
    if not (rate_per_s > 0 and duration_s > 0):
        raise OptionError(
            f"The rate is {rate_per_s:g} a second and the duration {duration_s:g} s; expected "
            "both above 0."
        )
    due = arrival_times(rate_per_s, duration_s, seed)
    latencies_ms: list[float] = []
    services_ms: list[float] = []
    start = now = clock()
    cpu_s = -time.process_time()
    for moment in due:
        if now - start >= _OVERRUN * duration_s:
            break
        cpu_s += time.thread_time()
        while (wait_s := start + moment - clock()) > 0:
            sleep(wait_s)
        cpu_s -= time.thread_time()
        begin = clock()
        call()
        now = clock()
        services_ms.append((now - begin) * 1e3)
        latencies_ms.append((now - start - moment) * 1e3)
    cpu_s += time.process_time()
    served = len(latencies_ms)
    return Arrivals(
        rate_per_s,
        seed,
        duration_s,
        len(due),
        served,
        percentiles(latencies_ms) if served == len(due) else None,
        percentiles(services_ms),
        sum(services_ms) / 1e3 / (now - start),
        cpu_s * 1e3 / served,
    )
