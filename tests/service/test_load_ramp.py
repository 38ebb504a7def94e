"""The search for the knee: of servers whose capacity is known."""

from __future__ import annotations

from typing import Any

import pytest

from edgeclf.errors import OptionError
from edgeclf.service.load.config import LoadConfig
from edgeclf.service.load.ramp import Ramp, find_knee
from edgeclf.service.load.run import run_load
from edgeclf.service.load.target import make_target
from support.scripted_server import OneAfterTheOther, scripted

DEADLINE_MS = 100.0


def step(rate: float, capacity: float) -> dict[str, Any]:
    """What a perfect server of that capacity makes of a rate."""
    return {
        "loop": "open", "rate_per_s": rate, "offered": 1000,
        "on_time": round(1000 * min(1.0, capacity / rate)), "latency_ms": None,
    }  # fmt: skip


def climb(ramp: Ramp, capacity: float) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    while (rate := ramp.next_rate(steps)) is not None:
        steps.append(step(rate, capacity))
        assert len(steps) <= ramp.most_steps
    return steps


@pytest.mark.parametrize("capacity", [11.0, 37.0, 160.0, 333.0, 1000.0])
def test_the_knee_is_within_a_tenth(capacity: float) -> None:
    steps = climb(Ramp(10, 4000, DEADLINE_MS), capacity)
    knee = find_knee(steps, DEADLINE_MS)
    assert knee is not None
    most = capacity / 0.95  # so much more may be offered
    assert 0.9 * most <= knee["rate_per_s"] <= most < knee["beyond_per_s"]
    assert "% of the requests were answered in time" in knee["why"]


def test_a_knee_outside_the_ramp_is_said_to_be() -> None:
    above = climb(Ramp(10, 100, DEADLINE_MS), 5000)
    assert [each["rate_per_s"] for each in above] == [10, 20, 40, 80, 100]
    assert find_knee(above, DEADLINE_MS) == {
        "rate_per_s": 100, "beyond_per_s": None, "why": None
    }  # fmt: skip
    below = climb(Ramp(10, 100, DEADLINE_MS), 5)
    knee = find_knee(below, DEADLINE_MS)
    assert len(below) == 1 and knee is not None
    assert (knee["rate_per_s"], knee["beyond_per_s"]) == (None, 10)
    assert find_knee([], DEADLINE_MS) is None


def test_a_tail_beyond_the_deadline_is_beyond_the_knee() -> None:
    steps = [
        {**step(rate, 1000), "latency_ms": {"p99": p99}} for rate, p99 in ((10, 40), (20, 140))
    ]
    knee = find_knee(steps, DEADLINE_MS)
    assert knee is not None and knee["rate_per_s"] == 10
    assert knee["why"] == "p99 is 140 ms, and the deadline 100 ms"


def test_a_rate_that_holds_above_one_that_does_not_is_no_knee() -> None:
    steps = [step(10, 1000), step(20, 10), step(40, 1000)]
    knee = find_knee(steps, DEADLINE_MS)
    assert knee is not None and (knee["rate_per_s"], knee["beyond_per_s"]) == (10, 20)


def test_the_knee_of_a_real_server_is_found(tmp_path: Any) -> None:
    """Which answers 150 a second; other work can only lower that, so the best of three runs counts.

    Limits are wide, as this machine may be busy with other tests.
    """
    (tmp_path / "a.jpg").write_bytes(b"picture")
    config = LoadConfig(ramp=(40, 640), seconds=1.0, deadline_ms=400)
    with scripted() as server:
        target = make_target(server.url, tmp_path)
        for _ in range(3):
            server.restart(OneAfterTheOther(150, most_wait_s=0.1))
            record = run_load(target, config)
            knee = record["knee"]
            if (knee["rate_per_s"] or 0) >= 60:
                break
    assert 60 <= knee["rate_per_s"] <= 200 and knee["beyond_per_s"] <= 400
    hardest = max(record["steps"], key=lambda each: each["rate_per_s"])
    assert hardest["on_time"] < 0.95 * hardest["offered"] and hardest["failed"] == 0
    assert hardest["goodput_per_s"] <= 170
    assert record["steps"][0]["stages_ms"]["inference"] == pytest.approx(0.3)
    assert record["steps"][0]["server"] is None and record["answered_by"] == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Nothing is asked"),
        ({"rate": 0.0}, "rate is 0.0; expected more than 0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"clients": -1}, "clients is -1"),
        ({"rate": 1.0, "seconds": float("inf")}, "seconds is inf"),
        ({"rate": 1.0, "ramp": (1.0, 2.0)}, "Both a rate and a ramp"),
        ({"ramp": (5.0, 5.0)}, "expected it to rise"),
        ({"ramp": (0.0, 5.0)}, "first rate is 0.0"),
        ({"rate": 1e9}, "at most 100000"),
        ({"clients": 300}, "allow more"),
    ],
)
def test_numbers_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        LoadConfig(**given)
