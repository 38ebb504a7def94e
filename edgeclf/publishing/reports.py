"""What a device said of itself, read from what it sent: which file runs, what failed and why.

A report is what `edgeclf.fleet.reporting` writes, as it is or as a text with its signature. It says
what runs, by the hash of the file on the device's disk, and not what was ordered.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from edgeclf.errors import FleetError, OptionError
from edgeclf.fleet.outbox import MOST_BYTES, REPORT, SIGNED

_SHA256 = re.compile("[0-9a-f]{64}")
_MOST_COUNTER = 2**53
_MOST_LETTERS = {"device": 100, "group": 64, "name": 64, "class": 200}
_MOST_BINS, _MOST_SIGNALS = 64, 16


@dataclass(frozen=True)
class Report:
    """What a device said last.

    Attributes:
        device: Its name.
        group: Its group.
        name: The model's.
        device_class: What the device is one of.
        counter: Larger than that of each report before.
        at: When, in seconds since 1970: by the collector's clock where one took it, else by the
            device's own.
        sha256: Of the file that runs; None where nothing does.
        release: The counter of the order that brought it; None where the device does not know.
        on_trial: Whether that is not committed yet.
        kind: Of its last run's outcome, as `edgeclf.fleet.updating.Outcome` has it.
        reason: Why it failed, as a word.
        text: The same for people.
        bad: Hashes that failed there, with the reason.
        latency_ms: Of one picture there, by the model that runs; None where it was not measured.
        agreement: Share of kept frames that it answered as the model before; likewise.
        drift: By signal, ``reference`` and ``counts`` of a histogram and whether there is an
            ``alarm``.
        signed: Whether its signature was compared with the device's key.
    """

    device: str
    group: str
    name: str
    device_class: str
    counter: int
    at: float
    sha256: str | None
    release: int | None
    on_trial: bool
    kind: str
    reason: str
    text: str
    bad: Mapping[str, str]
    latency_ms: float | None = None
    agreement: float | None = None
    drift: Mapping[str, Mapping[str, Any]] | None = None
    signed: bool = False


@dataclass(frozen=True)
class Sent:
    """What a device sent.

    Attributes:
        report: What it says.
        text: The same, as it was signed.
        signature: Of the text, hex; None where there is none.
        key: By which, as the sender says: hex, to be believed only of whoever is known by it.
    """

    report: Report
    text: str
    signature: str | None = None
    key: str | None = None


def open_report(content: bytes | str) -> Sent:
    """Reads what a device sent; no signature is compared.

    Raises:
        FleetError: It is no report: too long, no JSON, or not what the schema says.
    """
    if len(content) > MOST_BYTES:
        raise FleetError(
            f"A report of {len(content):,} bytes; expected {MOST_BYTES:,} at most.", "report"
        )
    try:
        document = _object(content)
        if document.get("schema") != SIGNED:
            return Sent(_of(document), content.decode() if isinstance(content, bytes) else content)
        text, signature, key = (document[name] for name in ("report", "signature", "key"))
        if not all(isinstance(each, str) for each in (text, signature, key)):
            raise TypeError("something in it is no text")
        return Sent(_of(_object(text)), text, signature, key)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
        raise FleetError(
            f"It is no report of a device ({type(exc).__name__} {str(exc)[:100]}); expected what "
            "'edgeclf update --report' sends, of this version.",
            "report",
        ) from exc


def read_reports(folder: str | os.PathLike[str]) -> tuple[list[Report], list[str]]:
    """Reads every ``*.json`` below a folder that is a report.

    Returns:
        The newest report of each device, by its counter, and why others could not be read.

    Raises:
        OptionError: There is no such folder.
    """
    newest: dict[tuple[str, str], Report] = {}
    found, strange = files_of(folder)
    for path, content in found:
        try:
            report = open_report(content).report
        except FleetError as exc:
            strange.append(f"{path}: {exc}")
            continue
        key = (report.name, report.device)
        if key not in newest or newest[key].counter < report.counter:
            newest[key] = report
    return list(newest.values()), strange


def files_of(folder: str | os.PathLike[str]) -> tuple[list[tuple[Path, bytes]], list[str]]:
    """What below a folder seems to be reports, and why others could not be read.

    Raises:
        OptionError: There is no such folder.
    """
    place = Path(folder)
    if not place.is_dir():
        raise OptionError(f"{place} is no folder; expected the reports of devices, *.json.")
    found, strange = [], []
    for path in sorted(place.rglob("*.json")):
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError(f"it is larger than {MOST_BYTES:,} bytes")
            content = path.read_bytes()
            document = json.loads(content)
        except (OSError, ValueError, RecursionError) as exc:
            strange.append(f"{path}: {type(exc).__name__} {exc}")
            continue
        # state.json and the like lie beside
        if isinstance(document, dict) and document.get("schema") in (REPORT, SIGNED):
            found.append((path, content))
    return found, strange


def received(report: Report, at: float, *, signed: bool) -> Report:
    """A report as a collector knows it: when it came by its own clock, and whose it is."""
    return replace(report, at=at, signed=signed)


def _object(content: bytes | str) -> dict[str, Any]:
    document = json.loads(content, parse_constant=_no_number)
    if not isinstance(document, dict):
        raise TypeError("it is no object")
    return document


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _of(document: Mapping[str, Any]) -> Report:
    if document["schema"] != REPORT:
        raise ValueError(f"schema {str(document['schema'])[:60]!r}")
    outcome, bad = document["outcome"], {**document["bad"]}
    names = [document[each] for each in _MOST_LETTERS]
    texts = [outcome["kind"], outcome["reason"], outcome["text"], *bad, *bad.values()]
    sha256, running, found = document["sha256"], outcome["running"], document["found"] or {}
    if not all(isinstance(text, str) for text in (*names, *texts)):
        raise TypeError("something in it is no text")
    for text, most in zip(names, _MOST_LETTERS.values(), strict=True):
        text.encode()  # half a letter fails here
        if not 0 < len(text) <= most or "\0" in text:
            raise ValueError(f"{text[:60]!r} has {len(text)} letters")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise ValueError("its hash is none")
    release = running["counter"] if running and running["sha256"] == sha256 else None
    counter = _whole(document["counter"])
    if not isinstance(document["on_trial"], bool):
        raise TypeError("'on_trial' is neither true nor false")
    device, group, name, device_class = names
    kind, reason, text = texts[:3]
    return Report(
        device, group, name, device_class, counter, float(_whole(document["at"])), sha256,
        None if release is None else _whole(release), document["on_trial"], kind, reason, text, bad,
        _number(found.get("latency_ms"), math.inf), _number(found.get("agreement"), 1.0),
        _drift(document["drift"]),
    )  # fmt: skip


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST_COUNTER:
        raise ValueError(f"{str(value)[:40]} is no whole number of 0 or more")
    return value


def _number(value: object, most: float) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or not 0 <= value <= most or math.isinf(value):
        raise ValueError(f"{str(value)[:40]} is no number up to {most:g}")
    return float(value)


def _drift(signals: Mapping[str, Any] | None) -> dict[str, dict[str, Any]] | None:
    if signals is None:
        return None
    if len(signals) > _MOST_SIGNALS:
        raise ValueError(f"{len(signals)} signals")
    found = {}
    for name, signal in signals.items():
        rows = {each: [_whole(n) for n in signal[each]] for each in ("reference", "counts")}
        if len({len(row) for row in rows.values()}) != 1 or len(rows["counts"]) > _MOST_BINS:
            raise ValueError(f"the bins of {name[:40]!r} do not fit")
        found[name] = {**rows, "alarm": bool(signal["alarm"])}
    return found
