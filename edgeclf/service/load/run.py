"""A whole load test: a look at the server, its steps, and the record of both."""

from __future__ import annotations

import json
import math
import statistics
from typing import Any

from edgeclf.errors import ServiceError
from edgeclf.measurement.workloads.load_record import SCHEMA
from edgeclf.measurement.workloads.open_loop import arrival_times
from edgeclf.service.load.arrivals import Arrivals, ClosedLoop, OpenLoop
from edgeclf.service.load.buckets import Buckets, Watch
from edgeclf.service.load.config import MOST_RATE, LoadConfig
from edgeclf.service.load.generator import Generator, Outcome, Run, Tick
from edgeclf.service.load.ramp import Ramp, find_knee
from edgeclf.service.load.server_side import (
    ServerSide,
    can_connect,
    fetch,
    machine_cpu_s,
    used,
)
from edgeclf.service.load.step import REFUSED, summarize
from edgeclf.service.load.target import Target
from edgeclf.system.environment import environment, library_versions
from edgeclf.system.progress import Progress, log

_WARM_UP_S = 0.5
_CLIENTS = 8  # of the step that tells a ramp where to begin
_FIRST_SHARE, _LAST_SHARE = 0.25, 4.0  # of what they were answered: where a ramp begins and ends
_LIBRARIES = ("httptools", "uvicorn", "starlette", "uvloop")


def run_load(
    target: Target, config: LoadConfig, pid: int | None = None, watch: Watch | None = None
) -> dict[str, Any]:
    """Loads a server as asked; ends by itself, and at Ctrl-C with what was measured until then.

    Args:
        target: The server, and what is sent.
        config: What is asked of it.
        pid: Of the server's process on this machine, for servers that have no ``/metrics``.
        watch: Is told what came of each second.

    Returns:
        A record of the schema ``edgeclf.load/1``; see docs/serving.md.

    Raises:
        ServiceError: Nothing answers there, or not to pictures.
    """
    tester = _Tester(target, config, ServerSide(target, pid), watch)
    answered_by = tester.look()
    tester.go()
    return {
        "schema": SCHEMA,
        "url": target.url,
        "images": {
            "count": len(target.sizes),
            "mean_bytes": statistics.fmean(target.sizes),
            "most_bytes": max(target.sizes),
            "sha256": target.sha256,
        },
        "seconds": config.seconds,
        "deadline_ms": config.deadline_ms,
        "timeout_s": config.timeout_s,
        "connections": config.connections,
        "seed": config.seed,
        "answered_by": answered_by,
        "is_local": target.is_local,
        "steps": tester.steps,
        "knee": None if config.ramp is None else find_knee(tester.steps, config.deadline_ms),
        "interrupted": tester.interrupted,
        "environment": _conditions(),
    }


