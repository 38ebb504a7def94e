"""What came of a step's requests, as the figures of a record."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from edgeclf.measurement.workloads.load_record import CLIENT, NETWORK, SERVICE, STAGES, WORK
from edgeclf.metrics.statistics import percentiles
from edgeclf.service.load.generator import TIMEOUT, Outcome, Run

REFUSED = (429, 503)
_CDF_SHARES = (
    *(round(0.02 * index, 2) for index in range(1, 50)), 0.99, 0.995, 0.999, 0.9995, 0.9999,
)  # fmt: skip
_BEYOND = 10  # samples that a share of the curve needs beyond it
_LATE_SHARE = 0.1  # of the mean latency: later than that, the generator is what was measured
_BUSY_SHARE = 0.8  # of one CPU, of which the generator can use no more


def summarize(run: Run, seconds: float, deadline_ms: float) -> dict[str, Any]:
    """A step's figures, as plain JSON types; docs/serving.md explains each.

    Latency counts from when a request should have been sent. A request that was given up counts
    with the time that it had waited until then, so that percentiles are not those of the lucky
    ones alone.

    Args:
        run: What came of it.
        seconds: How long requests came.
        deadline_ms: An answer after it is late.
    """
    outcomes = run.outcomes
    accepted = [each for each in outcomes if each.status == 200]
    refused = [each for each in outcomes if each.status in REFUSED]
    waited = [each for each in outcomes if each.failure == TIMEOUT]
    latencies = [_ms(each.done - each.scheduled) for each in (*accepted, *waited)]
    on_time = sum(_ms(each.done - each.scheduled) <= deadline_ms for each in accepted)
    lasted = min(seconds, run.seconds) if run.interrupted else seconds
    return {
        "seconds": lasted,
        "wall_s": run.seconds,
        "offered": len(outcomes),
        "accepted": len(accepted),
        "on_time": on_time,
        "late": len(accepted) - on_time,
        "refused": len(refused),
        "failed": len(outcomes) - len(accepted) - len(refused),
        "statuses": _counted(str(each.status) for each in outcomes if each.status),
        "failures": _counted(each.failure for each in outcomes if each.failure),
        "offered_per_s": len(outcomes) / lasted,
        # What is answered after the last has come was offered within the time, too.
        "accepted_per_s": len(accepted) / max(lasted, run.seconds),
        "goodput_per_s": on_time / max(lasted, run.seconds),
        "latency_ms": _percentiles(latencies),
        "from_send_ms": _percentiles(
            _ms(each.done - each.sent) for each in accepted if each.sent is not None
        ),
        "refusal_ms": _percentiles(_ms(each.done - each.scheduled) for each in refused),
        "cdf_ms": _cdf(latencies),
        "stages_ms": _stages(accepted),
        "work_ms": _work(accepted),
        "series": _series(outcomes, run.seconds),
        "generator": _generator(run, latencies),
        "interrupted": run.interrupted,
    }


def _ms(seconds: float) -> float:
    return seconds * 1e3


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))


def _percentiles(samples: Iterable[float]) -> dict[str, Any] | None:
    values = list(samples)
    return asdict(percentiles(values)) if values else None


def _cdf(latencies: Sequence[float]) -> list[list[float]]:
    """Pairs of share and ms, as far up as the sample carries."""
    n = len(latencies)
    shares = [share for share in _CDF_SHARES if n * (1 - share) >= _BEYOND]
    if not shares:
        return []
    values = np.quantile(latencies, shares)
    return [[share, float(value)] for share, value in zip(shares, values, strict=True)]


def timings(accepted: Sequence[Outcome]) -> list[tuple[Outcome, dict[str, float]]]:
    """Answers that say how long each of the server's stages took, with those milliseconds."""
    found = []
    for outcome in accepted:
        try:
            timing = json.loads(outcome.timing) if outcome.timing else {}
            stages = {name: float(timing[f"{name}_ms"]) for name in ("queue", *WORK, "total")}
        except (KeyError, TypeError, ValueError):
            continue
        if all(map(math.isfinite, stages.values())):
            found.append((outcome, stages))
    return found


def _stages(accepted: Sequence[Outcome]) -> dict[str, float] | None:
    """Mean milliseconds in each of `STAGES`, whose sum is the mean latency of these answers."""
    timed = timings(accepted)
    if not timed:
        return None
    parts = []
    for outcome, stages in timed:
        assert outcome.sent is not None
        inside = sum(stages[name] for name in ("queue", *WORK))
        parts.append({
            **stages,
            CLIENT: _ms(outcome.sent - outcome.scheduled),
            NETWORK: _ms(outcome.done - outcome.sent) - stages["total"],
            SERVICE: stages["total"] - inside,
        })  # fmt: skip
    return {name: statistics.fmean(part[name] for part in parts) for name in STAGES}


def _work(accepted: Sequence[Outcome]) -> dict[str, float] | None:
    """How long a worker had a picture: mean, and coefficient of variation."""
    times = [sum(stages[name] for name in WORK) for _, stages in timings(accepted)]
    if len(times) < 2:
        return None
    mean = statistics.fmean(times)
    return {"n": len(times), "mean": mean, "cv": statistics.stdev(times) / mean if mean else 0.0}


def _series(outcomes: Sequence[Outcome], seconds: float) -> dict[str, list[int]]:
    """Requests in each second, by when they should have been sent, and by when they ended."""
    length = max(1, math.ceil(seconds))
    series = {name: [0] * length for name in ("offered", "accepted", "refused", "failed")}
    for each in outcomes:
        series["offered"][min(int(each.scheduled), length - 1)] += 1
        kind = "accepted" if each.status == 200 else "failed"
        kind = "refused" if each.status in REFUSED else kind
        series[kind][min(int(each.done), length - 1)] += 1
    return series


def _generator(run: Run, latencies: Sequence[float]) -> dict[str, Any]:
    """What the generator itself took, and whether it kept up."""
    late_ms = [_ms(each.noticed - each.scheduled) for each in run.outcomes]
    share = run.cpu_s / run.seconds if run.seconds else 0.0
    mean_late = statistics.fmean(late_ms) if late_ms else 0.0
    mean = statistics.fmean(latencies) if latencies else math.inf
    return {
        "cpu_us_per_request": run.cpu_s * 1e6 / len(run.outcomes) if run.outcomes else None,
        "cpu_share": share,
        "late_ms": _percentiles(late_ms),
        "mean_late_ms": mean_late,
        "most_late_ms": max(late_ms, default=None),
        "connections": run.connections,
        "saturated": share > _BUSY_SHARE or mean_late > _LATE_SHARE * mean,
    }
