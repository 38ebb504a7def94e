"""Artifacts that are sent to a service: whole in the folder of models, or not there at all.

A file is written under a hidden name and renamed once it is on the disk. The writer holds a lock on
it, so that what a killed process left behind can be told from what another one is writing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from pathlib import Path

from edgeclf.service.catalog import Version
from edgeclf.service.loading import artifacts_in
from edgeclf.service.problem import Problem
from edgeclf.system.files import NO_ROOM

_PREFIX, _SUFFIX = ".edgeclf-", ".part"


def store(folder: str, version: Version) -> Path:
    """Keeps a version's artifact as ``MODEL/VERSION/MODEL.FORMAT``.

    Returns:
        Where.

    Raises:
        Problem: 409 there is another file for that version, so that two would be it; 507 there is
            no room, 500 it cannot be written for another reason.
    """
    names, artifact = (version.model, version.number), version.artifact
    path = Path(folder, *names, f"{version.model}.{artifact.format}")
    for other, *of in artifacts_in(folder):
        if tuple(of) == names and other != path:
            raise Problem(
                409, "exists",
                f"Version {version.number} of {version.model!r} has the file {other.name} already, "
                f"and this would be {path.name} beside it. Give it another version.",
            )  # fmt: skip
    try:
        write_whole(path, artifact.content)
    except OSError as exc:
        if exc.errno in NO_ROOM:
            raise Problem(
                507, "disk_full",
                f"There is no room for {path.name} ({artifact.size_bytes:,} bytes); nothing was "
                "left of it. Remove what is not served any more, and send it again.",
            ) from exc  # fmt: skip
        raise Problem(
            500, "not_stored", f"{path.name} cannot be written: {os.strerror(exc.errno or 0)}."
        ) from exc
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that there is all of it, or what there was before, whenever power fails.

    Its folder and the one above are made if there are none, and go again if it cannot be written.

    Raises:
        OSError: It cannot.
    """
    temporary = path.parent / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        for folder in path.parents[:3]:
            _sync(folder)
    except OSError:
        temporary.unlink(missing_ok=True)
        for folder in path.parents[:2]:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()
        raise


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as exc:
        if exc.errno != errno.EINVAL:  # a file system that keeps folders otherwise
            raise
    finally:
        os.close(handle)


def sweep(folder: str) -> None:
    """Removes what a process that was killed has left half-written."""
    for path in Path(folder).glob(f"**/{_PREFIX}*{_SUFFIX}"):
        # One that is gone, or somebody else's, is none of ours.
        with contextlib.suppress(OSError), open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
