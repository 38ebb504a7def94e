"""What the reports of a fleet say, as one HTML file that needs nothing from outside."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgeclf.monitoring.html import Html, table, to_document
from edgeclf.system.words import counted

_WIDTH, _HEIGHT = 320, 60
_SHOWN = 20


def to_page(document: Mapping[str, Any]) -> str:
    """The whole page; see `edgeclf.publishing.overview.overview` for the document."""
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(document["at"]))
    parts = [
        f'<p class="faint">{counted(document["devices"], "device")} reported by {at}, '
        f"{document['signed']:,} of them signed by a key of their own.</p>",
        _section("What runs", "By the hash of the file on each device's disk, not by what was "
                 "ordered.", ("group", "model", "release", "file", "state", "devices"),
                 [(row["group"], row["name"], _release(row), _hash(row),
                   "on trial" if row["on_trial"] else "committed" if row["sha256"] else "",
                   f"{row['devices']:,}")
                  for row in document["running"]]),
        _section("By class of device", "As each device measured it when the file came: the time "
                 "of one picture, and the share of the pictures that it kept which the new model "
                 "answered as the one before.",
                 ("class", "model", "release", "devices", "median", "least to most",
                  "agreement, mean", "least"), list(map(_class, document["classes"]))),
        _failures(document["failures"]),
        _section("Files that were found bad", "A device does not try such a file again.",
                 ("file", "model", "devices", "class", "reason"),
                 [(_hash(row), row["name"], f"{row['devices']:,}", _counted(row["classes"]),
                   row["reason"][:300]) for row in document["bad"]]),
        _drift(document["drift"]),
        _section("Silent for a day", "", ("device", "group", "model", "days", "state"),
                 [(row["device"], row["group"], row["name"], f"{row['days']:.1f}",
                   Html('<span class="bad">on trial</span>') if row["on_trial"] else "")
                  for row in document["silent"][:_SHOWN]], len(document["silent"])),
        _section("Enrolled and never heard", "", ("device", "model"),
                 [(row["device"], row["name"]) for row in document["unheard"][:_SHOWN]],
                 len(document["unheard"])),
    ]  # fmt: skip
    return to_document("The fleet", "\n".join(parts))


def _section(
    title: str, text: str, heads: Sequence[str], rows: Sequence[Sequence[object]], of: int = 0
) -> str:
    parts = [f"<h2>{escape(title)}</h2>"]
    if text:
        parts.append(f'<p class="faint">{escape(text)}</p>')
    parts.append(table(heads, rows) if rows else "<p>None.</p>")
    if of > len(rows):
        parts.append(f"<p>And {of - len(rows):,} more.</p>")
    return "".join(parts)


def _release(row: Mapping[str, Any]) -> str:
    return str(row["release"] or ("of no order" if row["sha256"] else "nothing runs"))


def _hash(row: Mapping[str, Any]) -> str:
    return "" if row["sha256"] is None else Html(f"<code>{escape(row['sha256'][:12])}</code>")


def _counted(classes: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in classes.items())


def _class(row: Mapping[str, Any]) -> tuple[str, ...]:
    ms, share = row["latency_ms"], row["agreement"]
    return (
        row["class"], row["name"], _release(row), f"{row['devices']:,}",
        "not measured" if ms is None else f"{ms['median']:.3g} ms",
        "" if ms is None else f"{ms['least']:.3g} to {ms['most']:.3g} ms",
        "no pictures kept" if share is None else f"{share['mean']:.1%} on {share['devices']:,}",
        "" if share is None else f"{share['least']:.1%}",
    )  # fmt: skip


def _failures(rows: Sequence[Mapping[str, Any]]) -> str:
    counts = [(row["group"], row["reason"], f"{row['devices']:,}") for row in rows]
    head = _section("Failures", "What the last run of the updater ended with.",
                    ("group", "reason", "devices"), counts)  # fmt: skip
    listed = "".join(
        f"<li>{escape(each['device'])}: {escape(each['text'])}</li>"
        for row in rows
        for each in row["examples"][:5]
    )
    return head + (f"<ul>{listed}</ul>" if listed else "")


def _drift(rows: Sequence[Mapping[str, Any]]) -> str:
    return _section(
        "Pictures", "The histograms of all devices together: bars for their pictures, the line for "
        "those that the file was calibrated on. A device raises an alarm by its own test.",
        ("model", "release", "signal", "histogram", "pictures", "devices", "alarms"),
        [(row["name"], _release(row), row["signal"], Html(_histogram(row)),
          f"{sum(row['counts']):,}", f"{row['devices']:,}",
          Html(f'<span class="bad">{row["alarms"]:,}</span>') if row["alarms"] else "none")
         for row in rows],
    )  # fmt: skip


def _histogram(row: Mapping[str, Any]) -> str:
    """Both with the same area, as they are of different numbers of pictures."""
    shares = [_shares(row[name]) for name in ("counts", "reference")]
    top = max(max(each, default=0.0) for each in shares) or 1.0
    width = _WIDTH / max(len(shares[0]), 1)
    bars, points = [], []
    for place, (now, before) in enumerate(zip(*shares, strict=True)):
        high, low = (_HEIGHT - 4) * now / top, _HEIGHT - (_HEIGHT - 4) * before / top
        bars.append(f'<rect class="bar" x="{place * width:.1f}" y="{_HEIGHT - high:.1f}" '
                    f'width="{width - 1:.1f}" height="{high:.1f}"/>')  # fmt: skip
        points += [f"{place * width:.1f},{low:.1f}", f"{(place + 1) * width:.1f},{low:.1f}"]
    text = f"{row['signal']}: {sum(row['counts']):,} pictures of {row['devices']:,} devices"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(text)}">'
        f'<rect class="ground" width="{_WIDTH}" height="{_HEIGHT}"/>{"".join(bars)}'
        f'<polyline points="{" ".join(points)}"/></svg>'
    )


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]
