"""What devices said of themselves: which files run, what failed and why, and who is silent.

A report is the ``report.json`` of a device's folder, brought here by whatever brings files. It says
what runs, by the hash of the file on its disk, and not what was ordered.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf.errors import OptionError
from edgeclf.fleet.orders import Order
from edgeclf.system.words import printable

_SCHEMA = "edgeclf.fleet.report/1"
_SILENT_S = 86_400.0
_MOST_BYTES = 1 << 20
_SHOWN = 20


@dataclass(frozen=True)
class Report:
    """What a device said last.

    Attributes:
        device: Its name.
        group: Its group.
        name: The model's.
        at: When, by its own clock, in seconds since 1970.
        sha256: Of the file that runs; None where nothing does.
        on_trial: Whether that is not committed yet.
        kind: Of its last run's outcome, as `edgeclf.fleet.updating.Outcome` has it.
        reason: Why it failed, as a word.
        text: The same for people.
        bad: Hashes that failed there, with the reason.
    """

    device: str
    group: str
    name: str
    at: float
    sha256: str | None
    on_trial: bool
    kind: str
    reason: str
    text: str
    bad: Mapping[str, str]


def read_reports(folder: str | os.PathLike[str]) -> tuple[list[Report], list[str]]:
    """Reads every ``*.json`` below a folder that is a report.

    Returns:
        The newest report of each device, and why others could not be read.

    Raises:
        OptionError: There is no such folder.
    """
    place = Path(folder)
    if not place.is_dir():
        raise OptionError(f"{place} is no folder; expected the reports of devices, *.json.")
    newest: dict[tuple[str, str], Report] = {}
    strange = []
    for path in sorted(place.rglob("*.json")):
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise ValueError(f"it is larger than {_MOST_BYTES:,} bytes")
            document = json.loads(path.read_bytes())
            if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
                continue  # state.json and the like lie beside
            report = _of(document)
        except (OSError, ValueError, LookupError, TypeError) as exc:
            strange.append(f"{path}: {type(exc).__name__} {exc}")
            continue
        key = (report.name, report.device)
        if key not in newest or newest[key].at < report.at:
            newest[key] = report
    return list(newest.values()), strange


def _of(document: Mapping[str, Any]) -> Report:
    outcome = document["outcome"]
    texts = [document["device"], document["group"], document["name"], outcome["kind"],
             outcome["reason"], outcome["text"], *document["bad"],
             *document["bad"].values()]  # fmt: skip
    sha256 = document["sha256"]
    if not all(isinstance(text, str) for text in texts) or not isinstance(sha256, str | None):
        raise TypeError("something in it is no text")
    device, group, name, kind, reason, text = texts[:6]
    return Report(device, group, name, float(document["at"]), sha256, bool(document["on_trial"]),
                  kind, reason, text, dict(document["bad"]))  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """How far an order came in a group.

    Attributes:
        devices: That reported, of the group.
        running: That run the order's file and are past its trial.
        bad: Devices where it failed, with the reason.
    """

    devices: int
    running: int
    bad: Mapping[str, str]


def seen_of(order: Order, group: str, reports: Iterable[Report]) -> Seen:
    """How far an order came."""
    mine = [each for each in reports if (each.name, each.group) == (order.name, group)]
    running = sum(each.sha256 == order.sha256 and not each.on_trial for each in mine)
    bad = {each.device: each.bad[order.sha256] for each in mine if order.sha256 in each.bad}
    return Seen(len(mine), running, bad)


def as_text(
    reports: Iterable[Report], orders: Mapping[int, Order], now: float | None = None
) -> str:
    """What runs where, what failed, and who has said nothing for a day."""
    reports, now = list(reports), time.time() if now is None else now
    counters = {
        (group, order.sha256): order.counter for order in orders.values() for group in order.groups
    }
    running = Counter(
        (each.group, each.name, counters.get((each.group, each.sha256 or ""), 0), each.sha256)
        for each in reports
    )
    lines = []
    for (group, name, counter, sha256), devices in sorted(running.items(), key=str):
        what = f"order {counter}" if counter else "no order's file" if sha256 else "nothing"
        lines.append(f"{devices:>5} of {group:<12} run {name} {what} {(sha256 or '')[:12]}")
    failed = Counter(
        (each.group, each.reason or each.kind)
        for each in reports
        if each.kind in ("failed", "back")
    )
    lines += [
        f"{count:>5} of {group:<12} {reason}" for (group, reason), count in failed.most_common()
    ]
    for each in [each for each in reports if each.kind in ("failed", "back")][:_SHOWN]:
        lines.append(printable(f"      {each.device}: {each.text[:300]}"))
    silent = sorted(each.device for each in reports if now - each.at > _SILENT_S)
    if silent:
        more = f", and {len(silent) - _SHOWN:,} more" if len(silent) > _SHOWN else ""
        lines.append(
            printable(f"{len(silent):>5} silent for a day: {', '.join(silent[:_SHOWN])}{more}")
        )
    return "\n".join(lines)
