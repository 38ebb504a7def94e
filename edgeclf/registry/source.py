"""Where registered versions come from, and how a file of theirs gets here whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from edgeclf.errors import IntegrityError, RegistryError
from edgeclf.registry.address import Address, is_server
from edgeclf.registry.tags import Entry
from edgeclf.system.files import sha256_of


class Source(Protocol):
    """A registry, as far as a service needs it."""

    def resolve(self, address: Address) -> Entry:
        """The version that an alias stands for now.

        Raises:
            RegistryError: The registry is away, or there is no such model or alias.
        """
        ...

    def download(self, entry: Entry, target: Path) -> None:
        """Writes a version's file to `target`; goes on where that holds the beginning of it.

        Raises:
            RegistryError: It did not come to its end.
        """
        ...


def open_source(tracking_uri: str) -> Source:
    """The registry at an address: a server is asked with Python alone, a database by MLflow.

    Raises:
        OptionError: The address cannot be one.
        MissingDependencyError: It is a database, and MLflow is not installed.
    """
    if is_server(tracking_uri):
        from edgeclf.registry.rest import RestSource

        return RestSource(tracking_uri)
    from edgeclf.registry.client import ClientSource

    return ClientSource(tracking_uri)


def default_cache() -> Path:
    """Where files of a registry are kept unless somebody says: in the user's cache."""
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "edgeclf" / "registry"
    )


class Cache:
    """Files of registered versions on this machine, each under its SHA-256.

    Args:
        folder: Where; made when the first file comes.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def fetch(self, source: Source, entry: Entry) -> Path:
        """A version's file: the one that is there, or downloaded now.

        A download that was cut off goes on where it stopped, if the registry lets it.

        Raises:
            RegistryError: It cannot be had now.
            IntegrityError: It is another file than the version's tag says.
        """
        path = self.path_of(entry)
        try:
            if path.is_file() and sha256_of(path) == entry.sha256:
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            # One name a process: two services may share the folder.
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            source.download(entry, part)
            self._check(part, entry)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as exc:
            raise RegistryError(
                f"Version {entry.version} of {entry.name!r} cannot be kept in {self.folder}: "
                f"{exc.strerror or exc}. Make room there, or name another folder."
            ) from exc
        return path

    def path_of(self, entry: Entry) -> Path:
        """Where a version's file is, or will be."""
        return self.folder / entry.sha256 / entry.file_name

    def _check(self, part: Path, entry: Entry) -> None:
        found = sha256_of(part)
        if found == entry.sha256:
            return
        part.unlink()  # going on from it would never end well
        raise IntegrityError(
            f"The file of version {entry.version} of {entry.name!r} has the SHA-256 {found}, and "
            f"its tag says {entry.sha256}: it was damaged or replaced in the registry. Register "
            "the file again."
        )
