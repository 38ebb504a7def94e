"""What the reports of a fleet say together: what runs, how well, what failed, and who is silent."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeclf.fleet.orders import Order
from edgeclf.publishing.reports import Report
from edgeclf.system.words import printable

SILENT_S = 86_400.0
_SHOWN = 20  # devices that are named
_FAILED = ("failed", "back")


@dataclass(frozen=True)
class Seen:
    """How far an order came in a group.

    Attributes:
        devices: That reported, of the group.
        running: That run the order's file and are past its trial.
        bad: Devices where it failed, with the reason.
        lost: Devices that reported it on trial, and nothing for a day.
    """

    devices: int
    running: int
    bad: Mapping[str, str]
    lost: Collection[str]


def seen_of(order: Order, group: str, reports: Iterable[Report], now: float | None = None) -> Seen:
    """How far an order came."""
    now = time.time() if now is None else now
    mine = [each for each in reports if (each.name, each.group) == (order.name, group)]
    has = [each for each in mine if each.sha256 == order.sha256]
    bad = {each.device: each.bad[order.sha256] for each in mine if order.sha256 in each.bad}
    lost = [each.device for each in has if each.on_trial and now - each.at > SILENT_S]
    return Seen(len(mine), sum(not each.on_trial for each in has), bad, lost)


def overview(
    reports: Iterable[Report],
    unheard: Iterable[tuple[str, str]] = (),
    now: float | None = None,
) -> dict[str, Any]:
    """What they say, as JSON can say it.

    Args:
        reports: The newest of each device.
        unheard: Model and name of each device that is known and never sent one.
        now: Seconds since 1970; the clock's by default.

    Returns:
        ``running``, ``classes``, ``failures``, ``bad``, ``drift`` and ``silent``, each a list, with
        how many ``devices`` reported, how many of these reports were ``signed``, and ``unheard``.
    """
    reports, now = list(reports), time.time() if now is None else now
    silent = sorted((each for each in reports if now - each.at > SILENT_S), key=lambda r: r.at)
    return {
        "at": now,
        "devices": len(reports),
        "signed": sum(each.signed for each in reports),
        "running": _running(reports),
        "classes": _classes(reports),
        "failures": _failures(reports),
        "bad": _bad(reports),
        "drift": _drift(reports),
        "silent": [
            {"device": each.device, "group": each.group, "name": each.name,
             "days": (now - each.at) / 86_400, "on_trial": each.on_trial} for each in silent
        ],
        "unheard": [{"name": name, "device": device} for name, device in unheard],
    }  # fmt: skip


def _running(reports: Iterable[Report]) -> list[dict[str, Any]]:
    count = Counter(
        (each.group, each.name, each.release or 0, each.sha256 or "", each.on_trial)
        for each in reports
    )
    return [
        {"group": group, "name": name, "release": release or None, "sha256": sha256 or None,
         "on_trial": on_trial, "devices": devices}
        for (group, name, release, sha256, on_trial), devices in sorted(count.items())
    ]  # fmt: skip


def _classes(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """By what devices are, and by what runs: latencies of two files say nothing together."""
    groups = defaultdict[tuple[str, int, str, str], list[Report]](list)
    for each in reports:
        if each.sha256 is not None:
            place = (each.name, each.release or 0, each.sha256, each.device_class)
            groups[place].append(each)
    found = []
    for (name, release, sha256, device_class), devices in sorted(groups.items()):
        latencies = [each.latency_ms for each in devices if each.latency_ms is not None]
        shares = [each.agreement for each in devices if each.agreement is not None]
        found.append({
            "class": device_class, "name": name, "release": release or None, "sha256": sha256,
            "devices": len(devices),
            "latency_ms": None if not latencies else {
                "devices": len(latencies), "median": statistics.median(latencies),
                "least": min(latencies), "most": max(latencies)},
            "agreement": None if not shares else {
                "devices": len(shares), "mean": statistics.fmean(shares), "least": min(shares)},
        })  # fmt: skip
    return found


def _failures(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """What the last run of the updater ended with, where that was no good."""
    groups = defaultdict[tuple[str, str], list[Report]](list)
    for each in reports:
        if each.kind in _FAILED:
            groups[each.group, each.reason or each.kind].append(each)
    return [
        {"group": group, "reason": reason, "devices": len(failed),
         "examples": [{"device": each.device, "text": each.text} for each in failed[:_SHOWN]]}
        for (group, reason), failed in sorted(groups.items(), key=lambda g: -len(g[1]))
    ]  # fmt: skip


def _bad(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """Files that devices found bad and will not try again."""
    groups = defaultdict[str, list[tuple[Report, str]]](list)
    for each in reports:
        for sha256, reason in each.bad.items():
            groups[sha256].append((each, reason))
    return [
        {"sha256": sha256, "name": found[0][0].name, "devices": len(found),
         "classes": dict(Counter(each.device_class for each, _ in found)), "reason": found[0][1]}
        for sha256, found in sorted(groups.items(), key=lambda g: -len(g[1]))
    ]  # fmt: skip


def _drift(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """Histograms of the pictures of all devices that run one file, bin by bin."""
    merged: dict[tuple[str, str, str, tuple[int, ...]], dict[str, Any]] = {}
    for each in reports:
        for signal, counted in (each.drift or {}).items():
            place = (each.name, each.sha256 or "", signal, tuple(counted["reference"]))
            found = merged.setdefault(place, {
                "name": each.name, "release": each.release, "sha256": each.sha256,
                "signal": signal, "reference": counted["reference"],
                "counts": [0] * len(counted["counts"]), "devices": 0, "alarms": 0})  # fmt: skip
            found["counts"] = [
                a + b for a, b in zip(found["counts"], counted["counts"], strict=True)
            ]
            found["devices"] += 1
            found["alarms"] += counted["alarm"]
    return [merged[place] for place in sorted(merged)]


def as_text(document: Mapping[str, Any]) -> str:
    """What `overview` gives, for people at a terminal."""
    lines = []
    for row in document["running"]:
        what = _what(row) + (" on trial" if row["on_trial"] else "")
        sha256 = (row["sha256"] or "")[:12]
        lines.append(f"{row['devices']:>5} of {row['group']:<12} run {row['name']} {what} {sha256}")
    for row in document["classes"]:
        if row["latency_ms"] is not None:
            ms, share = row["latency_ms"], row["agreement"]
            agrees = "" if share is None else f", agree in {share['mean']:.1%}"
            lines.append(
                f"{row['devices']:>5} {row['class']}: {_what(row)} takes {ms['median']:.3g} ms "
                f"({ms['least']:.3g} to {ms['most']:.3g}){agrees}"
            )
    lines += [f"{r['devices']:>5} of {r['group']:<12} {r['reason']}" for r in document["failures"]]
    for row in document["failures"]:
        lines += [f"      {each['device']}: {each['text'][:300]}" for each in row["examples"]]
    lines += [
        f"{row['devices']:>5} found {row['sha256'][:12]} bad: {row['reason'][:200]}"
        for row in document["bad"]
    ]
    lines += [
        f"{row['alarms']:>5} of {row['devices']} see another {row['signal']} than {_what(row)} was "
        "calibrated on" for row in document["drift"] if row["alarms"]
    ]  # fmt: skip
    for words, devices in (("silent for a day", document["silent"]),
                           ("never heard", document["unheard"])):  # fmt: skip
        if devices:
            more = f", and {len(devices) - _SHOWN:,} more" if len(devices) > _SHOWN else ""
            names = ", ".join(each["device"] for each in devices[:_SHOWN])
            lines.append(f"{len(devices):>5} {words}: {names}{more}")
    return "\n".join(map(printable, lines))


def _what(row: Mapping[str, Any]) -> str:
    if row["release"]:
        return f"order {row['release']}"
    return "no order's file" if row["sha256"] else "nothing"
