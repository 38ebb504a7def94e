"""Stages of long work that are done again only when something they depend on has changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeclf.system import files
from edgeclf.system.progress import log


class Stages:
    """Runs named stages and remembers, by content, what each was made from and what it made.

    Args:
        folder: Where the records are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(
        self,
        name: str,
        work: Callable[[], object],
        *,
        settings: Any,
        inputs: Sequence[Path],
        outputs: Sequence[Path],
    ) -> bool:
        """Runs `work`, or says that its outputs are still good.

        They are when settings and input files are those of the last run and the output files
        are the ones it left.

        Args:
            name: The stage's name, also that of its record.
            work: Makes the outputs.
            settings: What else decides the outcome, as plain JSON types.
            inputs: Files that `work` reads; a folder stands for the files below it.
            outputs: Files that `work` writes.

        Returns:
            Whether it ran.
        """
        key = files.sha256_of(json.dumps(settings, sort_keys=True), *_files_below(inputs))
        record = self._folder / f"{name}.json"
        if _read(record) == {"key": key, "outputs": _hashes(outputs)}:
            log(f"== {name}: reused, its inputs have not changed")
            return False
        log(f"== {name}")
        record.unlink(missing_ok=True)
        work()
        files.write_json(record, {"key": key, "outputs": _hashes(outputs)})
        return True


def _files_below(paths: Sequence[Path]) -> list[str | Path]:
    """Names and files in turn, so that a rename counts as a change."""
    parts: list[str | Path] = []
    for path in paths:
        below = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in below:
            parts += [str(file.relative_to(path.parent)), file]
    return parts


def _hashes(outputs: Sequence[Path]) -> dict[str, str | None]:
    return {path.name: files.sha256_of(path) if path.exists() else None for path in outputs}


def _read(record: Path) -> Any:
    try:
        return json.loads(record.read_text())
    except (OSError, ValueError):
        return None
