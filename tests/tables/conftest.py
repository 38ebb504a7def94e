from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.tables import LEVELS, grey, rows_of

pytest.importorskip("pyarrow", reason="needs edgeclf[bulk]")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An artifact that the fake runtime takes: it answers dark, middle or bright."""
    from edgeclf.artifact import Metadata, save_artifact, seal_artifact
    from edgeclf.image import ImageSpec

    artifact = seal_artifact(b"", Metadata("shades", tuple(LEVELS), ImageSpec(32, 32)))
    path = save_artifact(artifact, tmp_path / "shades.onnx").path
    assert path is not None
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seven photos in folders, of which one is corrupt, and what is none."""
    folder = tmp_path / "photos"
    for name, level in (("a/1", 10), ("a/2", 128), ("b/1", 250), ("b/c/1", 10), ("b", 128)):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(grey(level))
    (folder / "a" / "broken.png").write_bytes(grey(10)[:60])
    (folder / "z.png").write_bytes(grey(250))
    (folder / "labels.txt").write_text("dark\nmiddle\nbright\n")
    (folder / ".hidden.png").write_bytes(grey(10))
    return folder


@pytest.fixture
def make(model: Path, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Makes a table with the fake runtime, and reads it."""
    import edgeclf

    def run(*source: object, to: str = "table.parquet", **options: Any) -> list[dict[str, Any]]:
        config = edgeclf.BulkConfig(**{"runtime": "fake", "unverified": True, **options})
        made = edgeclf.bulk(list(map(str, source)), model, tmp_path / to, config)
        found = rows_of(made.path)
        assert made.rows == len(found)
        assert made.failed == sum(row["error"] is not None for row in found)
        assert not made.path.with_name(f"{made.path.name}.parts").exists()
        return found

    return run
