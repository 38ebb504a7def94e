"""``NAME.trust.json``: what was measured of every calibrated file of a model, for a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeclf.artifact import Metadata
from edgeclf.system import files

SCHEMA = "edgeclf.trust/1"


def record_path(folder: Path, metadata: Metadata) -> Path:
    """Where the record of a model's files is."""
    return folder / f"{metadata.name}.trust.json"


def write_record(folder: Path, file: str, metadata: Metadata, result: Mapping[str, Any]) -> Path:
    """Adds one file's result to the record, or replaces it; the other files' stay.

    Args:
        folder: Where the file is.
        file: Its name.
        metadata: What it knows about itself.
        result: As `edgeclf.trust.calibration.calibrate_artifact` gives it.

    Returns:
        The record's path.
    """
    path = record_path(folder, metadata)
    document = {"schema": SCHEMA, "name": metadata.name, "labels": list(metadata.labels)}
    results = {**_results(path, document), file: result}
    files.write_json(path, {**document, "results": results})
    return path


def _results(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """The results in a record of the same model; none where there is no such record."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same = all(found[key] == value for key, value in document.items())
        return dict(found["results"]) if same else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
