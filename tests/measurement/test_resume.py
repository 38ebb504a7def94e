"""Which changes of the code make a measured row out of date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeclf.measurement.matrix import resume
from edgeclf.system.environment import environment
from edgeclf.system.imports import sources_of
from support import REPOSITORY

PACKAGE = REPOSITORY / "edgeclf"


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ("measurement/workloads/latency.py", False),
        ("measurement/matrix/cases.py", False),
        ("measurement/probes/memory.py", False),
        ("metrics/statistics.py", False),
        ("datasets/photos.py", False),
        ("artifact/metadata.py", False),
        ("inference/prediction.py", False),
        ("runtimes/litert.py", False),
        ("measurement/profiler/trace.py", True),
        ("measurement/matrix/gates.py", True),
        ("reporting/summary.py", True),
        ("training/fit.py", True),
    ],
)
def test_a_row_holds_while_the_code_that_makes_it_is_the_same(
    changed: str, holds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = PACKAGE / changed
    other = tmp_path / path.name
    other.write_bytes(path.read_bytes() + b"\n")

    def key(read: dict[Path, Path]) -> str:
        def sources(*names: str, **options: Any) -> list[Path]:
            files = sources_of(*names, **options, package=PACKAGE)
            return [read.get(file, file) for file in files]

        resume._code_sha256.cache_clear()
        monkeypatch.setattr(resume, "sources_of", sources)
        try:
            return resume.row_key(surroundings, {})
        finally:
            resume._code_sha256.cache_clear()

    surroundings = environment()
    assert (key({}) == key({path: other})) == holds
