"""How a report writes numbers: one place, so that all its files write them alike."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any

from edgeclf.system.words import counted

DASH = "–"  # stands for what is not known, such as a percentile that the sample cannot carry

_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|[kMG]?B|m?s)(?!\w))")


def or_dash(write: Callable[[float], str]) -> Callable[[float | None], str]:
    """Lets a figure that is missing, or no finite number, be a dash: no report says "nan"."""

    @wraps(write)
    def written(value: float | None) -> str:
        return DASH if value is None or not math.isfinite(value) else write(value)

    return written


@or_dash
def digits(value: float) -> str:
    """Three significant digits, never in scientific notation."""
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:#.3g}" if abs(value) >= 1e-3 else f"{value:.2g}" if value else "0"


def milliseconds(value: float | None) -> str:
    """A time without its unit, for a column that names it."""
    return digits(value)


@or_dash
def duration(value_ms: float) -> str:
    """A time with the unit that suits it."""
    return f"{digits(value_ms / 1e3)} s" if value_ms >= 999.5 else f"{digits(value_ms)} ms"


@or_dash
def size(value_bytes: float) -> str:
    """A size in decimal units: kB, MB or GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value_bytes >= 0.9995 * factor:
            return f"{digits(value_bytes / factor)} {unit}"
    return f"{value_bytes:.0f} B"


def count(value: float | None) -> str:
    """A number of parameters: 3.42 M, 91.3 k."""
    if value is None or not math.isfinite(value):
        return "unknown"
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * factor:
            return f"{digits(value / factor)} {unit}"
    return f"{value:.0f}"


@or_dash
def percent(share: float) -> str:
    """A share of 0..1 in per cent."""
    return f"{share * 100:.1f} %"


def interval(shares: Iterable[float]) -> str:
    """The interval of a share, in per cent without the sign."""
    low, high = shares
    return f"{low * 100:.1f}–{high * 100:.1f}" if math.isfinite(low + high) else DASH


@or_dash
def ratio(value: float) -> str:
    """How many times: 12.3x."""
    return f"{digits(value)}x"


@or_dash
def points(value: float) -> str:
    """A signed difference of two percentages, in points."""
    return f"{value:+.1f}".replace("-", "−") if f"{value:.1f}" not in ("0.0", "-0.0") else "±0.0"


def unbroken(sentences: str) -> str:
    """Words in which no line ends between a figure and its unit."""
    return _BEFORE_UNIT.sub("\u00a0", sentences)


def threads(number: int | None) -> str:
    """A number of threads in words."""
    return "threads unknown" if number is None else counted(number, "thread")


def part(count: int, total: int, thing: str) -> str:
    """The beginning of a sentence on some of several things: The only row, All 4 rows, 2 of 4 rows.

    Args:
        count: How many of them; of one, the verb that follows is in the singular.
        total: How many there are.
        thing: What they are, in the singular.
    """
    if count == 0:
        return f"No {thing}"
    if count < total:
        return f"{count} of {total} {thing}s"
    return f"The only {thing}" if total == 1 else f"All {total} {thing}s"


def latency_of(results: Mapping[str, Any]) -> str:
    """What the latencies of a benchmark are the time of."""
    if all(row["input"] == "random" for row in results["rows"]):
        return "of the model alone, on random input"
    return "from the bytes of an image file to the answer"


def agreement(row: Mapping[str, Any]) -> str:
    """How often a row's top-1 is that of the Keras model it was converted from, if measured."""
    if row["format"] == "keras":
        return "source"
    return percent(row["agreement"]["top1_agreement"]) if row["agreement"] else DASH


def runtime_library(runtime: Mapping[str, Any]) -> str:
    """The runtime and the library behind it; its name alone for a row that failed."""
    name = str(runtime["name"])
    if "library" not in runtime:
        return name
    library = f"{runtime['library']} {runtime['library_version']}"
    return library if runtime["library"] == name else f"{name}, {library}"


def runtime_place(runtime: Mapping[str, Any]) -> str:
    """Where in the machine a row really ran; empty for a row that failed."""
    number = runtime.get("threads")
    parts = (runtime.get("device"), runtime.get("delegate"), number and counted(number, "thread"))
    return ", ".join(str(part) for part in parts if part)


def environment_facts(results: Mapping[str, Any]) -> dict[str, str]:
    """The machine and its software, each fact with its name."""
    environment = results["environment"]
    threads = {row["runtime"].get("threads") for row in results["rows"]} - {None}
    facts = {
        "CPU": environment["cpu"],
        "CPU flags": " ".join(environment["cpu_flags"]) or "none of note",
        "CPUs": f"{environment['cpus_available']} of {environment['cpus_of_machine']} available",
        "Threads": ", ".join(str(number) for number in sorted(threads)),
        "Governor": environment["governor"],
        "Memory": size(environment["memory_bytes"]),
        "System": f"{environment['system']}, kernel {environment['kernel']}",
        "Python": environment["python"],
        "Libraries": ", ".join(f"{name} {v}" for name, v in environment["libraries"].items()),
        "Commit": environment["commit"],
    }
    return {name: str(fact) if fact else "not recorded" for name, fact in facts.items()}
