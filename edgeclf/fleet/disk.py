"""Writing so that a power cut leaves the old file or the new one, and a lock that dies with us."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeclf.errors import FleetError


def put(path: Path, content: bytes) -> None:
    """Writes a file in one step that is on the disk when this returns.

    The name beside it is always the same: whoever is killed leaves one file, not one each time.
    """
    beside = path.with_name(f".{path.name}.new")
    with open(beside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def put_json(path: Path, document: Any) -> None:
    """Likewise, as JSON."""
    put(path, (json.dumps(document, indent=1) + "\n").encode())


def put_link(path: Path, target: str) -> None:
    """Points a symbolic link somewhere else, in one step."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Has the names in a folder on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Keeps others out of the block; the lock goes with the process, however that ends.

    Raises:
        FleetError: Somebody is in it, and this is not to wait.
    """
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise FleetError(
                f"{path} is held by another process that does the same. Wait until it has ended.",
                "busy",
            ) from None
        yield
    finally:
        os.close(handle)
