"""Which rows of an earlier benchmark still hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from edgeclf.system import files
from edgeclf.system.imports import sources_of

# The process that measures can profile, too, but a profile is no row.
_DECIDES_NOTHING = ("edgeclf.measurement.profiler",)
_MACHINE = (
    "cpu", "cpu_flags", "cpus_available", "cpus_of_machine", "governor", "memory_bytes", "system",
    "kernel", "python", "libraries", "variables",
)  # fmt: skip


def row_key(environment: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """A hash of everything that must be the same for a row to hold.

    Args:
        environment: What `edgeclf.system.environment.environment` gave; machine, system and
            libraries of it count, date and command do not.
        settings: What else decides the row, as plain JSON types.
    """
    machine = {name: environment[name] for name in _MACHINE}
    return files.sha256_of(json.dumps([machine, settings], sort_keys=True), _code_sha256())


@cache
def _code_sha256() -> str:
    code = sources_of("edgeclf.measurement.matrix.rows", without=_DECIDES_NOTHING)
    return files.sha256_of(*code)


def finished_rows(path: Path, schema: str) -> dict[str, dict[str, Any]]:
    """The rows of an earlier result that did not fail, by their keys.

    Args:
        path: Where it may be; anything else there is as good as nothing.
        schema: The schema it must have.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(results, dict) or results.get("schema") != schema:
        return {}
    rows: list[dict[str, Any]] = results.get("rows", [])
    return {row["key"]: row for row in rows if "key" in row and row.get("error") is None}
