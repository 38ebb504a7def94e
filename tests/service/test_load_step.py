"""A step's figures, from outcomes that are known."""

from __future__ import annotations

import json

import pytest

from edgeclf.service.load.generator import TIMEOUT, Outcome, Run
from edgeclf.service.load.step import summarize
from support.load_records import make_step

TIMING = {"queue_ms": 2.0, "decode_ms": 1.0, "preprocess_ms": 0.5, "inference_ms": 3.0,
          "total_ms": 7.0}  # fmt: skip


def outcome(at: float, took_ms: float, status: int = 200, **more: object) -> Outcome:
    timing = json.dumps(TIMING).encode() if status == 200 else b""
    return Outcome(at, at, at, at + took_ms / 1e3, status, timing=timing)._replace(**more)


def figures(outcomes: list[Outcome], seconds: float = 10.0, deadline_ms: float = 100.0,
            **run: object) -> dict:  # type: ignore[type-arg]  # fmt: skip
    return summarize(Run(outcomes, seconds, 0.1, **run), seconds, deadline_ms)  # type: ignore[arg-type]


def test_every_request_is_counted_once() -> None:
    made = figures([
        outcome(0.1, 20), outcome(0.2, 99.9), outcome(0.3, 150), outcome(1.0, 2, 503),
        outcome(1.1, 4, 429), outcome(1.2, 3, 404),
        Outcome(1.3, 1.3, None, 11.3, 0, TIMEOUT), Outcome(1.4, 1.4, 1.4, 1.5, 0, "reset"),
    ])  # fmt: skip
    counts = {name: made[name] for name in ("offered", "accepted", "on_time", "late", "refused",
                                            "failed")}  # fmt: skip
    assert counts == {"offered": 8, "accepted": 3, "on_time": 2, "late": 1, "refused": 2,
                      "failed": 3}  # fmt: skip
    assert made["failures"] == {"reset": 1, TIMEOUT: 1}
    assert made["offered_per_s"] == 0.8 and made["goodput_per_s"] == pytest.approx(0.2)
    assert made["refusal_ms"]["p50"] == pytest.approx(3)
    assert made["latency_ms"]["n"] == 4 and made["from_send_ms"]["n"] == 3


def test_percentiles_that_n_cannot_carry_are_withheld() -> None:
    few = figures([outcome(0.01 * i, i) for i in range(99)])
    some = figures([outcome(0.001 * i, i / 10) for i in range(999)])
    many = figures([outcome(0.001 * i, i / 20) for i in range(2000)])
    assert few["latency_ms"]["p90"] is None and few["cdf_ms"][-1][0] < 0.9
    assert some["latency_ms"]["p90"] and some["latency_ms"]["p99"] is None
    assert many["latency_ms"]["p99"] == pytest.approx(99, abs=0.2)
    assert 0.99 <= many["cdf_ms"][-1][0] < 0.999
    assert many["cdf_ms"] == sorted(many["cdf_ms"])


def test_latency_counts_from_when_a_request_should_have_been_sent() -> None:
    made = figures([outcome(1.0, 50, noticed=1.01, sent=1.03)])
    assert made["latency_ms"]["p50"] == pytest.approx(50)
    assert made["from_send_ms"]["p50"] == pytest.approx(20)
    assert made["generator"]["mean_late_ms"] == pytest.approx(10)
    assert made["generator"]["saturated"]  # a fifth of that latency is the generator's own


def test_stages_sum_to_the_mean_latency() -> None:
    made = figures([outcome(1.0, 20, sent=1.004), outcome(2.0, 10)])
    stages = made["stages_ms"]
    assert stages["client"] == pytest.approx(2) and stages["service"] == pytest.approx(0.5)
    assert stages["network"] == pytest.approx((9 + 3) / 2) and stages["queue"] == 2.0
    assert sum(stages.values()) == pytest.approx(15)
    assert made["work_ms"] == {"n": 2, "mean": 4.5, "cv": 0.0}


@pytest.mark.parametrize("timing", [b"", b'{"queue_ms": 1}', b"{", b'{"queue_ms": null}', b"[1]"])
def test_servers_that_tell_nothing_have_no_stages(timing: bytes) -> None:
    made = figures([outcome(1.0, 20, timing=timing)])
    assert made["stages_ms"] is None and made["work_ms"] is None
    assert made["latency_ms"]["p50"] == pytest.approx(20)


def test_the_series_counts_each_second() -> None:
    made = figures([outcome(0.5, 10), outcome(0.9, 200), outcome(2.5, 1, 503)], 3.0)
    assert made["series"] == {
        "offered": [2, 0, 1], "accepted": [1, 1, 0], "refused": [0, 0, 1], "failed": [0, 0, 0],
    }  # fmt: skip


def test_a_generator_that_uses_a_whole_cpu_is_named() -> None:
    outcomes = [outcome(0.01 * index, 20) for index in range(100)]
    assert not summarize(Run(outcomes, 1.0, 0.3), 1.0, 100)["generator"]["saturated"]
    busy = summarize(Run(outcomes, 1.0, 0.9), 1.0, 100)["generator"]
    assert busy["saturated"] and busy["cpu_us_per_request"] == pytest.approx(9000)


def test_an_interrupted_step_lasted_as_long_as_it_ran() -> None:
    run = Run([outcome(0.01 * index, 20) for index in range(100)], 1.0, 0.1, interrupted=True)
    assert summarize(run, 10.0, 100)["offered_per_s"] == 100


def test_the_made_up_steps_are_what_they_say() -> None:
    step = make_step(800, refused=0.5, late=0.1)
    assert step["offered"] == 3200 and step["refused"] == 1600
    assert step["late"] == pytest.approx(320, abs=2)
