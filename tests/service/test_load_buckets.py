"""What a load test tells of each second, from outcomes that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeclf.cli import main
from edgeclf.service.load.buckets import Buckets
from edgeclf.service.load.generator import TIMEOUT, Outcome
from support.scripted_server import Reply, scripted
from support.services import shade

ASKED = {"step": 1, "loop": "open", "rate_per_s": 3.0, "clients": None}


def outcome(at: float, took_ms: float, status: int = 200, failure: str = "") -> Outcome:
    return Outcome(at, at, at, at + took_ms / 1e3, status, failure)


def test_each_request_is_told_of_once_and_in_its_second() -> None:
    told: list[Any] = []
    buckets = Buckets(ASKED, told.append)
    outcomes = [outcome(0.1, 10), outcome(0.2, 30), outcome(0.3, 1, 503)]
    buckets.tick(0.99, outcomes, 4)
    assert told == []
    buckets.tick(1.1, outcomes, 5)
    outcomes += [outcome(0.9, 10_000, 0, TIMEOUT), outcome(1.5, 5, 404), outcome(1.6, 7, 429)]
    buckets.end(1.8, outcomes)
    first, second = told
    assert {name: first[name] for name in ASKED} == ASKED
    assert (first["from_s"], first["to_s"], second["from_s"], second["to_s"]) == (0, 1.1, 1.1, 1.8)
    assert [b["offered"] for b in told] == [5, 1] and [b["accepted"] for b in told] == [2, 0]
    assert [b["refused"] for b in told] == [1, 1] and [b["failed"] for b in told] == [0, 2]
    assert first["latency_ms"]["p50"] == pytest.approx(20)
    assert first["refusal_ms"]["p99"] == pytest.approx(1)
    # One that was given up counts with the time that it had waited; a refusal has no latency.
    assert second["latency_ms"] == {"p50": 10_000, "p95": 10_000, "p99": 10_000}
    buckets.end(1.9, outcomes)
    assert len(told) == 2


def test_a_load_test_prints_a_line_for_each_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(shade(20))
    out = tmp_path / "load.json"
    with scripted(lambda number, now: Reply(0.001, 503 if number % 4 == 3 else 200)) as server:
        words = ["load", server.url, "--images", str(tmp_path), "--rate", "40", "--clients", "1",
                 "--seconds", "1.5", "--stream", "--out", str(out)]  # fmt: skip
        assert main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    steps = json.loads(out.read_text())["steps"]
    assert [step["loop"] for step in steps] == ["closed", "open"]
    for index, step in enumerate(steps):
        told = [line for line in lines if line["step"] == index]
        assert len(told) == 2 and {line["loop"] for line in told} == {step["loop"]}
        for name in ("offered", "accepted", "refused", "failed"):
            assert sum(line[name] for line in told) == step[name], name
