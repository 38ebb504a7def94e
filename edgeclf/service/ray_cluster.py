"""A Ray cluster for a service: the one at an address, or one of this machine alone."""

from __future__ import annotations

import contextlib
import importlib
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgeclf.errors import OptionError
from edgeclf.service.config import ServiceConfig
from edgeclf.system.cpu import available_cpus
from edgeclf.system.progress import log
from edgeclf.system.words import counted
from edgeclf.tables.ray_start import LOCAL, started_ray

NAME = "edgeclf"


@dataclass(frozen=True)
class RayConfig:
    """Where on Ray, and how often.

    Attributes:
        address: Of a cluster, as ``ray.init`` takes it; ``local`` starts one on this machine.
        least: Replicas at least.
        most: And at most; where it is more than `least`, Ray adds and takes away by the load.

    Raises:
        OptionError: These are no numbers of replicas.
    """

    address: str = LOCAL
    least: int = 1
    most: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise OptionError(
                f"--replicas is {self.least}:{self.most}; expected N, or LEAST:MOST with at least "
                "1 and LEAST not above MOST."
            )

    @property
    def words(self) -> str:
        """The number of replicas, for people."""
        if self.least == self.most:
            return counted(self.most, "replica")
        return f"{self.least} to {self.most} replicas"


@contextlib.contextmanager
def cluster(where: RayConfig, config: ServiceConfig) -> Iterator[Any]:
    """Ray, on a cluster that is there or on one of this machine alone, from its start to its end.

    One that it starts listens on loopback alone, has no dashboard, and tells Ray's makers nothing.

    Raises:
        OptionError: This machine has not so many CPUs, or that is no address.
        ServiceError: There is no such cluster.
        MissingDependencyError: Ray is not installed.
    """
    most = where.most * config.worker_count * config.threads
    if where.address == LOCAL and most > available_cpus():
        raise OptionError(
            f"{where.words} of {config.worker_count * config.threads} CPUs are {most}, "
            f"and this process may use {available_cpus()}. Give fewer, or the address of a "
            "cluster: --ray ADDRESS."
        )
    with started_ray(where.address, "'edgeclf serve --ray'", cpus=most, namespace=NAME) as ray:
        importlib.import_module("ray.serve")
        logging.getLogger("ray.serve").setLevel(logging.ERROR)  # after the import, which sets it
        needed = where.least * config.worker_count * config.threads
        there = ray.cluster_resources().get("CPU", 0)
        if there < needed:
            log(f"edgeclf: {needed} CPUs are needed and the cluster has {there:g} now; waits")
        yield ray


class Signals:
    """What signals have come, for a main thread that waits for them."""

    def __init__(self) -> None:
        self.first, self.second = threading.Event(), threading.Event()
        self.drains = False

    def handle(self, number: int, frame: object) -> None:
        """The first SIGTERM drains; anything after it, or Ctrl-C, ends."""
        if self.first.is_set() or number != signal.SIGTERM:
            self.second.set()
        else:
            self.drains = True
        self.first.set()


@contextlib.contextmanager
def signals_of() -> Iterator[Signals]:
    """Handles SIGTERM and Ctrl-C; within `cluster`, as Ray takes SIGTERM when it starts."""
    signals = Signals()
    handled = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.signal(each, signals.handle) for each in handled}
    try:
        yield signals
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
