"""What ``runtime="auto"`` means for a file on this machine, and why.

First what `edgeclf autotune` measured here, if the file and the machine are still the same; then
the usual runtime of the file's format; then any other installed one that takes it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf.artifact import Artifact
from edgeclf.errors import MissingDependencyError
from edgeclf.runtimes import (
    DEFAULT_RUNTIME,
    Device,
    import_runtime,
    runtime_names,
    runtimes_for,
)
from edgeclf.system.cpu import available_cpus, cpu_model

TUNING_VERSION = 2


@dataclass(frozen=True)
class Choice:
    """A runtime for an artifact.

    Attributes:
        runtime: Its name.
        threads: Threads for one call; None for as many CPUs as the process may use.
        reason: Why this one, in a sentence.
        batch: Pictures that are worth one call where several wait; 1 unless it was measured.
    """

    runtime: str
    threads: int | None
    reason: str
    batch: int = 1


def tuning_path(artifact_path: Path) -> Path:
    """Where `edgeclf autotune` keeps what it found about an artifact."""
    return artifact_path.with_name(artifact_path.name + ".tuning.json")


def tuning_conditions(artifact: Artifact, device: Device) -> dict[str, Any]:
    """What must be the same for a choice once measured to hold: the file and the machine."""
    return {
        "version": TUNING_VERSION,
        "seal": artifact.seal,
        "device": device,
        "cpu": cpu_model(),
        "cpus_available": available_cpus(),
    }


def choose_runtime(artifact: Artifact, device: Device) -> Choice:
    """Chooses for an artifact; never by measuring now.

    Raises:
        MissingDependencyError: No runtime that takes this format is installed; names the pip line
            of the usual one.
    """
    tuned, note = _tuned(artifact, device)
    if tuned is not None:
        return tuned
    usual = DEFAULT_RUNTIME[artifact.format]
    try:
        import_runtime(usual)
    except MissingDependencyError:
        others = runtimes_for(artifact.format)
        if not others:
            raise
        reason = f"{usual} is not installed, and {others[0]} takes .{artifact.format}{note}"
        return Choice(others[0], None, reason)
    return Choice(usual, None, f"the usual runtime of .{artifact.format} files{note}")


def _tuned(artifact: Artifact, device: Device) -> tuple[Choice | None, str]:
    """What was measured here; or None, with a remark where a record no longer fits."""
    path = tuning_path(artifact.path) if artifact.path is not None else None
    if path is None or not path.is_file():
        return None, ""
    try:
        record = json.loads(path.read_text())
        choice = Choice(
            record["runtime"],
            int(record["threads"]),
            str(record["reason"]),
            max(1, int(record["batch"])),
        )
        conditions = record["conditions"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, f"; {path.name} cannot be read and was passed over"
    if conditions != tuning_conditions(artifact, device):
        return None, f"; {path.name} is of another file, device or machine: run autotune again"
    if choice.runtime not in runtime_names():
        return (
            None,
            f"; {path.name} names {choice.runtime}, which is not installed: run autotune again",
        )
    return choice, ""
