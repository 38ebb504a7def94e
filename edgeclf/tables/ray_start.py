"""Ray, started or joined, without telemetry, without its dashboard, and heard by nobody else."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeclf.errors import MissingDependencyError, OptionError, ServiceError, mapped
from edgeclf.system.cpu import available_cpus
from edgeclf.system.quiet import first_words_of

LOCAL = "local"
# Read by Ray as it starts; what the user has set stays, but for the telemetry.
_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # or any late call starts a second cluster, with its dashboard
}
_DEFAULTS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or it warns of what it will do one day
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # or it prints an error for each actor that starts well
}
_TOKEN = {"RAY_AUTH_MODE": "token"}  # Ray's default, without its warning
# Else the parts of a cluster listen on every address, and name the machine by one others reach.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_CONNECT_S = 5.0
_EXPECTED = (
    "Expected the address of a running cluster, such as HOST:6379 or auto; the same versions of "
    "Python and Ray here and there; and its token in ~/.ray/auth_token, if it asks for one."
)
_LOGS = "See the logs in /tmp/ray/session_latest/logs."


@contextmanager
def started_ray(
    address: str | None, purpose: str, cpus: int | None = None, namespace: str | None = None
) -> Iterator[ModuleType]:
    """Joins a Ray cluster, or starts one on this machine that ends with the block or the process.

    Where this process is on a cluster already, that one is taken, and stays. One that is started
    listens on loopback alone.

    Args:
        address: ``HOST:PORT`` of a cluster, ``auto`` for the one that runs on this machine, or
            ``local`` for a new one. None is what the variable ``RAY_ADDRESS`` says, else a new one.
        purpose: What needs it, as ``'edgeclf bulk --ray'``.
        cpus: Of a new one; by default those of this process.
        namespace: In which the names of actors are; Ray's own by default.

    Yields:
        The package ``ray``.

    Raises:
        MissingDependencyError: Ray is not installed.
        OptionError: That is no address.
        ServiceError: There is no cluster at that address, or none can be started.
    """
    place = address or os.environ.get("RAY_ADDRESS") or LOCAL
    ray = _import_ray(purpose, place)
    if ray.is_initialized():
        yield ray
        return
    where = "a Ray cluster on this machine" if place == LOCAL else f"the Ray cluster at {place}"
    with mapped(ServiceError, f"Cannot use {where}", _LOGS if place == LOCAL else _EXPECTED):
        _check_there(place)
        with first_words_of("ray"):
            _init(ray, place, cpus, namespace)
    yield ray
    # Not after an error: what Ray Data still holds needs it to be freed. It ends with the process.
    ray.shutdown()


def _import_ray(purpose: str, place: str) -> ModuleType:
    os.environ.update(_ALWAYS)
    defaults = dict(_DEFAULTS)
    if place == LOCAL:
        defaults |= _TOKEN | _LOOPBACK
    elif _has_token():  # Ray itself sends it to clusters that it starts alone
        defaults |= _TOKEN
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(exc.name or "ray", "ray", purpose) from exc
    module: ModuleType = ray
    return module


def _has_token() -> bool:
    """Whether this account has a token of Ray's, by whose presence `ray start` asks for it."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()


def _check_there(place: str) -> None:
    """Raises where nothing listens at ``HOST:PORT``: Ray itself would try for ten minutes."""
    if place in (LOCAL, "auto"):
        return
    host, separator, port = place.rpartition(":")
    if not separator or not port.isdecimal() or "/" in place:
        raise OptionError(
            f"The address is {place!r}; expected HOST:PORT of the cluster, or auto on one of its "
            "machines. Ray's client protocol is not spoken."
        )
    with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S):
        pass


def _init(ray: ModuleType, place: str, cpus: int | None, namespace: str | None) -> None:
    options: dict[str, Any] = {"address": place, "namespace": namespace}
    if place == LOCAL:
        options |= {
            "num_cpus": cpus or available_cpus(),
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
        }
    logging.getLogger("ray").setLevel(logging.ERROR)  # it says much before it is told not to
    ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
