"""What a device says of itself: what runs, by its disk, and what came of the last run."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeclf.errors import FleetError
from edgeclf.fleet.disk import put_json
from edgeclf.fleet.folder import Folder
from edgeclf.fleet.outbox import REPORT, Outbox
from edgeclf.fleet.provision import Device
from edgeclf.system.cpu import cpu_model
from edgeclf.system.files import sha256_of
from edgeclf.system.progress import log

_MOST_TEXT = 400  # letters of a reason
_MOST_BAD = 16
_SAID = ("kind", "reason", "running", "requests", "received_bytes")
_MOST_STATE_BYTES = 16 << 20


class Reporter:
    """Writes and sends the report of one run; nothing of it raises, and so stops no update.

    Args:
        folder: The device's.
        device: Who it is.
    """

    def __init__(self, folder: Folder, device: Device) -> None:
        self._folder, self._device = folder, device
        self._outbox = Outbox(folder.path)
        self._unkept: bytes | None = None
        self._written = False

    def write(self, outcome: Mapping[str, Any]) -> None:
        """Writes ``report.json``, and puts the same aside to be sent.

        Args:
            outcome: Of the run, as plain JSON types.
        """
        self._written = True
        with _harmless():
            document = self._document(outcome)
            # A full disk: the verb's own words, and what is sent, have to do.
            with contextlib.suppress(OSError):
                put_json(self._folder.path / "report.json", document)
            if self._device.report is not None:
                self._unkept = self._outbox.add(document)

    def _document(self, outcome: Mapping[str, Any]) -> dict[str, Any]:
        before = _read(self._folder.path / "report.json")
        counter = before.get("counter")
        document = document_of(self._folder, self._device, outcome)
        # What was found when the file came is known as long as that file runs.
        same = document["sha256"] is not None and before.get("sha256") == document["sha256"]
        kept = before.get("found") if same else None
        found = {**(kept if isinstance(kept, dict) else {}), **(outcome["found"] or {})}
        number = self._outbox.next_counter(counter if isinstance(counter, int) else 0)
        return {**document, "counter": number, "found": found or None}

    def send(self) -> None:
        """Sends what waits, where a report was written and there is somebody to send it to."""
        device = self._device
        if self._written and device.report is not None:
            with _harmless():
                self._outbox.deliver(
                    device.report, f"{device.name}.{device.device}", post, self._unkept
                )


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    try:
        yield
    except (FleetError, OSError, ImportError) as exc:
        log(f"edgeclf: no report: {exc}")


def document_of(folder: Folder, device: Device, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says, read from the disk."""
    path, state = folder.current(), folder.read()
    sha256 = None if path is None else sha256_of(path)
    bad = list(state.bad.items())[-_MOST_BAD:]
    return {
        "schema": REPORT,
        "device": device.device, "group": device.group, "name": device.name,
        "class": device.device_class or f"{platform.machine()} {cpu_model()}",
        "at": int(time.time()),
        "outcome": {**{key: outcome[key] for key in _SAID}, "text": outcome["text"][:_MOST_TEXT]},
        "file": path and path.name, "sha256": sha256, "on_trial": state.trial is not None,
        "bad": {hash_: reason[:_MOST_TEXT] for hash_, reason in bad},
        "drift": _drift(folder.path / "monitor.json", sha256),
    }  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def post(url: str, content: bytes) -> int:
    """Sends a report; its status, 0 where nobody answers."""
    import urllib3

    from edgeclf.fleet.http import Http

    http = Http(url)
    try:
        return http.post(url, content)
    except (urllib3.exceptions.HTTPError, OSError) as exc:
        log(f"edgeclf: {url} cannot be reached ({' '.join(str(exc).split())[:200]}).")
        return 0
    finally:
        http.close()


def _drift(path: Path, sha256: str | None) -> dict[str, Any] | None:
    """The pictures' histograms since the file was calibrated, as a service here keeps them.

    They are read from what ``edgeclf serve --monitor-state`` writes; None where there is none.
    """
    try:
        if sha256 is None or path.stat().st_size > _MOST_STATE_BYTES:
            return None
        signals = json.loads(path.read_bytes())["models"][sha256]["drift"]["signals"]
        return {
            str(name): {
                "reference": [int(count) for count in signal["reference"]],
                "counts": [
                    int(all_) - int(of_reference)
                    for all_, of_reference in zip(
                        signal["counts"], signal["reference"], strict=True
                    )
                ],
                "alarm": signal["alarm"] is not None,
            }
            for name, signal in signals.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
