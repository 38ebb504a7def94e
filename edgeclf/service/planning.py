"""`edgeclf serve --plan`: how many workers, replicas, CPUs and bytes a rate needs.

From what one picture costs (`edgeclf.service.profiles`) and how requests wait for workers
(`edgeclf.service.queueing`). An estimate; `Plan.check` says how to measure it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from edgeclf.errors import OptionError, ServiceError
from edgeclf.service.profiles import Profile
from edgeclf.service.queueing import latency_quantile_ms
from edgeclf.system.words import counted

UTILISATION = 0.7  # of the workers, at most: above, small errors of the estimate become long waits
_MOST_REPLICAS = 1000
_SAMPLES = 1000  # from which on a sample carries a p99
_SPARE_MEMORY = 1.25  # requested, for each byte that was measured
_LIMIT_MEMORY = 2.0
_MEGABYTES_STEP = 32


@dataclass(frozen=True)
class Demand:
    """What is asked of a service.

    Attributes:
        rate_per_s: Pictures a second, one in a request.
        p99_ms: In which 99 of 100 must be answered.
        most_workers: Of one replica.
        threads: Of each worker.
        queue: Pictures that may wait in one replica.

    Raises:
        OptionError: A number is not above 0.
    """

    rate_per_s: float
    p99_ms: float
    most_workers: int
    threads: int = 1
    queue: int = 64

    def __post_init__(self) -> None:
        for name in ("rate_per_s", "p99_ms"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise OptionError(f"{name} is {value}; expected more than 0.")


@dataclass(frozen=True)
class Plan:
    """What it takes.

    Attributes:
        replicas: Services that share the rate evenly.
        workers: Of each.
        threads: Of each worker.
        utilisation: Share of the time in which a worker has something to do.
        p99_ms: Expected.
        cpus: Of each replica.
        memory_bytes: Of each replica, to request; None if it is not known.
        limit_bytes: Of each replica, at most; likewise.
    """

    replicas: int
    workers: int
    threads: int
    utilisation: float
    p99_ms: float
    cpus: int
    memory_bytes: int | None
    limit_bytes: int | None


def make_plan(profile: Profile, demand: Demand) -> Plan:
    """The fewest replicas, and of those the fewest workers, that keep what is asked.

    Raises:
        ServiceError: No number of workers does.
    """
    mean = fmean(profile.service_ms)
    alone = latency_quantile_ms(profile.service_ms, 1e-9, 1, beside_ms=profile.beside_ms)
    if alone >= demand.p99_ms:
        raise ServiceError(
            f"One picture alone takes {alone:.3g} ms at p99 here, and {demand.p99_ms:g} ms are "
            "asked: no number of workers helps. Take an int8 file, a smaller student, smaller "
            "pictures, more threads or a faster machine; 'edgeclf load' says where the time goes."
        )
    for replicas in range(1, _MOST_REPLICAS + 1):
        rate = demand.rate_per_s / replicas
        for workers in range(1, demand.most_workers + 1):
            utilisation = rate * mean / 1e3 / workers
            if utilisation > UTILISATION:
                continue
            p99_ms = latency_quantile_ms(
                profile.service_ms, rate, workers, beside_ms=profile.beside_ms
            )
            if p99_ms <= demand.p99_ms:
                memory, limit = _memory(profile, demand)
                return Plan(
                    replicas, workers, demand.threads, utilisation, p99_ms,
                    workers * demand.threads, memory, limit,
                )  # fmt: skip
    raise ServiceError(
        f"{demand.rate_per_s:g} pictures a second of {mean:.3g} ms each need more than "
        f"{_MOST_REPLICAS:,} replicas. See whether the rate is meant."
    )


def to_text(plan: Plan, profile: Profile, demand: Demand, images: str | None) -> str:
    """The plan in words, with what it rests on and how to check it."""
    return "\n".join(_lines(plan, profile, demand, images))


def _lines(plan: Plan, profile: Profile, demand: Demand, images: str | None) -> Iterator[str]:
    mean = fmean(profile.service_ms)
    yield (
        f"{demand.rate_per_s:g} pictures a second with p99 <= {demand.p99_ms:g} ms: "
        f"{counted(plan.replicas, 'replica')} of {counted(plan.workers, 'worker')} with "
        f"{counted(plan.threads, 'thread')} each."
    )
    yield (
        f"Expected: p99 {plan.p99_ms:.3g} ms, workers busy {plan.utilisation:.0%} of the time (at "
        f"most {UTILISATION:.0%})."
    )
    yield (
        f"A picture keeps a worker busy for {mean:.3g} ms, and takes {profile.beside_ms:.2g} ms "
        f"besides; {profile.source}."
    )
    yield ""
    yield f"edgeclf serve FILE --threads {plan.threads} --workers {plan.workers}"
    yield ""
    yield f"replicas: {plan.replicas}"
    yield "resources:"
    yield f'  requests: {{cpu: "{plan.cpus}"{_amount(plan.memory_bytes)}}}'
    yield f'  limits: {{cpu: "{plan.cpus}"{_amount(plan.limit_bytes)}}}'
    yield ""
    yield "It rests on these assumptions:"
    for each in _assumptions(plan, profile):
        yield f"- {each}"
    rate = demand.rate_per_s / plan.replicas
    yield ""
    yield "Check it, for one replica, from another machine:"
    yield (
        f"edgeclf load http://HOST:PORT/classify --images {images or 'DIR'} --rate {rate:.4g} "
        f"--seconds {max(30, math.ceil(2 * _SAMPLES / rate))} --deadline-ms {demand.p99_ms:g}"
    )


def _assumptions(plan: Plan, profile: Profile) -> Iterator[str]:
    yield "The replicas' CPUs are as fast as this one, and nothing else runs on them."
    yield (
        "Pictures are like those measured, one in a request; they come one by one (Poisson), and "
        "evenly to the replicas."
    )
    yield "Waits by Allen and Cunneen's approximation of M/G/c with an exponential tail."
    if profile.cpu_ms is None:
        yield "HTTP around the model is not in it, nor in the CPUs; 'edgeclf load' measures that."
    if profile.measured < _SAMPLES:
        yield f"{profile.measured:,} pictures were measured; {_SAMPLES:,} would carry a p99."
    if plan.memory_bytes is None:
        yield "Memory was not measured."
    else:
        yield (
            f"Memory: {_SPARE_MEMORY:g} times what was measured, and a full queue of pictures; the "
            f"limit {_LIMIT_MEMORY:g} times. A swap of models holds two at once."
        )


def _memory(profile: Profile, demand: Demand) -> tuple[int | None, int | None]:
    if profile.memory_bytes is None:
        return None, None
    waiting = demand.queue * (profile.picture_bytes or 0.0)
    requested, limit = (
        _rounded_up(factor * profile.memory_bytes + waiting)
        for factor in (_SPARE_MEMORY, _LIMIT_MEMORY)
    )
    return requested, limit


def _rounded_up(size_bytes: float) -> int:
    step = _MEGABYTES_STEP * 2**20
    return math.ceil(size_bytes / step) * step


def _amount(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f", memory: {size_bytes // 2**20}Mi"
