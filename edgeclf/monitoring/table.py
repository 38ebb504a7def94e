"""The state of monitoring as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def to_text(document: Mapping[str, Any]) -> str:
    """A few lines for each version; see `edgeclf.monitor` for the document."""
    lines: list[str] = []
    if "requests" in document:
        counts = ", ".join(f"{n:,} of {status}" for status, n in document["requests"].items())
        lines.append(f"requests by status: {counts}")
    if document.get("damaged_lines"):
        lines.append(f"lines that are damaged: {document['damaged_lines']:,}")
    for version in document["versions"]:
        lines += ["", *_version(version)] if lines else _version(version)
    return "\n".join(lines) or "no model is loaded there"


def _version(version: Mapping[str, Any]) -> Iterator[str]:
    yield (f"{version['model']} {version['version']} ({version['sha256'][:12]}): "
           f"{version['pictures']:,} pictures")  # fmt: skip
    yield from (f"  cannot tell: {sentence}" for sentence in version["cannot"])
    for name, entry in (version["drift"] or {}).items():
        yield (f"  {name:<11} evidence of drift 10^{entry['log10_capital']:.1f}, at most "
               f"10^{entry['log10_most']:.1f}, of 10^{entry['log10_limit']:.1f}: "
               f"{verdict(entry)}")  # fmt: skip
    shift = version["label_shift"]
    if shift is not None and shift["pictures"]:
        yield f"  classes     10^{shift['log10_factor']:.1f} that they are others; most changed:"
        for row in shift["most_changed"][:3]:
            yield f"    {row['label']}: {row['reference']:.1%} before, {row['now']:.1%} now"
    accuracy = version["expected_accuracy"]
    for over in ("recent", "all"):
        estimate = None if accuracy is None else accuracy[over]
        if estimate is not None:
            yield f"  accuracy    {expected(over, estimate)}"
    if version.get("unknown_share") is not None:
        yield f"  unknown     {version['unknown_share']:.1%}"
    for name, count in version.get("errors", {}).items():
        yield f"  {name}: {count:,}"
    for name, count in version.get("labels", {}).items():
        yield f"  {name}: {count / version['pictures']:.1%}"
    for stage, times in version.get("times", {}).items():
        words = ", ".join(f"{name} {value:.3g}" for name, value in times.items())
        yield f"  {stage}: {words}"


def verdict(entry: Mapping[str, Any]) -> str:
    """What a signal's entry comes to, in a few words."""
    if entry["alarm"] is not None:
        return f"ALARM at picture {entry['alarm']['picture']:,}"
    if not entry["pictures"]:
        return "nothing was seen yet"
    return f"no alarm in {entry['pictures']:,} pictures"


def expected(over: str, estimate: Mapping[str, Any]) -> str:
    """An expected accuracy, in a few words."""
    which = "of the last" if over == "recent" else "of all"
    return (f"{estimate['accuracy']:.1%} expected [{estimate['low']:.1%} to "
            f"{estimate['high']:.1%}] {which} {estimate['pictures']:,}")  # fmt: skip
