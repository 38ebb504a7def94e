"""Ray, started or joined, without telemetry and without its dashboard."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from edgeclf.errors import MissingDependencyError, ServiceError, mapped
from edgeclf.system.quiet import first_words_of

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
_LOCAL = "local"
_TIMEOUT_S = 10.0


@contextmanager
def started_ray(address: str | None, purpose: str, cpus: int | None = None) -> Iterator[ModuleType]:
    """Joins a Ray cluster, or starts one on this machine that ends with the block or the process.

    Where this process is on a cluster already, that one is taken, and stays.

    Args:
        address: ``HOST:PORT`` of a cluster, or ``auto`` for the one that runs on this machine. None
            is what the variable ``RAY_ADDRESS`` says, else a new one.
        purpose: What needs it, as ``'edgeclf bulk --ray'``.
        cpus: Of a new one; by default those of this process.

    Yields:
        The package ``ray``.

    Raises:
        MissingDependencyError: Ray is not installed.
        ServiceError: There is no cluster at that address, or none can be started.
    """
    ray = _import_ray(purpose)
    if ray.is_initialized():
        yield ray
        return
    place = address or os.environ.get("RAY_ADDRESS") or _LOCAL
    where = "a Ray cluster on this machine" if place == _LOCAL else f"the Ray cluster at {place}"
    advice = (
        "See the logs in /tmp/ray/session_latest/logs."
        if place == _LOCAL
        else "Expected HOST:PORT of its head, as 'ray status' prints it, and the same versions of "
        "Python and Ray here and there."
    )
    with mapped(ServiceError, f"Cannot use {where}", advice):
        _check_there(place)
        with first_words_of("ray"):
            _init(ray, place, cpus)
    yield ray
    # Not after an error: what Ray Data still holds needs it to be freed. It ends with the process.
    ray.shutdown()


def _import_ray(purpose: str) -> ModuleType:
    os.environ.update(_ALWAYS)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(exc.name or "ray", "ray", purpose) from exc
    module: ModuleType = ray
    return module


def _check_there(place: str) -> None:
    """Raises where nothing listens at ``HOST:PORT``: Ray itself would try for ten minutes."""
    host, separator, port = place.rpartition(":")
    if separator and port.isdecimal() and "/" not in place:
        with socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT_S):
            pass


def _init(ray: ModuleType, place: str, cpus: int | None) -> None:
    from edgeclf.system.cpu import available_cpus

    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    logging.getLogger("ray").setLevel(logging.ERROR)  # it says much before it is told not to
    if place != _LOCAL:
        ray.init(address=place, **quiet)
        return
    ray.init(address=_LOCAL, num_cpus=cpus or available_cpus(), include_dashboard=False, **quiet)
