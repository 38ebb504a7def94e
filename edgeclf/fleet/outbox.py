"""Reports on their way: kept until the collector has them, so that none of it stops an update.

    outbox/COUNTER.json   a report that nobody has taken yet, the oldest first
    outbox/last.json      the last one that was put here: when, what it said, its counter

The counter of a device's reports only grows: it is the time in seconds, or one more than the last.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgeclf.errors import FleetError
from edgeclf.fleet.disk import locked, put, put_json, sync_folder
from edgeclf.fleet.signing import public_of, read_seed, sign
from edgeclf.system.progress import log

REPORT = "edgeclf.fleet.report/2"
SIGNED = "edgeclf.fleet.signed/1"
CONTEXT = b"edgeclf.fleet.report\n"  # before what is signed, so that it can be nothing else
MOST_BYTES = 65_536  # of a report, its signature included
_MOST_KEPT = 32
_HEARTBEAT_S = 6 * 3600.0  # between two reports where nothing changed
_TAKEN = (200, 201, 202, 204)
_HOPELESS = (400, 409, 413, 422)  # this report will never be taken

Post = Callable[[str, bytes], int]


class Outbox:
    """What a device has to say.

    Args:
        folder: The device's.
    """

    def __init__(self, folder: Path) -> None:
        self._device = folder
        self.path = folder / "outbox"

    def next_counter(self, before: int) -> int:
        """A counter above all that this device has used; before is that of its last report."""
        used = [before, int(self._last().get("counter", 0)), *map(_number, self._waiting())]
        return max(int(time.time()), max(used) + 1)

    def add(self, document: Mapping[str, Any]) -> bytes | None:
        """Puts a report here if it says something new, or nothing was said for a while.

        Returns:
            The report as it is sent, where the disk is too full to keep it.
        """
        last, at = self._last(), int(document["at"])
        essence = _essence(document)
        quiet_s = abs(at - last.get("at", 0))
        if essence == last.get("essence") and quiet_s < _HEARTBEAT_S:
            return None
        content = enveloped(document, read_seed(self._device))
        try:
            self.path.mkdir(exist_ok=True)
            for litter in self.path.glob(".*.new"):  # of a run that was cut off
                litter.unlink()
            put(self.path / f"{document['counter']:012}.json", content)
            for old in self._waiting()[:-_MOST_KEPT]:
                old.unlink()
            put_json(self.path / "last.json",
                     {"essence": essence, "at": at, "counter": document["counter"]})  # fmt: skip
        except OSError:
            return content
        return None

    def deliver(self, to: str, name: str, post: Post, unkept: bytes | None = None) -> None:
        """Sends what waits, the oldest first; what cannot be sent now waits on.

        Args:
            to: An address, or a folder.
            name: Of this device's file in a folder.
            post: Sends to an address, and gives the status.
            unkept: A report that could not be put here.
        """
        if not self.path.is_dir() and unkept is None:
            return
        if unkept is not None:
            _deliver(to, name, post, unkept)
        try:
            with locked(self._device / "report.lock", wait=False):
                for path in self._waiting():
                    if not _deliver(to, name, post, path.read_bytes()):
                        return
                    path.unlink()
                    sync_folder(self.path)
        except FleetError:  # another run sends them
            pass
        except OSError as exc:
            log(f"edgeclf: reports stay in {self.path}: {exc.strerror or exc}")

    def _waiting(self) -> list[Path]:
        return sorted(path for path in self.path.glob("*.json") if path.stem.isdecimal())

    def _last(self) -> dict[str, Any]:
        try:
            last = json.loads((self.path / "last.json").read_bytes())
            return {"essence": str(last["essence"]), "at": int(last["at"]),
                    "counter": int(last["counter"])}  # fmt: skip
        except (OSError, ValueError, LookupError, TypeError):
            return {}


def enveloped(document: Mapping[str, Any], seed: bytes | None) -> bytes:
    """A report as it is sent: as it is, or as a text with its signature."""
    text = json.dumps(document, separators=(",", ":"))
    if seed is None:
        return text.encode()
    signature, key = sign(seed, CONTEXT + text.encode()).hex(), public_of(seed).hex()
    document = {"schema": SIGNED, "report": text, "signature": signature, "key": key}
    return json.dumps(document).encode()


def _deliver(to: str, name: str, post: Post, content: bytes) -> bool:
    """Whether a report is done with: taken, or never to be."""
    if not to.startswith(("http://", "https://")):
        put(Path(to) / f"{quote(name, safe='')}.json", content)
        return True
    status = post(to, content)
    if status in _HOPELESS:
        log(f"edgeclf: {to} refuses a report with {status}; it is dropped.")
    elif status not in _TAKEN:
        log(f"edgeclf: {to} answers {status}; reports wait for the next run.")
    return status in _TAKEN + _HOPELESS


def _essence(document: Mapping[str, Any]) -> str:
    """What a report says besides when, and what it took."""
    outcome = document["outcome"]
    said = [outcome["kind"], outcome["reason"], outcome["running"], document["sha256"],
            document["on_trial"], sorted(document["bad"])]  # fmt: skip
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _number(path: Path) -> int:
    return int(path.stem)
