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
        max_streams: Cameras' streams among them; the next one is answered 503.
        header_timeout_s: In which a request's line and headers must have come.
        body_timeout_s: In which its body must.
        drain_s: How long it goes on after SIGTERM while it says that it is not ready.
        replay_minutes: Between two replays of each certificate.
        otel: Whether each request is told to OpenTelemetry, as its environment variables say.
        unverified: Whether files without a certificate are served.
        models: A folder of artifacts, or of ``MODEL/VERSION/FILE``; a damaged one in it is named
            and the rest is served.
        watch_s: Between two looks at that folder for what is new; 0 looks at the start alone.
        shadow: Share of the pictures that a new version answers too, unseen, before it may answer
            for its model; 0 asks none.
        shadow_pictures: How many of them it is judged by.
        agreement: What the lower end of the 95 % interval of its agreement with the present one in
            the most probable class must reach then.
        canary: Share of the requests that a new version answers before it gets them all.
        canary_pictures: How many pictures it must have answered for that.
        memory_mb: Resident memory above which versions that nobody asks for are unloaded, in
            units of 1,000,000 bytes; None for no limit.
        max_model_bytes: Of an artifact that is sent to be served.
        ui: Whether a browser is shown the page at ``/``, and given the models' files.
        max_stress_rate: Requests a second that a stress test of the page may ask for.
        max_stress_clients: Clients likewise.
        max_stress_seconds: Of all its steps together.
        max_stress_pictures: That it may send in turn.
        max_stress_runs: Stress tests that are kept until the service ends.
        gallery: A folder of sample pictures, of which the page offers the first 24; None for none.
        monitor: Whether answers and pictures are watched for drift.
        monitor_state: A file in which what that knows outlives a restart.
        log: A file that gets a line of JSON for each request, or ``-`` for standard output.
        sample_to: A folder that gets some of the pictures, to be labelled.
        sample_files: How many at most.
        sample_mb: And of how much together, in units of 1,000,000 bytes.
        registry: What of a registry is served, as ``models:/NAME@ALIAS``; None for nothing.
        tracking_uri: Where the registry is; None for what MLflow's variable says.
        poll_s: Between two looks at what the alias names.
        registry_cache: The folder that keeps files of the registry; None for the user's cache.
        registry_secret: A file with the secret that the registry signs its webhooks with.
        fleet: Where the reports of devices that update themselves are kept: a file for SQLite, or
            an address that SQLAlchemy knows; None takes none.
        fleet_open: Whether devices that nobody has enrolled may report.

    Raises:
        OptionError: A number is out of its range, the threads are more than the CPUs, or so few
            pictures cannot show that agreement.
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
    max_streams: int = 64
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    drain_s: float = 5.0
    replay_minutes: float = 10.0
    otel: bool = False
    unverified: bool = False
    models: str | None = None
    watch_s: float = 2.0
    shadow: float = 0.0
    shadow_pictures: int = 200
    agreement: float = 0.95
    canary: float = 0.0
    canary_pictures: int = 200
    memory_mb: float | None = None
    max_model_bytes: int = 192 * 2**20
    ui: bool = False
    max_stress_rate: float = 2000.0
    max_stress_clients: int = 64
    max_stress_seconds: float = 300.0
    max_stress_pictures: int = 8
    max_stress_runs: int = 20
    gallery: str | None = None
    monitor: bool = True
    monitor_state: str | None = None
    log: str | None = None
    sample_to: str | None = None
    sample_files: int = 1000
    sample_mb: float = 500.0
    registry: str | None = None
    tracking_uri: str | None = None
    poll_s: float = 5.0
    registry_cache: str | None = None
    registry_secret: str | None = None
    fleet: str | None = None
    fleet_open: bool = False

    def __post_init__(self) -> None:
        least = {"port": 0, "queue": 0, "drain_s": 0, "replay_minutes": 0.01, "watch_s": 0,
                 "shadow": 0, "canary": 0}  # fmt: skip
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
        for name in ("shadow", "canary", "agreement"):
            if getattr(self, name) > 1:
                raise OptionError(f"{name} is {getattr(self, name)}, a share; expected at most 1.")
        if self.fleet_open and self.fleet is None:
            raise OptionError("fleet_open has no effect without fleet, which keeps the reports.")
        if self.shadow:
            self._check_shadow()
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

    def _check_shadow(self) -> None:
        from edgeclf.metrics.statistics import wilson_interval  # numpy: not for a verb's arguments

        most = wilson_interval(self.shadow_pictures, self.shadow_pictures)[0]
        if most < self.agreement:
            raise OptionError(
                f"Were all of {self.shadow_pictures} pictures answered alike, that would show an "
                f"agreement of at least {most:.4f}, and agreement is {self.agreement}. Give more "
                "shadow_pictures, or ask for less."
            )

    @property
    def worker_count(self) -> int:
        """How many workers there are."""
        return self.workers or max(1, available_cpus() // self.threads)

    @property
    def capacity(self) -> int:
        """Pictures that may be in the service at once."""
        return self.queue + self.worker_count
