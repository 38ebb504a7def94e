"""The estimate of waits, against exact formulas and a simulation."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest

from edgeclf.service.queueing import erlang_c, latency_quantile_ms, mean_wait_ms

RNG = np.random.default_rng(0)
EXPONENTIAL = tuple(RNG.exponential(10.0, 200_000))
GAMMA = tuple(RNG.gamma(4.0, 2.5, 20_000))  # mean 10, cv 0.5
CONSTANT = (10.0, 10.0)


def test_erlang_c_is_the_textbook_s() -> None:
    assert erlang_c(1, 0.5) == pytest.approx(0.5)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    # sum of k<c of a^k / k! and the last term, by the definition
    top = 3.0**4 / math.factorial(4) * 4 / (4 - 3)
    assert erlang_c(4, 3.0) == pytest.approx(
        top / (sum(3.0**k / math.factorial(k) for k in range(4)) + top)
    )


@pytest.mark.parametrize("rate", [10.0, 50.0, 90.0])
def test_one_worker_has_the_exact_wait(rate: float) -> None:
    load = rate / 100
    # Pollaczek and Khinchine: load * s * (1 + cv^2) / (2 (1 - load))
    assert mean_wait_ms(CONSTANT, rate, 1) == pytest.approx(load * 10 / (2 * (1 - load)))
    assert mean_wait_ms(EXPONENTIAL, rate, 1) == pytest.approx(load * 10 / (1 - load), rel=0.05)


@pytest.mark.parametrize("rate", [20.0, 60.0, 80.0])
def test_p99_of_one_exponential_worker_is_exact(rate: float) -> None:
    exact = math.log(100) * 1e3 / (100 - rate)
    assert latency_quantile_ms(EXPONENTIAL, rate, 1) == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(("workers", "load"), [(1, 0.5), (2, 0.7), (4, 0.7), (2, 0.3)])
@pytest.mark.parametrize("sample", [GAMMA, CONSTANT], ids=("gamma", "constant"))
def test_other_p99_are_near_a_simulation(
    sample: tuple[float, ...], workers: int, load: float
) -> None:
    rate = load * workers * 100
    simulated = simulate(sample, rate, workers)
    assert latency_quantile_ms(sample, rate, workers) == pytest.approx(simulated, rel=0.25)


def simulate(sample: tuple[float, ...], rate: float, workers: int, count: int = 60_000) -> float:
    rng = np.random.default_rng(1)
    arrivals = np.cumsum(rng.exponential(1e3 / rate, count))
    services = rng.choice(sample, count)
    free = [0.0] * workers
    latencies = np.empty(count)
    for index in range(count):
        start = max(arrivals[index], heapq.heappop(free))
        heapq.heappush(free, start + services[index])
        latencies[index] = start + services[index] - arrivals[index]
    return float(np.percentile(latencies, 99))


def test_too_much_waits_for_ever() -> None:
    assert math.isinf(mean_wait_ms(CONSTANT, 100, 1))
    assert math.isinf(latency_quantile_ms(CONSTANT, 250, 2))


def test_without_waits_the_service_and_what_is_besides_remain() -> None:
    assert latency_quantile_ms(CONSTANT, 1e-9, 1, beside_ms=3) == pytest.approx(13, abs=0.01)
