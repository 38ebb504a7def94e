"""`edgeclf serve --ray`: the service as an application of Ray Serve, from its start to its end."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeclf.errors import OptionError, ServiceError
from edgeclf.service.config import ServiceConfig, is_loopback
from edgeclf.service.keys import read_keys
from edgeclf.service.loading import read_version
from edgeclf.service.planning import UTILISATION
from edgeclf.service.ray_cluster import NAME, RayConfig, Signals, cluster, signals_of
from edgeclf.service.ray_replica import Board, Content, RayReplica, reason_of
from edgeclf.service.server import listening
from edgeclf.system.progress import log
from edgeclf.system.words import counted
from edgeclf.tables.ray_start import LOCAL

_BOARD = "edgeclf-board"
_START_S = 300.0
_POLL_S = 0.25
_GRACE_S = 5.0  # beyond the deadline, for answers on their way
_HEALTH_S = 2.0
_MOST_WAITING = 10_000  # replicas that wait for the end
# Between two looks of a proxy at replicas that are full. Ray's own, 25 ms and twice as long each
# time up to 0.5 s, leave a worker without work for a third of the time (benchmarks/ray_serving.py).
FIRST_PAUSE_S, MOST_PAUSE_S = 0.005, 0.02
AHEAD = 1  # request that a replica has beside those in work, so that no worker waits for Ray
_TRIES = 3  # to start a replica; what fails to verify does so each time
# What each replica would do on its own, or for itself, where one service does it once.
_ALONE = (
    "models", "watch_s", "shadow", "canary", "memory_mb", "registry", "tracking_uri", "poll_s",
    "registry_cache", "registry_secret", "monitor_state", "log", "sample_to", "fleet", "otel",
    "device",
)  # fmt: skip
_FLAGS = {"watch_s": "--watch", "poll_s": "--poll"}

Source = tuple[str, "str | None", "str | None"]


def check_options(config: ServiceConfig) -> None:
    """Refuses what does not work with replicas that Ray starts and ends as it likes.

    Raises:
        OptionError: Names the options, and what there is instead.
    """
    default = ServiceConfig()
    idle = [
        _FLAGS.get(name, "--" + name.replace("_", "-"))
        for name in _ALONE
        if getattr(config, name) != getattr(default, name)
    ]
    if idle:
        raise OptionError(
            f"{', '.join(idle)} cannot be with --ray: each replica would do that for itself. Leave "
            "that out, or run replicas behind HAProxy or on Kubernetes (docs/scaling.md)."
        )
    limited = [] if config.keys is None else [k.name for k in read_keys(config.keys) if k.rate]
    if limited:
        raise OptionError(
            f"{config.keys} limits the rate of {', '.join(limited)}, and with --ray each replica "
            "would allow it anew. Give these keys no rate, or put a proxy with limits before Ray."
        )


def run_ray(sources: Sequence[Source], config: ServiceConfig, where: RayConfig) -> None:
    """Serves artifacts on a cluster until a signal ends it; to be called in the main thread.

    SIGTERM: not ready at once, goes on for `drain_s`, answers what it has, ends. SIGINT (Ctrl-C)
    or a second signal: ends without going on. The application ends with this process's call.

    Raises:
        EdgeclfError: An artifact cannot be served, the cluster is not there or too small, or what
            it serves already is in the way.
        ImportError: Ray is not installed.
    """
    check_options(config)
    config = dataclasses.replace(config, workers=config.workers or 1)
    if where.address == LOCAL:
        with listening(config) as listener:  # whether it can: Ray's proxies tell nobody
            config = dataclasses.replace(config, port=listener.getsockname()[1])
    elif not config.port:
        raise OptionError("--port is 0; expected one that is free on the cluster's machines.")
    contents = [_content(source) for source in sources]  # before Ray, which takes its time
    start = time.perf_counter()
    # In this order: Ray takes SIGTERM for itself when it starts.
    with cluster(where, config) as ray, signals_of() as signals:
        application = _Application(ray, contents, config, where)
        try:
            application.start(signals)
            if not signals.first.is_set():
                log(
                    f"edgeclf: ready at {application.url} after "
                    f"{time.perf_counter() - start:.1f} s; {where.words} of "
                    f"{counted(config.worker_count, 'worker')}, "
                    f"{counted(config.threads, 'thread')} each, on Ray"
                )
                signals.first.wait()
            if signals.drains and not signals.second.is_set():
                application.drain()
                signals.second.wait(config.drain_s)
        finally:
            application.end()


def _content(source: Source) -> Content:
    path, model, number = source
    version = read_version(path, model, number)  # so that what is damaged costs no cluster
    return Path(path).read_bytes(), version.model, version.number


class _Application:
    """The application on the cluster."""

    def __init__(
        self, ray: Any, contents: Sequence[Content], config: ServiceConfig, where: RayConfig
    ) -> None:
        self._ray, self._serve = ray, ray.serve
        self._config, self._where = config, where
        self._running = False
        host = f"[{config.host}]" if ":" in config.host else config.host
        self.url = f"http://{host}:{config.port}"
        self._contents = contents
        self._board: Any = None

    def start(self, signals: Signals) -> None:
        """Starts Serve and the replicas, and waits until each has proven what it serves.

        Raises:
            ServiceError: They do not come.
        """
        config, serve = self._config, self._serve
        try:
            if serve.status().applications or serve.status().proxies:
                raise ServiceError(
                    "Serve runs on that cluster already, with addresses of its own "
                    f"({', '.join(serve.status().applications) or 'no application'}). End it with "
                    "'serve shutdown', or give another cluster."
                )
        except self._exceptions().RayServeException:  # none runs there
            pass
        self._running = True
        serve.start(
            proxy_location="HeadOnly" if is_loopback(config.host) else "EveryNode",
            http_options={
                "host": config.host,
                "port": config.port,
                "request_timeout_s": config.body_timeout_s + config.deadline_s + _GRACE_S,
            },
            logging_config={"enable_access_log": False, "log_level": "ERROR"},
        )
        keys = None if config.keys is None else Path(config.keys).read_bytes()
        # Not this process's own: a replica that Ray starts anew asks it, whatever became of us.
        self._board = (
            self._ray.remote(Board)
            .options(name=_BOARD, lifetime="detached", num_cpus=0, max_concurrency=_MOST_WAITING)
            .remote(self._contents, dataclasses.replace(config, keys=None), keys)
        )
        self._contents = ()
        deployment = _deployment(serve, config, self._where)
        target = serve.api.RunTarget(deployment.bind(self._board), name=NAME, route_prefix="/")
        serve.run_many(
            [target], wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )  # fmt: skip
        self._wait(signals)

    def _exceptions(self) -> Any:
        from ray.serve import exceptions

        return exceptions

    def _wait(self, signals: Signals) -> None:
        until = time.monotonic() + _START_S
        while not signals.first.wait(_POLL_S):
            application = self._serve.status().applications.get(NAME)
            if application is None:
                continue
            if application.status == "RUNNING":
                return
            said = application.message
            said += "".join(each.message for each in application.deployments.values())
            reason = reason_of(said)
            if reason is not None:
                raise ServiceError(f"A replica on Ray cannot serve: {reason}")
            if application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise ServiceError(f"Ray cannot run the replicas: {said.strip()}")
            if time.monotonic() > until:
                raise ServiceError(
                    f"The replicas are not there after {_START_S:g} s: {said.strip()} The cluster "
                    f"has {self._ray.cluster_resources().get('CPU', 0):g} CPUs; see that they are "
                    "free, or ask for fewer replicas."
                )

    def drain(self) -> None:
        """Lets each replica say that it is not ready, while it goes on."""
        with contextlib.suppress(Exception):
            self._ray.get(self._board.drain.remote(), timeout=_GRACE_S)

    def end(self) -> None:
        """Ends replicas once they have answered, and Serve with them."""
        if self._running:
            with contextlib.suppress(Exception):
                self._serve.delete(NAME)
            if self._where.address != LOCAL:  # else all of Ray ends with this process
                self._serve.shutdown()
        if self._board is not None:
            self._ray.kill(self._board)


def _deployment(serve: Any, config: ServiceConfig, where: RayConfig) -> Any:
    """How Ray Serve is to run the replicas."""
    options: Any = importlib.import_module("ray.serve.config")

    if not hasattr(options, "BackpressureConfig"):
        raise ServiceError(
            "This Ray cannot say when to ask again; expected Ray 2.60 or later. "
            "pip install -U 'ray[serve]'"
        )
    number: dict[str, Any] = {"num_replicas": where.most}
    if where.least < where.most:
        number = {"autoscaling_config": {
            "min_replicas": where.least, "max_replicas": where.most,
            "target_ongoing_requests": UTILISATION * config.worker_count,
        }}  # fmt: skip
    return serve.deployment(
        serve.ingress()(RayReplica),
        name=NAME,
        ray_actor_options={"num_cpus": config.worker_count * config.threads},
        max_ongoing_requests=config.worker_count + AHEAD,
        max_queued_requests=max(1, config.queue),
        request_router_config=options.RequestRouterConfig(
            initial_backoff_s=FIRST_PAUSE_S, max_backoff_s=MOST_PAUSE_S
        ),
        backpressure_config=options.BackpressureConfig(status_code=503, retry_after_s=1),
        graceful_shutdown_timeout_s=config.deadline_s + _GRACE_S,
        graceful_shutdown_wait_loop_s=_POLL_S,
        health_check_period_s=_HEALTH_S,
        max_constructor_retry_count=_TRIES,
        **number,
    )
