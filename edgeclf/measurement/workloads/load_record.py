"""The record of a load test: what `edgeclf load` writes and `edgeclf report` reads.

A step is one rate, or one number of clients, for some seconds. Its fields are in docs/serving.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeclf.system import files

SCHEMA = "edgeclf.load/1"
GOOD_SHARE = 0.95  # of what was offered, answered in time: less is beyond the knee

# Where a request's time goes, from the moment at which it should have been sent.
CLIENT = "client"  # it waits for the generator, or for one of its connections
NETWORK = "network"  # to the server and back, and what the server does before it counts
SERVICE = "service"  # HTTP, JSON and hand-overs inside the server
WORK = ("decode", "preprocess", "inference")
STAGES = (CLIENT, NETWORK, SERVICE, "queue", *WORK)

Step = Mapping[str, Any]


def read_load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `edgeclf load` wrote.

    Raises:
        OptionError: The file cannot be read, is no load test of this version, or holds no steps.
    """
    hint = "Expected the JSON file that 'edgeclf load' wrote."
    return files.read_record(Path(path), SCHEMA, "steps", hint)


def open_steps(steps: Sequence[Step]) -> list[Step]:
    """Those with arrivals at a rate, the slowest first."""
    return sorted(
        (step for step in steps if step["loop"] == "open"), key=lambda step: step["rate_per_s"]
    )


def closed_steps(steps: Sequence[Step]) -> list[Step]:
    """Those with clients that wait for their answers."""
    return [step for step in steps if step["loop"] == "closed"]


def good_share(step: Step) -> float:
    """Requests answered in time, as a share of those offered."""
    return float(step["on_time"]) / step["offered"] if step["offered"] else 0.0


def why_beyond(step: Step, deadline_ms: float) -> str | None:
    """Why a step lies beyond the knee, in words; None if it does not."""
    share = good_share(step)
    if share < GOOD_SHARE:
        return f"{100 * share:.1f} % of the requests were answered in time"
    p99 = step["latency_ms"] and step["latency_ms"]["p99"]
    if p99 is not None and p99 > deadline_ms:
        return f"p99 is {p99:.0f} ms, and the deadline {deadline_ms:g} ms"
    return None
