"""Files here, and at the addresses that fsspec knows: listed, opened, told from later ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from edgeclf.datasets.folders import is_visible, reading
from edgeclf.errors import DataError, MissingDependencyError, mapped
from edgeclf.image import MAX_BYTES, is_url

_ADVICE = "Check the address, who may read it, and that the package for it is installed."
_VERSIONS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")


class File(NamedTuple):
    """A file that was found.

    Attributes:
        name: Its path below where it was looked for, with ``/``; all of it, if it was named itself.
        place: Where it can be read: an absolute path, or a URL.
        stamp: Size and what tells it from a later one.
    """

    name: str
    place: str
    stamp: str


def is_remote(place: str) -> bool:
    """Whether it is the address of something that is no file of this machine."""
    return is_url(place) and not place.startswith("file://")


def local(place: str) -> str:
    """An absolute path for a file of this machine; a URL as it is."""
    if is_remote(place):
        return place
    return os.path.abspath(place.removeprefix("file://"))  # noqa: PTH100 - keeps links


def joined(folder: str, name: str) -> str:
    """A name as seen from a folder."""
    if is_url(name) or not folder:
        return local(name)
    if is_url(folder):
        return f"{folder}{name}" if folder.endswith("/") else f"{folder}/{name}"
    return os.path.join(folder, name)  # noqa: PTH118 - a name may be absolute


def folder_of(place: str) -> str:
    """Where a file is, up to the slash."""
    return place[: place.rindex("/") + 1]


def find(name: str) -> tuple[bool, Iterator[File]]:
    """What a source names: a file, all files below a folder, or those that fit a pattern.

    Returns:
        Whether it is a folder, and the files, folder by folder in the order of their names.

    Raises:
        DataError: There is nothing, or it cannot be read.
    """
    place = local(name)
    if is_remote(place):
        return _find_remote(place)
    if os.path.isdir(place):  # noqa: PTH112
        return True, _walk(place, "", set())
    if os.path.exists(place) or not _is_pattern(place):  # noqa: PTH110
        with reading(Path(name)):
            return False, iter([File(name, place, _stamp(Path(place).stat()))])
    import glob

    found = [path for path in sorted(glob.glob(place, recursive=True)) if os.path.isfile(path)]  # noqa: PTH113, PTH207
    if not found:
        raise DataError(f"No file fits {name}; expected a folder, files or a pattern of such.")
    return False, (File(path, path, _stamp(Path(path).stat())) for path in found)


def _is_pattern(place: str) -> bool:
    return any(letter in place for letter in "*?[")


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def _walk(folder: str, prefix: str, above: set[tuple[int, int]]) -> Iterator[File]:
    """The visible files below a folder; a link into a circle ends."""
    with reading(Path(folder)):
        status = Path(folder).stat()
        identity = status.st_dev, status.st_ino
        if identity in above:
            return
        with os.scandir(folder) as listing:
            entries = sorted((each for each in listing if is_visible(each.name)),
                             key=lambda each: each.name)  # fmt: skip
    for entry in entries:
        name = prefix + entry.name
        with reading(Path(entry.path)):
            is_folder = entry.is_dir()
        if is_folder:
            yield from _walk(entry.path, f"{name}/", {*above, identity})
            continue
        try:
            stamp = _stamp(entry.stat())
        except OSError:  # a link to nowhere: whoever opens it learns what is wrong with it
            stamp = "gone"
        yield File(name, entry.path, stamp)


def _find_remote(url: str) -> tuple[bool, Iterator[File]]:
    with mapped(DataError, f"Cannot read {url}", _ADVICE):
        system, path = _system(url)
        if _is_pattern(path):
            infos = system.glob(path, detail=True)
            is_folder = False
        else:
            is_folder = system.isdir(path)
            infos = system.find(path, detail=True) if is_folder else {path: system.info(path)}
        named = {system.unstrip_protocol(key): info for key, info in infos.items()
                 if info["type"] == "file"}  # fmt: skip
        root = system.unstrip_protocol(path).rstrip("/") + "/" if is_folder else ""
    if not named:
        raise DataError(f"There is nothing at {url}. {_ADVICE}")
    files = (File(place.removeprefix(root), place, _remote_stamp(named[place]))
             for place in sorted(named))  # fmt: skip
    return is_folder, (
        file for file in files if not is_folder or all(map(is_visible, file.name.split("/")))
    )


def _remote_stamp(info: dict[str, Any]) -> str:
    version = next((info[key] for key in _VERSIONS if info.get(key) is not None), "")
    return f"{info.get('size')} {version}"


def _system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as exc:
        raise MissingDependencyError("fsspec", "bulk", f"Reading {url}") from exc
    system, path = url_to_fs(url)
    return system, path


@contextmanager
def opened(place: str) -> Iterator[IO[bytes]]:
    """Opens a file, wherever it is.

    Raises:
        DataError: It cannot be opened.
    """
    with mapped(DataError, f"Cannot open {place}", _ADVICE):
        if is_remote(place):
            system, path = _system(place)
            stream = system.open(path, "rb")
        else:
            stream = open(place, "rb")  # noqa: SIM115 - closed below
    with stream:
        yield stream


def fetch(place: str) -> bytes:
    """A picture's bytes; of one that is too large, enough to tell.

    Raises:
        DataError: It cannot be read.
    """
    with mapped(DataError, f"Cannot fetch {place}", _ADVICE), opened(place) as stream:
        content: bytes = stream.read(MAX_BYTES + 1)
        return content
