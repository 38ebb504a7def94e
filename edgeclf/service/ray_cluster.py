"""A Ray cluster for a service: the one at an address, or one of this machine alone."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf.errors import OptionError, ServiceError
from edgeclf.service.config import ServiceConfig
from edgeclf.system.cpu import available_cpus
from edgeclf.system.progress import log
from edgeclf.system.words import counted

NAME = "edgeclf"
LOCAL = "local"
_LOOPBACK = "127.0.0.1"
_CONNECT_S = 5.0
_EXPECTED = (
    "Expected the address of a running cluster, such as HOST:6379 or auto, or none for one of this "
    "machine; and its token in ~/.ray/auth_token, if it asks for one."
)


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
        OptionError: This machine has not so many CPUs.
        ServiceError: There is no such cluster.
        ImportError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    needed = where.least * config.worker_count * config.threads
    options: dict[str, Any] = {"address": where.address}
    if where.address == LOCAL:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray's default, without its warning
        # Else its parts listen on every address, and call the machine by one that others reach.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        most = where.most * config.worker_count * config.threads
        if most > available_cpus():
            raise OptionError(
                f"{where.words} of {config.worker_count * config.threads} CPUs are {most}, "
                f"and this process may use {available_cpus()}. Give fewer, or the address of a "
                "cluster: --ray ADDRESS."
            )
        options |= {"num_cpus": most, "include_dashboard": False, "_node_ip_address": _LOOPBACK}
    else:
        if where.address != "auto":
            _check_reachable(where.address)
        if _has_token():  # Ray itself sends it to clusters that it starts alone
            os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray
    import ray.serve

    for name in ("ray", "ray.serve"):  # after the import, which sets them
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, namespace=NAME, **options)
    except Exception as exc:  # of whatever kind its parts raise
        raise ServiceError(
            f"There is no Ray at {where.address!r}: {str(exc).strip() or type(exc).__name__}. "
            + _EXPECTED
        ) from exc
    started: Any = ray
    try:
        there = started.cluster_resources().get("CPU", 0)
        if there < needed:
            log(f"edgeclf: {needed} CPUs are needed and the cluster has {there:g} now; waits")
        yield started
    finally:
        started.shutdown()


def _has_token() -> bool:
    """Whether this account has a token of Ray's, by whose presence `ray start` asks for it."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit() or "://" in address:
        raise OptionError(
            f"The address is {address!r}; expected HOST:PORT of the cluster, or auto on one of its "
            "machines. Ray's client protocol is not spoken."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as exc:
        raise ServiceError(f"There is no Ray at {address!r}: {exc}. {_EXPECTED}") from exc


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
