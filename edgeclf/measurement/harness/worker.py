"""The process that one measurement runs in: fresh, and ended with it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgeclf.measurement.jobs.base import Job, from_json, to_json

# Where each kind of job lies, so that a process can import its own alone.
KINDS = {
    "import": "edgeclf.measurement.jobs.imports:ImportJob",
    "memory": "edgeclf.measurement.jobs.memory:MemoryJob",
    "start": "edgeclf.measurement.jobs.start:StartJob",
    "latency": "edgeclf.measurement.jobs.latency:LatencyJob",
    "row": "edgeclf.measurement.jobs.row:RowJob",
    "inference": "edgeclf.measurement.jobs.inference:InferenceJob",
    "answers": "edgeclf.measurement.jobs.answers:AnswersJob",
    "profile": "edgeclf.measurement.jobs.profile:ProfileJob",
    "probes": "edgeclf.measurement.jobs.probes:ProbesJob",
}


def work(document: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Does the job that `edgeclf.measurement.harness.process.measure` gave.

    Args:
        document: ``kind``, ``job`` (its fields) and ``started_s``.
        payload: None.

    Raises:
        EdgeclfError: It cannot be measured.
    """
    module, _, name = KINDS[document["kind"]].partition(":")
    job: Job[Any] = from_json(getattr(import_module(module), name), document["job"])
    return to_json(job.run(document["started_s"])), b""
