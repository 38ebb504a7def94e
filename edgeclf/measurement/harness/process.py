"""Runs one measurement in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from edgeclf.errors import MeasurementError

_TIMEOUT_S = 600
_TIMEOUT_S_PER_IMAGE = 1
_WORKER = (sys.executable, "-m", "edgeclf.measurement.harness.worker")


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Starts a fresh interpreter, gives it a job and waits for the result.

    Args:
        job: See `edgeclf.measurement.harness.worker`; plain JSON types. ``command`` names another
            process that takes a job as JSON from stdin and writes the result, or its ``error``, as
            JSON in the last line of stdout.

    Returns:
        The worker's result.

    Raises:
        MeasurementError: The measurement failed, the process died, or it took over ten minutes
            and a second for every picture.
    """
    pictures = len(job.get("images", ())) + len(job.get("answer", ()))
    timeout_s = _TIMEOUT_S + _TIMEOUT_S_PER_IMAGE * pictures
    job = {**job, "started_s": time.monotonic()}
    try:
        process = subprocess.run(
            job.get("command", _WORKER),
            input=json.dumps(job), capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"The measurement took longer than {timeout_s} s.") from None
    if process.returncode != 0 or not process.stdout.strip():
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise MeasurementError(f"The process ended with code {process.returncode}: {last}")
    result: dict[str, Any] = json.loads(process.stdout.strip().splitlines()[-1])
    if "error" in result:
        raise MeasurementError(result["error"])
    return result
