"""Which measured row to ship: the limits it has to keep, and the rule that picks it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeclf.errors import OptionError
from edgeclf.measurement.matrix.schema import (
    IN_WORDS,
    METRICS,
    Row,
    is_unstable,
    row_name,
    row_threads,
    why_missing,
)

SAME_SPEED = 0.05  # medians of two processes closer than this are not told apart


@dataclass(frozen=True)
class Limits:
    """What an artifact on its runtime has to keep; None is no limit.

    Attributes:
        max_latency_ms: Of the median (p50) from the bytes of an image file to the answer; from
            a tensor, where only random input was measured.
        max_memory_mb: Of the PSS of the process in steady state, in 10^6 bytes.
        max_size_mb: Of the file, in 10^6 bytes.
        min_accuracy: Of top-1, as a share, 0..1.
        max_drop: Points of top-1 below the most accurate row that was measured, 0..100. With a
            Keras source or a teacher among the models, that usually is the one.
    """

    max_latency_ms: float | None = None
    max_memory_mb: float | None = None
    max_size_mb: float | None = None
    min_accuracy: float | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            highest = {"min_accuracy": 1, "max_drop": 100}.get(name, math.inf)
            if value is not None and not (0 <= value <= highest and math.isfinite(value)):
                expected = f"0 to {highest}" if highest < math.inf else "a number from 0 on"
                raise OptionError(f"{name} is {value}; expected {expected}.")

    def __bool__(self) -> bool:
        return any(value is not None for value in asdict(self).values())

    def __str__(self) -> str:
        words = {
            "max_latency_ms": "median latency at most {:g} ms",
            "max_memory_mb": "memory at most {:g} MB",
            "max_size_mb": "file at most {:g} MB",
            "min_accuracy": "top-1 at least {:g}",
            "max_drop": "at most {:g} points of top-1 below the most accurate row",
        }
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return ", ".join(words[name].format(value) for name, value in given.items()) or "none"


@dataclass(frozen=True)
class Recommendation:
    """The row to ship.

    Attributes:
        chosen: Its id; None when nothing fits.
        reason: Why, in one sentence with its figures.
        rejected: Why each other row lost, by id.
    """

    chosen: str | None
    reason: str
    rejected: Mapping[str, str] = field(default_factory=dict)


def recommend(results: Mapping[str, Any], limits: Limits) -> Recommendation:
    """Picks the row to ship from a benchmark.

    A row is no candidate when it failed, when its latency was not measured, is unstable or is
    that of a whole batch, when it was measured on random input while others were on photos, or
    when it lacks a figure that a limit needs. Of the candidates that keep every limit, those
    whose 95 % interval of top-1 lies wholly below that of the most accurate one are left out. Of
    the rest, the lowest median latency wins; among those within 5 % of it, which two processes
    cannot tell apart, the smallest file, then the fewest threads.

    Args:
        results: What `edgeclf.benchmark` returned.
        limits: What must be kept; ``Limits()`` for no limit.
    """
    rows: Sequence[Row] = results["rows"]
    rejected: dict[str, str] = {}

    def without(candidates: Sequence[Row], reason: Callable[[Row], str]) -> list[Row]:
        kept = []
        for row in candidates:
            if why := reason(row):
                rejected[row["id"]] = why
            else:
                kept.append(row)
        return kept

    any_photos = any(row["input"] == "photos" for row in rows)
    sound = without(rows, lambda row: _why_no_candidate(row, any_photos))
    best_top1 = max((row["accuracy"]["top1"] for row in rows if row["accuracy"]), default=None)
    fitting = without(sound, lambda row: "; ".join(_broken(row, limits, best_top1)))
    if not fitting:
        return Recommendation(None, _nothing(len(rows), len(sound), limits), rejected)
    accurate = without(fitting, _clearly_less_accurate_than(fitting))
    fastest = min(_p50(row) for row in accurate)
    alike = [row for row in accurate if _p50(row) <= (1 + SAME_SPEED) * fastest]
    chosen = min(alike, key=lambda row: (row["size_bytes"], row_threads(row) or 0, _p50(row)))
    others = [row for row in accurate if row is not chosen]
    without(others, lambda row: _why_second(row, chosen, alike))
    return Recommendation(
        chosen["id"], _reason(chosen, accurate, len(fitting), len(rows), limits), rejected
    )


def _why_no_candidate(row: Row, any_photos: bool) -> str:
    if row["error"] or row["latency"] is None:
        return why_missing(row, "p50_ms")
    if is_unstable(row):
        return "its latency was unstable while it was measured"
    if row["batch"] != 1:
        return f"its latency is that of a batch of {row['batch']}, not of one photo"
    if any_photos and row["input"] != "photos":
        return "its latency is that of the model alone, others were measured from photos"
    return ""


def _broken(row: Row, limits: Limits, best_top1: float | None) -> Iterator[str]:
    """What of `limits` a row does not keep, or cannot be judged by."""
    for metric, highest, unit in (
        ("p50_ms", limits.max_latency_ms, "ms"),
        ("memory_mb", limits.max_memory_mb, "MB"),
        ("size_mb", limits.max_size_mb, "MB"),
    ):
        if highest is None:
            continue
        figure = METRICS[metric](row)
        if figure is None:
            yield why_missing(row, metric)
        elif figure > highest:
            yield f"{IN_WORDS[metric]} {_digits(figure)} {unit} is above {highest:g} {unit}"
    if limits.min_accuracy is None and limits.max_drop is None:
        return
    top1 = METRICS["top1"](row)
    if top1 is None or best_top1 is None:
        yield why_missing(row, "top1")
        return
    if limits.min_accuracy is not None and top1 < limits.min_accuracy:
        yield f"top-1 {_percent(top1)} is below {_percent(limits.min_accuracy)}"
    drop = (best_top1 - top1) * 100
    if limits.max_drop is not None and drop > limits.max_drop + 1e-9:  # 0.99 - 0.98 is no 0.01
        yield (
            f"top-1 {_percent(top1)} is {drop:.1f} points below the most accurate row's "
            f"{_percent(best_top1)}, more than {limits.max_drop:g}"
        )


def _clearly_less_accurate_than(rows: Sequence[Row]) -> Callable[[Row], str]:
    known = [row["accuracy"] for row in rows if row["accuracy"]]
    if not known:
        return lambda row: ""
    best = max(known, key=lambda accuracy: (accuracy["top1"], accuracy["top1_interval_95"][0]))

    def reason(row: Row) -> str:
        if row["accuracy"] is None:
            return f"{why_missing(row, 'top1')}, that of others was"
        top1, (_, high) = row["accuracy"]["top1"], row["accuracy"]["top1_interval_95"]
        if high >= best["top1_interval_95"][0]:
            return ""
        return (
            f"top-1 {_percent(top1)} is clearly below the {_percent(best['top1'])} of the most "
            "accurate one that fits: the 95 % intervals do not overlap"
        )

    return reason


def _why_second(row: Row, chosen: Row, alike: Sequence[Row]) -> str:
    medians = f"median {_digits(_p50(row))} ms against {_digits(_p50(chosen))} ms"
    if row not in alike:
        return f"slower: {medians}, {_digits(_p50(row) / _p50(chosen))} times as long"
    speed = f"as fast within 5 % ({medians})"
    if row["size_bytes"] != chosen["size_bytes"]:
        return f"{speed}, but a larger file: {_size(row)} against {_size(chosen)}"
    return f"{speed}, from a file of the same size, with no fewer threads"


def _reason(chosen: Row, accurate: Sequence[Row], fitting: int, rows: int, limits: Limits) -> str:
    mine, fastest = _p50(chosen), min(map(_p50, accurate))
    left = len(accurate)
    be = "is" if left == 1 else "are"
    others = f" and {be} not clearly less accurate than the best" if left < fitting else ""
    if rows == 1:
        place = "the only row"
    elif left == 1:
        fits = "keeps the limits" if limits else "can be compared"
        place = f"the only one of {rows} rows that {fits}{others}"
    else:
        if left == rows:
            those = f"of the {rows} rows" + ", which all keep the limits" * bool(limits)
        else:
            fit = "keep the limits" if limits else "can be compared"
            those = f"of the {left} of {rows} rows that {fit}{others}"
        place = f"the lowest {those}"
        if mine != fastest:
            near = f"within 5 % of the lowest ({_digits(fastest)} ms)"
            place = f"the smallest file {near} {those}"
    facts = [f"{_size(chosen)} file"]
    memory = METRICS["memory_mb"](chosen)
    if memory is not None:
        facts.append(f"{_digits(memory)} MB of memory")
    if chosen["accuracy"]:
        facts.append(f"top-1 {_percent(chosen['accuracy']['top1'])}")
    hot = "; it was throttled while it was measured" if chosen["throttled"] else ""
    return f"{row_name(chosen)}: median {_digits(mine)} ms, {place}; {', '.join(facts)}{hot}."


def _nothing(rows: int, sound: int, limits: Limits) -> str:
    if not sound:
        none = "the only row has no" if rows == 1 else f"none of the {rows} rows has a"
        return f"Nothing can be recommended: {none} latency to rely on."
    if rows == 1:
        none = "the only row does not keep"
    elif sound == 1:
        none = f"the only one of {rows} rows that can be compared does not keep"
    elif sound == rows:
        none = f"none of the {rows} rows keeps"
    else:
        none = f"none of the {sound} of {rows} rows that can be compared keeps"
    return f"Nothing fits: {none} {limits}."


def _p50(row: Row) -> float:
    value = METRICS["p50_ms"](row)
    assert value is not None  # rows without one are no candidates
    return value


def _size(row: Row) -> str:
    return f"{_digits(row['size_bytes'] / 1e6)} MB"


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _digits(value: float) -> str:
    """Three significant digits, never in scientific notation."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"


def add_limit_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `Limits`, for every verb that recommends."""
    group = parser.add_argument_group("limits", "what the recommended row must keep; exit code 1 "
                                      "when none does")  # fmt: skip
    for flag, unit, text in (
        ("--max-latency-ms", "MS", "median latency of one photo"),
        ("--max-memory-mb", "MB", "memory of the process (PSS in steady state)"),
        ("--max-size-mb", "MB", "size of the file"),
        ("--min-accuracy", "SHARE", "top-1, 0..1"),
        ("--max-drop", "POINTS", "points of top-1 below the most accurate row"),
    ):
        group.add_argument(flag, type=float, metavar=unit, help=text)


def limits_from(args: argparse.Namespace) -> Limits:
    """The limits given on the command line.

    Raises:
        OptionError: One of them cannot be kept by anything.
    """
    return Limits(
        args.max_latency_ms, args.max_memory_mb, args.max_size_mb, args.min_accuracy, args.max_drop
    )
