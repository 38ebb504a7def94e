"""A made-up load test: what requests met at several rates, by the functions that sum it up."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from edgeclf.measurement.workloads.load_record import SCHEMA
from edgeclf.service.load.generator import Outcome, Run
from edgeclf.service.load.ramp import find_knee
from edgeclf.service.load.step import summarize
from edgeclf.system.environment import environment

DEADLINE_MS = 100.0
SECONDS = 4.0
WORK = {"decode": 1.0, "preprocess": 0.2, "inference": 3.0}


def timing(queue_ms: float, work: dict[str, float]) -> bytes:
    inside = queue_ms + sum(work.values())
    stages = {f"{name}_ms": value for name, value in work.items()}
    return json.dumps({"queue_ms": queue_ms, **stages, "total_ms": inside + 0.4}).encode()


def make_step(
    rate: float,
    *,
    queue_ms: float = 0.1,
    refused: float = 0.0,
    late: float = 0.0,
    failed: float = 0.0,
    network_ms: float = 0.5,
    work: dict[str, float] | None = None,
    clients: int | None = None,
    told: bool = True,
    cpus_used: float = 0.5,
    others: float = 0.0,
    noticed_ms: float = 0.0,
) -> dict[str, Any]:
    """A step of `SECONDS` at a rate, of which shares are refused, late or failed."""
    work = WORK if work is None else work
    count = round(rate * SECONDS)
    inside = (queue_ms + sum(work.values()) + 0.4 + network_ms) / 1e3
    outcomes = []
    for index in range(count):
        at, share = index / rate, (index * 37 % count) / count
        noticed = at + noticed_ms / 1e3
        if share < refused:
            outcomes.append(Outcome(at, noticed, noticed, noticed + 0.002, 503))
        elif share < refused + failed:
            outcomes.append(Outcome(at, noticed, noticed, noticed + 10, 0, "timeout"))
        else:
            extra = 0.2 if share < refused + failed + late else 0.001 * share
            answer = timing(queue_ms + extra * 1e3, work) if told else b""
            done = noticed + inside + extra
            outcomes.append(Outcome(at, noticed, noticed, done, 200, timing=answer))
    run = Run(outcomes, SECONDS, cpu_s=60e-6 * count, connections=8)
    answers = sum(each.status > 0 for each in outcomes)
    server = {
        "cpu_ms_per_request": cpus_used * SECONDS * 1e3 / max(answers, 1),
        "cpus_used": cpus_used,
        "rss_bytes": 80_000_000,
        "source": "/metrics",
    }
    open_loop = clients is None
    return {
        "loop": "open" if open_loop else "closed",
        "rate_per_s": rate if open_loop else None,
        "clients": clients,
        **summarize(run, SECONDS, DEADLINE_MS),
        "server": server if told and answers else None,
        "machine_cpus_busy": cpus_used + others + run.cpu_s / SECONDS,
    }


def make_record(steps: Iterable[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A ramp to the knee and beyond, or other steps, on a machine of two CPUs."""
    made = list(steps) if steps is not None else [
        make_step(430, clients=8, queue_ms=8.0, cpus_used=1.8),
        make_step(100, cpus_used=0.45),
        make_step(200, queue_ms=0.5, cpus_used=0.9),
        make_step(400, queue_ms=20.0, late=0.005, cpus_used=1.8),
        make_step(800, queue_ms=60.0, refused=0.5, cpus_used=1.9),
    ]  # fmt: skip
    return {
        "schema": SCHEMA,
        "url": "http://127.0.0.1:8080/classify",
        "images": {"count": 12, "mean_bytes": 30_000.0, "most_bytes": 60_000, "sha256": "ab" * 32},
        "seconds": SECONDS,
        "deadline_ms": DEADLINE_MS,
        "timeout_s": 10.0,
        "connections": 256,
        "seed": 0,
        "answered_by": [{"model": "mugs", "version": "1", "sha256": "cd" * 32}],
        "is_local": True,
        "steps": made,
        "knee": find_knee(made, DEADLINE_MS),
        "interrupted": False,
        "environment": {**environment(), "cpus_available": 2, "command": "edgeclf load"},
        **changes,
    }
