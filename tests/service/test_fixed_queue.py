"""The exact distribution of M/D/c, against a simulation and what is known of it otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeclf.errors import OptionError
from edgeclf.service.fixed_queue import (
    fixed_latency_quantile_ms,
    ideal_latencies_ms,
    wait_at_most,
)
from edgeclf.service.queueing import mean_wait_ms

SERVICE_MS = 40.0
CASES = [(servers, busy) for servers in (1, 2, 4, 8) for busy in (0.2, 0.5, 0.8)]


def rate(servers: int, busy: float) -> float:
    return busy * servers * 1e3 / SERVICE_MS


@pytest.mark.parametrize(("servers", "busy"), CASES)
def test_it_is_the_distribution_of_a_simulation(servers: int, busy: float) -> None:
    rng = np.random.default_rng(servers)
    arrivals = np.cumsum(rng.exponential(1 / rate(servers, busy), 200_000)).tolist()
    waits = ideal_latencies_ms(arrivals, SERVICE_MS, servers)[1000:] - SERVICE_MS
    for limit_ms in (0.0, 5.0, 25.0, SERVICE_MS, 55.0, 3.5 * SERVICE_MS):
        expected = wait_at_most(limit_ms, SERVICE_MS, rate(servers, busy), servers)
        assert float(np.mean(waits <= limit_ms + 1e-9)) == pytest.approx(expected, abs=0.012)


def test_the_simulation_is_a_queue_for_several() -> None:
    # Two workers of 1 s: the third waits for the first, the fourth for the second.
    assert ideal_latencies_ms([0.0, 0.1, 0.2, 0.3], 1000, 2).tolist() == pytest.approx(
        [1000, 1000, 1800, 1800]
    )


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.9])
def test_the_mean_wait_of_one_worker_is_pollaczek_and_khinchine_s(busy: float) -> None:
    limits = np.arange(0, 60 * SERVICE_MS, 2.0)
    beyond = [1 - wait_at_most(float(x), SERVICE_MS, rate(1, busy), 1) for x in limits]
    exact = mean_wait_ms([SERVICE_MS], rate(1, busy), 1)
    assert float(np.sum(beyond) * 2.0 - 1.0 * beyond[0]) == pytest.approx(exact, rel=0.01)


def test_nobody_waits_at_the_share_of_erlang_s_sum() -> None:
    # M/D/1: the share that does not wait is the share of time in which nobody is there.
    assert wait_at_most(0.0, SERVICE_MS, rate(1, 0.7), 1) == pytest.approx(0.3, abs=1e-9)
    # and P(W <= x) for x < D: (1 - load) e^(rate x)
    expected = 0.3 * math.exp(0.7 * 0.5)
    assert wait_at_most(20.0, SERVICE_MS, rate(1, 0.7), 1) == pytest.approx(expected, abs=1e-9)


def test_a_quantile_is_where_the_share_is_reached() -> None:
    for servers, busy in CASES:
        found = fixed_latency_quantile_ms(SERVICE_MS, rate(servers, busy), servers, 0.99)
        share = wait_at_most(found - SERVICE_MS, SERVICE_MS, rate(servers, busy), servers)
        assert share >= 0.99 - 1e-9
        assert found == SERVICE_MS or share == pytest.approx(0.99, abs=1e-6)
    assert fixed_latency_quantile_ms(SERVICE_MS, 0.01, 4) == SERVICE_MS


def test_what_has_no_distribution_is_refused() -> None:
    with pytest.raises(OptionError, match="fewer than can be answered"):
        wait_at_most(0.0, SERVICE_MS, rate(2, 1.0), 2)
    with pytest.raises(OptionError, match="too near"):
        wait_at_most(0.0, SERVICE_MS, rate(1, 0.9999), 1)
