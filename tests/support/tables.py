"""Pictures, shards and tables for the tests of `edgeclf bulk`."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

LEVELS = {"dark": 10, "middle": 128, "bright": 250}


def grey(level: int, suffix: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 20), (level,) * 3).save(buffer, suffix)
    return buffer.getvalue()


def rows_of(table: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(table, partitioning=None).to_pylist()
    return rows


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