class _Tester:
    """Does one step after the other and keeps what came of them."""

    def __init__(
        self, target: Target, config: LoadConfig, server: ServerSide, watch: Watch | None
    ) -> None:
        self.steps: list[dict[str, Any]] = []
        self.interrupted = False
        self._target, self._config, self._server = target, config, server
        self._watch = watch

    def look(self) -> list[dict[str, str]]:
        """Asks a few times, so that what cannot work is said at once; who answered, if it is told.

        Raises:
            ServiceError: Nothing answers, or not to pictures.
        """
        reason = can_connect(self._target)
        if reason:
            raise ServiceError(f"Nothing answers at {self._target.url}: {reason}.")
        run = self._generate(ClosedLoop(1, _WARM_UP_S))
        answers = [each for each in run.outcomes if each.status]
        if run.interrupted:
            raise KeyboardInterrupt
        if not answers:
            raise ServiceError(
                f"{self._target.url} gives no answer to a picture: "
                f"{run.outcomes[-1].failure if run.outcomes else 'nothing came'}."
            )
        status = answers[-1].status
        if status != 200 and status not in REFUSED:
            raise ServiceError(
                f"{self._target.url} answers a picture with the status {status}; expected a route "
                "that takes the bytes of an image file by POST, such as /classify"
                + (", and a key with --key-file." if status in (401, 403) else ".")
            )
        return _identity(fetch(self._target, "/healthz/ready"))

    def go(self) -> None:
        """All that is asked, or as much as there is until Ctrl-C.

        Raises:
            KeyboardInterrupt: Nothing was measured until then.
        """
        try:
            self._go(self._config)
        except KeyboardInterrupt:  # between two steps
            self.interrupted = True
        if self.interrupted and not self.steps:
            raise KeyboardInterrupt

    def _go(self, config: LoadConfig) -> None:
        if config.clients is not None or config.ramp == (None, None):
            self._closed(config.clients or _CLIENTS)
        if config.rate is not None and not self.interrupted:
            self._open(config.rate)
        if config.ramp is not None and not self.interrupted:
            self._climb(*config.ramp)

    def _climb(self, first: float | None, last: float | None) -> None:
        answered = self.steps[0]["accepted_per_s"] if self.steps else 0.0
        if first is None:
            first = _rounded(max(answered * _FIRST_SHARE, 1.0))
        if last is None:
            last = _rounded(min(max(answered * _LAST_SHARE, 2 * first), MOST_RATE))
        ramp = Ramp(first, last, self._config.deadline_ms)
        log(f"  a ramp from {first:.4g} to at most {last:.4g} a second: at most "
            f"{ramp.most_steps} steps of {self._config.seconds:g} s")  # fmt: skip
        while not self.interrupted and (rate := ramp.next_rate(self.steps)) is not None:
            self._open(rate)

    def _open(self, rate: float) -> None:
        times = arrival_times(rate, self._config.seconds, self._config.seed)
        asked = {"loop": "open", "rate_per_s": rate, "clients": None}
        self._step(OpenLoop(times), asked, f"{rate:.4g} a second")

    def _closed(self, clients: int) -> None:
        asked = {"loop": "closed", "rate_per_s": None, "clients": clients}
        self._step(ClosedLoop(clients, self._config.seconds), asked, f"{clients} clients")

    def _step(self, arrivals: Arrivals, asked: dict[str, Any], title: str) -> None:
        seconds = self._config.seconds
        progress = Progress(title, math.ceil(seconds))
        shown = 0
        buckets = None if self._watch is None else Buckets(
            {"step": len(self.steps), **asked}, self._watch
        )  # fmt: skip

        def tick(now: float, outcomes: list[Outcome], begun: int) -> None:
            nonlocal shown
            if buckets is not None:
                buckets.tick(now, outcomes, begun)
            passed = min(int(now), math.ceil(seconds) - 1)
            answered = sum(each.status == 200 for each in outcomes[-1000:])
            share = answered / max(1, min(len(outcomes), 1000))
            progress.advance(passed - shown, f"{len(outcomes):,} ended, {share:.0%} answered")
            shown = passed

        before, busy_before = self._server.read(), machine_cpu_s()
        run = self._generate(arrivals, tick)
        busy_after = machine_cpu_s()
        progress.advance(math.ceil(seconds) - shown)
        after = self._server.read()
        self.interrupted = run.interrupted
        if not run.outcomes:
            return
        if buckets is not None:
            buckets.end(run.seconds, run.outcomes)
        answers = sum(each.status > 0 for each in run.outcomes)
        self.steps.append({
            **asked,
            **summarize(run, seconds, self._config.deadline_ms),
            "server": used(before, after, answers, run.seconds),
            "machine_cpus_busy": None if busy_before is None or busy_after is None
            else (busy_after - busy_before) / run.seconds,
        })  # fmt: skip

    def _generate(self, arrivals: Arrivals, tick: Tick | None = None) -> Run:
        config = self._config
        return Generator(self._target, config.connections, config.timeout_s).run(arrivals, tick)


def _rounded(rate: float) -> float:
    return float(f"{rate:.2g}")


def _identity(ready: bytes) -> list[dict[str, str]]:
    """Versions that our own service says it serves; empty for other servers."""
    try:
        return [
            {key: str(each[key]) for key in ("model", "version", "sha256")}
            for each in json.loads(ready)["versions"]
        ]
    except (ValueError, KeyError, TypeError):
        return []


def _conditions() -> dict[str, Any]:
    found = environment()
    found["libraries"].update(library_versions(_LIBRARIES))
    return found
