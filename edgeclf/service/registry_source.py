"""What a registry's alias names is served: looked up again and again, fetched, proven, switched to.

The registry is never asked for an answer's sake: while it is away, what was served last goes on,
over a restart too, and readiness, admin index and metrics say since when.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeclf.errors import EdgeclfError, RegistryError, ServiceError
from edgeclf.registry.address import Address, parse_address, tracking_uri_of
from edgeclf.registry.source import Cache, Source, open_source
from edgeclf.registry.tags import FILE, SHA256, Entry, entry_of
from edgeclf.service import steering
from edgeclf.service.versions import Versions
from edgeclf.system.files import write_json
from edgeclf.system.progress import log


@dataclass
class Status:
    """How it goes with a registry.

    Attributes:
        wanted: The version that the alias named last; None before it was ever asked.
        refused: Why that version is not served; None if it is, or is being tried.
        away: Why the registry could not be asked; None if the last look succeeded.
        answered_at: When it last answered, in seconds since 1970; None for never.
    """

    wanted: Entry | None = None
    refused: str | None = None
    away: str | None = None
    answered_at: float | None = None


class RegistrySource:
    """Keeps what is served like an alias; used on the loop's thread, it works in the loader's.

    Args:
        versions: What is served.
        address: The alias.
        tracking_uri: Where the registry is.
        folder: Keeps the files, and what was served last.

    Raises:
        OptionError: The alias's address cannot be one.
    """

    def __init__(self, versions: Versions, address: str, tracking_uri: str | None,
                 folder: str | os.PathLike[str]) -> None:  # fmt: skip
        self.address: Address = parse_address(address)
        self.status = Status()
        self._uri = tracking_uri_of(tracking_uri)
        self._source: Source | None = None
        self._versions = versions
        self._cache = Cache(folder)
        self._last = Path(folder, f"{self.address.name}@{self.address.alias}.json")
        self._looking = asyncio.Lock()

    async def start(self) -> None:
        """Looks for the first time; serves what was served last where the registry is away.

        Raises:
            OptionError: The registry's address cannot be one.
            MissingDependencyError: It is a database, and MLflow is not installed.
        """
        self._source = await self._versions.in_loader(open_source, self._uri)
        await self.look()
        if self.status.away is None or self.address.name in self._versions.catalog.models:
            return
        entry = await self._versions.in_loader(self._remembered)
        if entry is not None:
            log(f"edgeclf: version {entry.version} of {entry.name!r}, which was served last, is "
                "served until the registry is back")  # fmt: skip
            await self._go_to(entry)

    async def watch(self, seconds: float) -> None:
        """Looks until it is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.look()

    async def look(self, *, again: bool = False) -> None:
        """Asks what the alias names, and goes there if that is another version than before.

        Args:
            again: Whether to try a version that was refused once more.
        """
        async with self._looking:
            status = self.status
            try:
                entry = await self._versions.in_loader(self._resolve)
            except EdgeclfError as exc:
                self._note_away(str(exc))
                return
            self._note_answer()
            if entry == status.wanted and (status.refused is None or not again):
                return
            await self._go_to(entry)

    async def _go_to(self, entry: Entry) -> None:
        status = self.status
        try:
            path = await self._versions.in_loader(self._fetch, entry)
            version = await self._versions.read(path, entry.name, entry.version)
            await self._introduce(version)
        except RegistryError as exc:
            # Its file cannot be had now: the next look tries again.
            self._refuse(entry, str(exc))
            status.wanted = None
        except EdgeclfError as exc:
            self._refuse(entry, str(exc))
            status.wanted = entry
        else:
            status.wanted, status.refused = entry, None
            await self._versions.in_loader(self._remember, entry)

    async def _introduce(self, version: Any) -> None:
        versions = self._versions
        found = await versions.introduce(version)
        model = versions.catalog.models[found.model]
        is_tried = model.trial is not None and model.trial.candidate is found
        # An alias may go back; numbers of versions only decide where nobody else does.
        if model.current is not found and not is_tried:
            await steering.promote(versions, found.model, found.number)

    def _resolve(self) -> Entry:
        assert self._source is not None
        return self._source.resolve(self.address)

    def _fetch(self, entry: Entry) -> Path:
        assert self._source is not None
        return self._cache.fetch(self._source, entry)

    def _refuse(self, entry: Entry, reason: str) -> None:
        text = f"version {entry.version} is not served: {reason}"
        if text != self.status.refused:
            log(f"edgeclf: {self.address}: {text}")
        self.status.refused = text

    def _note_away(self, reason: str) -> None:
        if self.status.away is None:
            log(f"edgeclf: {reason} What is served goes on.")
        self.status.away = reason
        self._versions.metrics.registry_up.labels(self.address.name).set(0)

    def _note_answer(self) -> None:
        if self.status.away is not None:
            log(f"edgeclf: the registry answers again for {self.address}")
        self.status.away, self.status.answered_at = None, time.time()
        metrics, name = self._versions.metrics, self.address.name
        metrics.registry_up.labels(name).set(1)
        metrics.registry_timestamp.labels(name).set(self.status.answered_at)

    def _remember(self, entry: Entry) -> None:
        try:
            write_json(self._last, {"version": entry.version, SHA256: entry.sha256,
                                    FILE: entry.file})  # fmt: skip
        except OSError as exc:  # it is served all the same
            log(f"edgeclf: {self._last} cannot be written: {exc.strerror}. After a restart, it "
                "will not be known without the registry.")  # fmt: skip

    def _remembered(self) -> Entry | None:
        try:
            found = json.loads(self._last.read_text(encoding="utf-8"))
            return entry_of(self.address.name, str(found["version"]), found)
        except (OSError, ValueError, LookupError, TypeError, RegistryError):
            return None

    def entry(self) -> dict[str, Any]:
        """How it goes, as plain JSON types."""
        status = self.status
        at = status.answered_at
        return {
            "model": str(self.address),
            "reachable": status.away is None and at is not None,
            "answered_at": at
            and datetime.fromtimestamp(at, timezone.utc).isoformat("T", "seconds"),
            "version": status.wanted and status.wanted.version,
            "problem": status.away or status.refused,
        }

    def problem(self) -> dict[str, Any] | None:
        """Why there is nothing to serve yet; None once there was."""
        if self.address.name in self._versions.catalog.models:
            return None
        reason = self.status.away or self.status.refused or "the registry is being asked"
        return {"model": self.address.name, "version": None, "state": "loading", "reason": reason}


def read_secret(path: str) -> bytes:
    """The secret that a registry signs with.

    Raises:
        ServiceError: The file cannot be read, or holds too little.
    """
    try:
        secret = Path(path).read_bytes().strip()
    except OSError as exc:
        raise ServiceError(
            f"Cannot read the registry's secret {path}: {exc.strerror}. Write one there that the "
            "webhook was made with."
        ) from exc
    if len(secret) < 16:
        raise ServiceError(
            f"The registry's secret in {path} has {len(secret)} bytes; expected at least 16. Make "
            "one: openssl rand -hex 32"
        )
    return secret
