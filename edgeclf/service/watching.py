"""A folder of models that is looked at again and again: what is new and whole is introduced."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeclf.errors import EdgeclfError, ServiceError
from edgeclf.service.loading import artifacts_in
from edgeclf.service.steering import file_gone
from edgeclf.service.uploads import sweep
from edgeclf.service.versions import Versions
from edgeclf.system.progress import log

State = tuple[int, int, int]
"""What changes with a file: its size, when it was written (ns) and which file it is (inode)."""


@dataclass(frozen=True)
class Found:
    """An artifact's file in the folder.

    Attributes:
        path: The file.
        model: The model's name; None where the file says it.
        number: The version's, likewise.
        state: What would be another one if it were written to.
    """

    path: Path
    model: str | None
    number: str | None
    state: State


class Folder:
    """Finds out what has changed in a folder.

    A file that is being copied there grows, or is another one at the next look: only one that two
    looks find alike is whole. What has been seen is not read again until it changes, damaged files
    included.

    Args:
        path: The folder: artifacts, or ``MODEL/VERSION/FILE``.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: dict[Path, State] = {}
        self._waiting: dict[Path, State] = {}

    def look(
        self, known: Iterable[Path] = (), *, settled: bool = False
    ) -> tuple[list[Found], list[Path]]:
        """Looks once.

        Args:
            known: Files that others have brought here, whether or not a look has found them.
            settled: Whether to take files as they are, as at the start.

        Returns:
            What is new and whole, and which of the files before are gone.

        Raises:
            ServiceError: The folder cannot be read; nothing is taken to be gone then.
        """
        found = []
        for path, model, number in artifacts_in(self.path):
            try:
                status = path.stat()
            except OSError:  # it went in between
                continue
            state = (status.st_size, status.st_mtime_ns, status.st_ino)
            found.append(Found(path, model, number, state))
        new = [each for each in found if self._seen.get(each.path) != each.state]
        whole = [each for each in new if settled or self._waiting.get(each.path) == each.state]
        gone = list({*self._seen, *known} - {each.path for each in found})
        self._waiting = {each.path: each.state for each in new if each not in whole}
        self._seen.update((each.path, each.state) for each in whole)
        for path in gone:
            self._seen.pop(path, None)
        return whole, gone


class Watcher:
    """Keeps what is served like a folder.

    Args:
        versions: What is served.
        path: The folder.
    """

    def __init__(self, versions: Versions, path: str) -> None:
        self._versions = versions
        self._folder = Folder(path)
        self.failure: EdgeclfError | None = None  # the last reason that a file was refused for

    async def start(self) -> None:
        """Introduces what lies there, and clears away what a killed process left half-written.

        Raises:
            ServiceError: The folder cannot be read.
        """
        await self._versions.in_loader(sweep, self._folder.path)
        await self._look(settled=True)

    async def watch(self, seconds: float) -> None:
        """Looks until it is cancelled."""
        trouble = ""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._look()
            except ServiceError as exc:  # a lost mount must not end what is served
                if str(exc) != trouble:
                    trouble = str(exc)
                    log(f"edgeclf: {trouble}")
            else:
                trouble = ""

    async def _look(self, *, settled: bool = False) -> None:
        known = self._known()
        whole, gone = await self._versions.in_loader(
            lambda: self._folder.look(known, settled=settled)
        )
        for found in whole:
            await self._introduce(found)
        for path in gone:
            await file_gone(self._versions, str(path))

    def _known(self) -> list[Path]:
        """The files of the folder that the service knows, such as those that were sent to it."""
        catalog = self._versions.catalog
        paths = [version.artifact.path for version in catalog]
        paths += [Path(path) for path in catalog.refused]
        return [p for p in paths if p is not None and p.is_relative_to(self._folder.path)]

    async def _introduce(self, found: Found) -> None:
        try:
            version = await self._versions.read(found.path, found.model, found.number)
        except EdgeclfError as exc:
            self.failure = exc
            self._versions.refuse_file(str(found.path), str(exc))
            return
        refused = self._versions.catalog.refused.get(str(found.path))
        if refused is not None and refused.sha256 == version.sha256:
            return  # by somebody who loaded it by hand before it was seen here
        try:
            await self._versions.introduce(version, replace=False)
        except EdgeclfError as exc:  # it is named where versions are listed
            self.failure = exc
