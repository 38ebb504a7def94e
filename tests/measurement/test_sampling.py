"""When samples are enough, what their distribution is, and how an open stream is answered."""

from __future__ import annotations

import io
import itertools
import statistics
import threading
import time
from collections.abc import Sequence

import pytest

from edgeclf.errors import OptionError
from edgeclf.measurement.workloads.open_loop import (
    arrival_times,
    measure_open_loop,
    sleep_precisely,
)
from edgeclf.measurement.workloads.sampling import Sampling, is_stable, sample, warm_up
from edgeclf.metrics.histogram import histogram
from edgeclf.system.progress import Progress


class Clock:
    """Time that passes only when something says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def caller(clock: Clock, durations_s: Sequence[float]) -> object:
    """A call that takes each of the durations in turn, over and over."""
    endless = itertools.cycle(durations_s)

    def call() -> tuple[float, float]:
        taken = next(endless)
        clock.pass_(taken)
        return 0.0, taken * 1e3

    return call


def test_three_windows_within_ten_percent_are_stable() -> None:
    assert not is_stable([1.0, 1.0])
    assert is_stable([1.0, 1.05, 1.1])
    assert not is_stable([1.0, 1.05, 1.11])
    assert is_stable([9.0, 1.0, 1.05, 1.1])


def test_sampling_ends_once_enough_and_stable() -> None:
    clock = Clock()
    rule = Sampling(window_s=1.0, min_samples=25, patience_s=20.0, max_s=60.0)
    found = sample(caller(clock, [0.125]), rule, clock=clock)
    assert found.stable and len(found.values) == 32
    assert found.windows_p50 == (125.0,) * 4
    assert found.values[0] == (0.0, 125.0)


def test_a_row_that_slows_down_is_sampled_longer_and_called_unstable() -> None:
    clock = Clock()
    rule = Sampling(window_s=1.0, min_samples=3, patience_s=9.0, max_s=60.0)
    slower = [0.1 * 1.06**step for step in range(200)]
    found = sample(caller(clock, slower), rule, clock=clock)
    assert not found.stable
    assert 9.0 <= clock.now - 100 < 12.0
    settled = [*slower[:20], *[slower[20]] * 500]
    clock = Clock()
    found = sample(caller(clock, settled), rule, clock=clock)
    assert found.stable and clock.now - 100 < 9.0


def test_a_slow_call_ends_with_fewer_samples_and_what_is_between_windows_is_no_sample() -> None:
    clock = Clock()
    rule = Sampling(window_s=1.0, min_samples=1000, patience_s=5.0, max_s=12.0)
    found = sample(caller(clock, [2.0]), rule, clock=clock, after_window=lambda: clock.pass_(1.0))
    assert len(found.values) == 4
    assert found.windows_p50 == (2000.0,) * 4


def test_warm_up_takes_ten_calls_and_a_fifth_of_a_second() -> None:
    slow, fast = Clock(), Clock()
    assert warm_up(lambda: slow.pass_(0.5), slow) == 10
    assert warm_up(lambda: fast.pass_(0.01), fast) in (20, 21)


def test_histogram_holds_every_sample() -> None:
    samples = [1.0, 1.0, 2.0, 5.0, 100.0]
    found = histogram(samples)
    assert len(found.edges) == len(found.counts) + 1 == 41
    assert sum(found.counts) == 5 and found.counts[0] == 2 and found.counts[-1] == 1
    assert found.edges[0] == 1.0 and found.edges[-1] == 100.0
    ratios = [b / a for a, b in itertools.pairwise(found.edges)]
    assert ratios == pytest.approx([100 ** (1 / 40)] * 40)
    assert histogram([3.0, 3.0]).counts == (2,)


def test_arrivals_are_poisson_and_the_same_for_the_same_seed() -> None:
    times = arrival_times(50.0, 200.0, seed=1)
    assert times == arrival_times(50.0, 200.0, seed=1) != arrival_times(50.0, 200.0, seed=2)
    assert list(times) == sorted(times) and times[-1] < 200.0
    gaps = [b - a for a, b in itertools.pairwise(times)]
    # Of 10,000 exponential gaps, mean and standard deviation are both 1 / rate, within 3 %.
    assert statistics.mean(gaps) == pytest.approx(0.02, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(0.02, rel=0.03)


def test_latency_counts_from_the_scheduled_arrival() -> None:
    clock = Clock()
    durations_s = [1.0 if index % 2 else 0.001 for index in range(500)]  # half of them stuck
    endless = iter(durations_s)
    found = measure_open_loop(
        lambda: clock.pass_(next(endless)), 1.6, duration_s=120.0, clock=clock, sleep=clock.pass_
    )
    free_at, latencies_ms = 0.0, []
    for due, taken in zip(arrival_times(1.6, 120.0, 0), durations_s, strict=False):
        free_at = max(due, free_at) + taken
        latencies_ms.append((free_at - due) * 1e3)
    assert found.sent == found.served == len(latencies_ms)
    assert found.latency_ms is not None and found.latency_ms.p90 is not None
    assert found.latency_ms.p50 == pytest.approx(statistics.median(latencies_ms), abs=1e-6)
    # A client that waits for its answer would see this; who came meanwhile waited longer.
    assert found.service_ms.p90 == pytest.approx(1000.0)
    assert found.latency_ms.p90 > 1500.0
    assert 0.6 < found.busy < 0.8


def test_latency_of_an_idle_service_is_the_service_alone() -> None:
    clock = Clock()
    found = measure_open_loop(
        lambda: clock.pass_(1e-6), 5.0, duration_s=60.0, clock=clock, sleep=clock.pass_
    )
    assert found.latency_ms is not None
    assert found.latency_ms.p50 == pytest.approx(found.service_ms.p50) == pytest.approx(1e-3)


def test_sleep_never_ends_early() -> None:
    for seconds in (0.0, 0.0002, 0.004):
        start = time.perf_counter()
        sleep_precisely(seconds)
        assert time.perf_counter() - start >= seconds


def test_what_spins_between_calls_is_in_the_cpu_time_and_waiting_for_them_is_not() -> None:
    idle = measure_open_loop(lambda: None, 25.0, duration_s=0.4)
    assert 0 <= idle.cpu_ms < 0.5, "sleep_precisely alone takes that long"
    done = threading.Event()

    def spin() -> None:
        while not done.is_set():
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        spun = measure_open_loop(lambda: None, 25.0, duration_s=0.4)
    finally:
        done.set()
        thread.join()
    assert spun.cpu_ms > 5.0, "of 40 ms between two calls"


def test_more_than_can_be_answered_ends_in_time_and_without_percentiles() -> None:
    clock = Clock()
    found = measure_open_loop(
        lambda: clock.pass_(0.5), 10.0, duration_s=20.0, clock=clock, sleep=clock.pass_
    )
    assert clock.now - 100 <= 2 * 20.0 + 0.5
    assert 0 < found.served < found.sent and found.latency_ms is None
    assert found.busy == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("rate", "duration"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0)])
def test_unusable_rates(rate: float, duration: float) -> None:
    with pytest.raises(OptionError, match="both above 0"):
        measure_open_loop(lambda: None, rate, duration_s=duration)


def test_progress_shows_a_long_step_at_once_and_the_time_left() -> None:
    stream = io.StringIO()  # as a log file: a line every 10 s, unless asked for
    progress = Progress("work", 4, stream)
    progress.show(note="first")
    progress.advance()
    assert stream.getvalue().count("\n") == 1 and "left" not in stream.getvalue()
    progress.show(note="second")
    last = stream.getvalue().splitlines()[-1]
    assert "25%" in last and "s left" in last and last.endswith("second")
    progress.advance(3)
    assert "100%" in stream.getvalue().splitlines()[-1]
