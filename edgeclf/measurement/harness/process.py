"""Runs one measurement in a process of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast

from edgeclf.errors import EdgeclfError, MeasurementError
from edgeclf.measurement.jobs.base import Job, from_json, to_json
from edgeclf.system.child_process import ChildError, function_command, run_child
from edgeclf.system.variables import measured_variables

R = TypeVar("R")

_TIMEOUT_S = 600
_TIMEOUT_S_PER_IMAGE = 1
_WORKER = "edgeclf.measurement.harness.worker:work"


@dataclass(frozen=True, kw_only=True)
class CommandJob(Job[dict[str, Any]]):
    """A job for another program, which serves it by `edgeclf.system.child.serve`.

    Attributes:
        command: The program and its arguments.
        document: What it gets, plain JSON types; ``started_s`` is added, the parent's monotonic
            clock when it was started. Its result is plain JSON types too.
    """

    kind: ClassVar[str] = "command"
    result: ClassVar[type] = dict

    command: tuple[str, ...]
    document: dict[str, Any]


def measure(job: Job[R]) -> R:
    """Starts a fresh process, gives it a job and waits for the result.

    It gets the environment of `edgeclf.system.variables.measured_variables`.

    Raises:
        MeasurementError: The measurement failed, the process died, or it took over ten minutes
            and a second for every picture.
    """
    timeout_s = _TIMEOUT_S + _TIMEOUT_S_PER_IMAGE * job.pictures
    started_s = time.monotonic()
    if isinstance(job, CommandJob):
        command, document = list(job.command), {**job.document, "started_s": started_s}
    else:
        command = function_command(_WORKER)
        document = {"kind": job.kind, "job": to_json(job), "started_s": started_s}
    try:
        answer = run_child(
            command, document, timeout_s=timeout_s, cpus=job.cpus, variables=measured_variables()
        )
    except ChildError as exc:
        raise MeasurementError(f"It was measured in a child process, and {exc}") from exc
    except EdgeclfError as exc:
        raise MeasurementError(str(exc)) from exc
    result: Any = answer.document
    if not isinstance(job, CommandJob):
        result = from_json(job.result, result)
    return cast(R, result)
