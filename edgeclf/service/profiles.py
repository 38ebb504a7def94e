"""What one picture costs a service here: measured on a service of its own, or read from a file."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from edgeclf.artifact import load_artifact
from edgeclf.errors import OptionError, ServiceError
from edgeclf.measurement.matrix import schema as benchmark
from edgeclf.measurement.workloads import load_record
from edgeclf.measurement.workloads.open_loop import arrival_times
from edgeclf.service.load.arrivals import ClosedLoop, OpenLoop
from edgeclf.service.load.generator import Generator
from edgeclf.service.load.local_server import local_server
from edgeclf.service.load.server_side import ServerSide, used
from edgeclf.service.load.step import timings
from edgeclf.service.load.target import make_target
from edgeclf.system.progress import log

_SECONDS = 8.0
_WARM_UP_S = 1.0
_BUSY = 0.3  # of what one client that waits is answered
_CONNECTIONS = 64
_TIMEOUT_S = 30.0
_SPREAD = 200  # values that stand for a distribution of which only mean and spread are known


@dataclass(frozen=True)
class Profile:
    """What a picture costs.

    Attributes:
        service_ms: A sample of how long a request keeps a worker and its CPU busy.
        beside_ms: What its answer takes besides, on average.
        cpu_ms: CPU time a request, of everything in the server; None if it is not known.
        memory_bytes: Of the process; None if it is not known.
        picture_bytes: Mean size of a picture; None if it is not known.
        measured: How many pictures it rests on.
        source: Where this is from, in words.
    """

    service_ms: tuple[float, ...]
    beside_ms: float
    cpu_ms: float | None
    memory_bytes: int | None
    picture_bytes: float | None
    measured: int
    source: str


def measure_profile(
    file: str, images: str | os.PathLike[str], serve: Sequence[str], seconds: float = _SECONDS
) -> Profile:
    """Serves a file in a process of its own and asks it, with pauses, as callers do.

    A client that sends one picture right after the other finds caches warm and threads awake, and
    measures less than callers will see.

    Args:
        file: The artifact.
        images: A folder of pictures like those that will come.
        serve: Further arguments of ``edgeclf serve``: threads, runtime, workers.
        seconds: How long it is asked.

    Raises:
        EdgeclfError: It cannot be served, or does not answer these pictures.
    """
    with local_server([file, *serve]) as url:
        target = make_target(f"{url}/classify", images)
        generator, server = Generator(target, _CONNECTIONS, _TIMEOUT_S), ServerSide(target)
        first = generator.run(ClosedLoop(1, _WARM_UP_S))
        rate = max(1.0, _BUSY * len(first.outcomes) / first.seconds)
        log(f"  asks the service at {url} for {seconds:g} s, {rate:.3g} times a second")
        before = server.read()
        run = generator.run(OpenLoop(arrival_times(rate, seconds, seed=0)))
        after = server.read()
    if first.interrupted or run.interrupted:
        raise KeyboardInterrupt
    accepted = [each for each in run.outcomes if each.status == 200]
    timed = timings(accepted)
    usage = used(before, after, len(run.outcomes), run.seconds)
    if len(timed) < 2 or usage is None:
        raise ServiceError(
            f"The service answered {len(accepted)} of {len(run.outcomes)} pictures from {images}; "
            "expected all. Try them with 'edgeclf classify'."
        )
    work = [sum(stages[name] for name in load_record.WORK) for _, stages in timed]
    whole_ms = statistics.fmean(
        (outcome.done - (outcome.sent or 0.0)) * 1e3 - stages["queue"] for outcome, stages in timed
    )
    return _profile(
        work, whole_ms, usage["cpu_ms_per_request"], usage["rss_bytes"],
        statistics.fmean(target.sizes), len(work),
        f"measured here: {len(work):,} pictures, {rate:.3g} a second, by a service of its own",
    )  # fmt: skip


def read_profile(path: str | os.PathLike[str], file: str | None, threads: int) -> Profile:
    """What a benchmark or a load test measured.

    Args:
        path: JSON that ``edgeclf benchmark`` or ``edgeclf load`` wrote.
        file: The artifact, whose row is looked for in a benchmark.
        threads: Of an engine, likewise.

    Raises:
        OptionError: It is neither, or holds no figures for that.
    """
    try:
        record = load_record.read_load(path)
    except OptionError:
        return _of_benchmark(path, benchmark.read_results(path), file, threads)
    steps = [*load_record.open_steps(record["steps"]), *load_record.closed_steps(record["steps"])]
    step = next((each for each in steps if each["work_ms"] and each["server"]), None)
    if step is None:
        raise OptionError(
            f"{path} does not say what a picture costs the server; expected a load test of an "
            "edgeclf service, which has /metrics."
        )
    work, server = step["work_ms"], step["server"]
    stages = step["stages_ms"]
    whole_ms = sum(stages.values()) - stages["queue"] - stages[load_record.CLIENT]
    name = Path(path).name
    return _profile(
        _spread(work["mean"], work["cv"]), whole_ms, server["cpu_ms_per_request"],
        server["rss_bytes"], record["images"]["mean_bytes"], work["n"],
        f"the least loaded step of {name}, {work['n']:,} pictures, taken to spread log-normally",
    )  # fmt: skip


def _of_benchmark(
    path: str | os.PathLike[str], results: Mapping[str, Any], file: str | None, threads: int
) -> Profile:
    sha256 = None if file is None else load_artifact(file).sha256
    rows = [
        row
        for row in results["rows"]
        if row["latency"] and row["batch"] == 1 and row["input"] == "photos"
        and (sha256 is None or row["sha256"] == sha256)
        and benchmark.row_threads(row) == threads
    ]  # fmt: skip
    if len(rows) != 1:
        raise OptionError(
            f"{path} holds {len(rows)} rows for {file or 'one file'} with photos, {threads} "
            "thread(s) and one picture a call; expected one. Measure it: edgeclf benchmark FILE "
            f"--images DIR --threads {threads}."
        )
    (row,) = rows
    histogram = row["latency"]["histogram"]
    edges, counts = np.asarray(histogram["edges_ms"]), np.asarray(histogram["counts"])
    times = np.repeat((edges[:-1] + edges[1:]) / 2, counts)
    return Profile(
        service_ms=tuple(float(each) for each in times),
        beside_ms=0.0,
        cpu_ms=None,
        memory_bytes=benchmark.steady_pss_bytes(row),
        picture_bytes=None,
        measured=len(times),
        source=f"{benchmark.row_name(row)} in {Path(path).name}, {len(times):,} pictures; what a "
        "server takes around them is not in it",
    )


def _profile(
    work: Sequence[float],
    whole_ms: float,
    cpu_ms: float,
    memory_bytes: int,
    picture_bytes: float,
    measured: int,
    source: str,
) -> Profile:
    """A worker's time, to which comes the CPU time that the server takes beside it."""
    mean = statistics.fmean(work)
    around = max(0.0, cpu_ms - mean)
    beside = max(0.0, whole_ms - mean - around)
    service = tuple(each + around for each in work)
    return Profile(service, beside, cpu_ms, memory_bytes, picture_bytes, measured, source)


def _spread(mean: float, cv: float) -> list[float]:
    """Values with that mean and spread, distributed log-normally."""
    sigma2 = float(np.log1p(cv**2))
    normal = NormalDist(float(np.log(mean)) - sigma2 / 2, max(sigma2**0.5, 1e-9))
    return [float(np.exp(normal.inv_cdf((index + 0.5) / _SPREAD))) for index in range(_SPREAD)]
