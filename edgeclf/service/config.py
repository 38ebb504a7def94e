"""What a service may be told."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, fields
from functools import lru_cache

from edgeclf.errors import OptionError
from edgeclf.system.cpu import available_cpus
from edgeclf.system.device import Device


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether an address, or a host's name, can only be of this very machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """How a service runs. Nothing of it says what it serves: that comes from the files.

    Attributes:
        host: Where it listens; anything but loopback needs a file of keys.
        port: Likewise; 0 for any free one.
        keys: The file of keys; None lets every client on this machine in.
        runtime: A runtime's name, or ``auto`` for what fits file and machine.
        device: Where the engines run.
        threads: Threads of one engine.
        workers: Threads that decode and answer, each with an engine of its own; by default as many
            as the CPUs divided by `threads`.
        queue: Pictures that may wait beside those that are answered.
        deadline_s: How long a picture may take; a client may ask for less.
        max_body_bytes: Of one request.
        max_held_bytes: Of the bodies of all requests at once.
        max_pictures: In one request.
        max_connections: Open at once; the next one is answered 503.
        header_timeout_s: In which a request's line and headers must have come.
        body_timeout_s: In which its body must.
        drain_s: How long it goes on after SIGTERM while it says that it is not ready.
        replay_minutes: Between two replays of each certificate.
        otel: Whether each request is told to OpenTelemetry, as its environment variables say.
        unverified: Whether files without a certificate are served.

    Raises:
        OptionError: A number is out of its range, or the threads are more than the CPUs.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    keys: str | None = None
    runtime: str = "auto"
    device: Device = "cpu"
    threads: int = 1
    workers: int | None = None
    queue: int = 64
    deadline_s: float = 10.0
    max_body_bytes: int = 32 * 2**20
    max_held_bytes: int = 256 * 2**20
    max_pictures: int = 32
    max_connections: int = 1024
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    drain_s: float = 5.0
    replay_minutes: float = 10.0
    otel: bool = False
    unverified: bool = False

    def __post_init__(self) -> None:
        least = {"port": 0, "queue": 0, "drain_s": 0, "replay_minutes": 0.01}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            lowest = least.get(each.name, 1 if isinstance(value, int) else 0.001)
            if not (math.isfinite(value) and value >= lowest):
                raise OptionError(f"{each.name} is {value}; expected at least {lowest}.")
        if self.port > 65_535:
            raise OptionError(f"port is {self.port}; expected 0 to 65535.")
        if self.keys is None and not is_loopback(self.host):
            raise OptionError(
                f"The host is {self.host}, which others can reach, and nothing says who may ask. "
                "Make a key with 'edgeclf serve --new-key NAME --keys FILE' and serve with --keys "
                "FILE, or listen at 127.0.0.1."
            )
        cpus = available_cpus()
        if self.threads * self.worker_count > cpus:
            raise OptionError(
                f"{self.worker_count} workers with {self.threads} threads each are "
                f"{self.threads * self.worker_count} threads, and this process may use {cpus} CPUs "
                "(by affinity and cgroup). Give fewer."
            )
        if self.max_body_bytes > self.max_held_bytes:
            raise OptionError(
                f"max_body_bytes is {self.max_body_bytes:,}, and all bodies together may take "
                f"{self.max_held_bytes:,} (max_held_bytes); give more room."
            )
        if self.max_pictures > self.capacity:
            raise OptionError(
                f"max_pictures is {self.max_pictures}, and no more than {self.capacity} pictures "
                "fit into the queue; make it longer."
            )

    @property
    def worker_count(self) -> int:
        """How many workers there are."""
        return self.workers or max(1, available_cpus() // self.threads)

    @property
    def capacity(self) -> int:
        """Pictures that may be in the service at once."""
        return self.queue + self.worker_count
