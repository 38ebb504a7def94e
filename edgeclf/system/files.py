"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeclf.errors import OptionError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: str | Path, mode: int | None = None) -> Iterator[Path]:
    """Gives a temporary path beside `path` and renames it into place when the block succeeds.

    When the block fails, or is interrupted, the temporary file goes and `path` is as it was.

    Args:
        path: What is written.
        mode: Its permissions; by default those of any new file.

    Raises:
        OSError: It cannot be written; names `path`.
    """
    import tempfile  # not needed to read

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes the file private; an artifact is as readable as any new file.
        temporary.chmod(0o666 & ~_umask() if mode is None else mode)
        temporary.replace(path)
    except OSError as exc:
        if exc.filename in (None, name):  # a full disk has no name, and the temporary one is ours
            exc.filename = os.fspath(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_out(path: str | os.PathLike[str], *, is_folder: bool = False) -> None:
    """Refuses a place that cannot be written to, before there is work to lose; leaves nothing.

    Args:
        path: The file that is to be written.
        is_folder: Whether it is the folder for files instead.

    Raises:
        OptionError: It is of the other kind, below a file, has a name that no file can have, or is
            where this process may not write.
    """
    import tempfile

    given, path = os.fspath(path), Path(path)
    try:
        if not given:
            raise ValueError("it is empty, as of a shell variable that is not set")
        present = next(each for each in (path, *path.parents) if _exists(each))
        for name in path.parts[len(present.parts) :]:
            _exists(present / name)  # the system looks at names only below what is there
        if present is path and not is_folder:
            if path.exists() and not path.is_file():
                raise IsADirectoryError(errno.EISDIR, "it is no file that could be replaced")
            present = path.parent
        with tempfile.TemporaryFile(dir=present):
            pass
    except (OSError, ValueError, StopIteration) as exc:
        reason = getattr(exc, "strerror", None) or str(exc) or "the current folder is gone"
        raise OptionError(
            f"Nothing can be written to {given!r}: {reason}. Expected the name of a "
            f"{'folder' if is_folder else 'file'} that can be made there, or written to."
        ) from exc


def out_folder(out: str | os.PathLike[str] | None, usual: Path = Path()) -> Path:
    """The folder that results go to, if it can be written to.

    Args:
        out: What was asked for, as it was given: of an empty text, `Path` makes the current folder.
        usual: The folder without that.

    Raises:
        OptionError: As of `check_out`.
    """
    folder = usual if out is None else out
    check_out(folder, is_folder=True)
    return Path(folder)


def _exists(path: Path) -> bool:
    """Whether there is a file, folder or link; raises where there cannot be one."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def reserve(path: str | Path) -> None:
    """Takes the room on the disk that a file of holes will need.

    Filling one through a memory map on a full disk ends the process, without an error.

    Raises:
        OSError: There is not enough.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        except OSError as exc:
            if exc.errno in NO_ROOM:  # anything else is a file system that cannot reserve
                raise


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes `content` to `path` in one step."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Writes `content` to `path` in one step, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` to `path` in one step, as indented JSON; NaN, which JSON has not, as null."""
    write_text(path, json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n")


def read_record(path: Path, schema: str, part: str, hint: str) -> dict[str, Any]:
    """Reads a JSON record that says its schema and holds something under `part`.

    Args:
        path: The file.
        schema: What its ``schema`` must be.
        part: The member that must not be empty.
        hint: What was expected, and who writes it.

    Raises:
        OptionError: It cannot be read, or is no such record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise OptionError(f"Cannot read {path}: {exc.strerror}. {hint}") from exc
    except (ValueError, RecursionError) as exc:
        raise OptionError(f"{path} is not JSON: {exc}. {hint}") from exc
    own = record.get("schema") if isinstance(record, dict) else None
    if own != schema:
        raise OptionError(f"{path} has the schema {own!r}, not {schema!r}. {hint}")
    if not record.get(part):
        raise OptionError(f"{path} holds no {part}. {hint}")
    return dict(record)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256_of(*parts: bytes | str | Path) -> str:
    """The SHA-256 of bytes, texts and files in turn, as hex; a path stands for its content."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with open(part, "rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        else:
            digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()
