"""The state of monitoring as one HTML file that needs nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgeclf.monitoring.html import Html, table, to_document
from edgeclf.monitoring.table import expected, verdict

_WIDTH, _HEIGHT = 320, 26
_LEAST = -2.0  # of evidence, as drawn; what is less says as little


def to_page(document: Mapping[str, Any]) -> str:
    """The whole page; see `edgeclf.monitor` for the document."""
    parts = [f'<p class="faint">{escape(document["source"])}</p>']
    if "requests" in document:
        parts.append(table(("status", "requests"), document["requests"].items()))
    if document.get("damaged_lines"):
        parts.append(f"<p>{document['damaged_lines']:,} lines of the log are damaged.</p>")
    if not document["versions"]:
        parts.append("<p>No model is loaded there.</p>")
    parts += [_version(version) for version in document["versions"]]
    return to_document("Monitoring", "".join(parts))


def _version(version: Mapping[str, Any]) -> str:
    parts = [
        f"<h2>{escape(version['model'])} {escape(version['version'])}</h2>"
        f'<p class="faint">{version["pictures"]:,} pictures; '
        f"SHA-256 {escape(version['sha256'])}</p>"
    ]
    parts += [f'<p class="cannot">{escape(sentence)}</p>' for sentence in version["cannot"]]
    if version["drift"]:
        parts.append(
            "<h3>Drift</h3><p>How strong the evidence is that pictures have changed since the file "
            "was calibrated. It reaches the line by mistake in at most 1 of 100 streams, however "
            "long they are.</p>"
            + table(
                ("signal", "evidence, 10 to the power of", "", ""),
                (
                    (name, _evidence(entry), Html(_drawn(entry)), _verdict(entry))
                    for name, entry in version["drift"].items()
                ),
            )
        )
    shift = version["label_shift"]
    if shift is not None and shift["pictures"]:
        parts.append(
            "<h3>Classes</h3><p>That other classes are answered than in the reference has a Bayes "
            f"factor of 10 to the power of {shift['log10_factor']:.1f}. Seasons and places do that "
            "as well, so it is no alarm.</p>"
            + table(("class", "in the reference", "now"),
                     ((row["label"], f"{row['reference']:.1%}", f"{row['now']:.1%}")
                      for row in shift["most_changed"]))
        )  # fmt: skip
    accuracy = version["expected_accuracy"]
    if accuracy is not None and accuracy["all"] is not None:
        lines = "<br>".join(expected(o, accuracy[o]) for o in ("recent", "all"))
        meaning = escape(accuracy["meaning"])
        parts.append(f'<h3>Expected accuracy</h3><p>{lines}</p><p class="faint">{meaning}</p>')
    parts.append(_of_log(version))
    return "\n".join(parts)


def _of_log(version: Mapping[str, Any]) -> str:
    parts = []
    if version.get("unknown_share") is not None:
        parts.append(f"<p>{version['unknown_share']:.1%} of the pictures were unknown.</p>")
    if version.get("labels"):
        parts.append("<h3>Answers</h3>" + table(
            ("class", "pictures"), ((k, f"{n:,}") for k, n in version["labels"].items())
        ))  # fmt: skip
    if version.get("errors"):
        parts.append("<h3>Without an answer</h3>" + table(
            ("why", "pictures"), ((k, f"{n:,}") for k, n in version["errors"].items())
        ))  # fmt: skip
    if version.get("times"):
        parts.append("<h3>Times in milliseconds</h3>" + table(
            ("stage", "median", "99th percentile"),
            ((stage.removesuffix("_ms"), f"{times['p50']:.3g}",
              f"{times['p99']:.3g}" if "p99" in times else "of too few")
             for stage, times in version["times"].items()),
        ))  # fmt: skip
    return "".join(parts)


def _evidence(entry: Mapping[str, Any]) -> str:
    return f"{entry['log10_capital']:.1f}, at most {entry['log10_most']:.1f}"


def _verdict(entry: Mapping[str, Any]) -> str:
    return Html(f'<span class="bad">{verdict(entry)}</span>') if entry["alarm"] else verdict(entry)


def _drawn(entry: Mapping[str, Any]) -> str:
    """The most that it ever was, up to the limit, which is the line, and a third beyond."""
    limit = entry["log10_limit"]
    most = limit + (limit - _LEAST) / 3

    def place(value: float) -> float:
        share: float = (min(max(value, _LEAST), most) - _LEAST) / (most - _LEAST)
        return _WIDTH * share

    over = entry["log10_most"] >= limit
    text = f"at most {entry['log10_most']:.1f} of {limit:.1f}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text}">'
        f'<rect class="ground" width="{_WIDTH}" height="{_HEIGHT}"/>'
        f'<rect class="{"over" if over else "bar"}" y="5" height="{_HEIGHT - 10}" '
        f'width="{place(entry["log10_most"]):.1f}"/>'
        f'<line x1="{place(limit):.1f}" x2="{place(limit):.1f}" y1="0" y2="{_HEIGHT}"/></svg>'
    )
