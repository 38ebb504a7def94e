"""How often monitoring cries wolf, how soon it finds a change, and what a picture costs it.

Simulated streams: the reference and the stream are drawn from one distribution, until the share of
unknown pictures doubles. The control is what is usual: every 100 pictures, a two-sample
Kolmogorov-Smirnov test of the last 100 confidences against the reference's at p < 0.01.

    python benchmarks/drift.py --write
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
from shared import Figure, finish, parse

from edgeclf.monitoring.drift import Drift
from edgeclf.system.progress import track
from edgeclf.trust.reference import RANGES, histograms

REFERENCE = 1_000  # pictures, where nothing else is said
SIZES = (120, 500, 2_000, 20_000)
QUIET = 2_000  # pictures before the change, in the harder case
PATIENCE = 3_000  # pictures after it
WINDOW, LEVEL = 100, 0.01
_CHUNK = 5_000


def drawn(random: np.random.Generator, count: int, unknown: float = 0.1) -> dict[str, Any]:
    """The signals of pictures, of which a share is unknown: less sure, and duller."""
    strange = random.random(count) < unknown
    novelty = np.where(strange, random.uniform(1.01, 1.9, count), random.beta(2, 3, count))
    confidence = np.where(strange, random.uniform(0.3, 0.9, count), random.beta(8, 1, count))
    sure = np.clip(2 * confidence - 1, 0, 1)
    found = {"novelty": novelty, "confidence": confidence,
             "margin": sure * random.uniform(0.8, 1, count)}  # fmt: skip
    for name in ("brightness", "contrast", "sharpness"):
        low, high = RANGES[name]
        found[name] = random.normal((low + high) / 2, (high - low) / 6, count)
    return found


def reference(random: np.random.Generator, count: int, names: tuple[str, ...]) -> dict[str, Any]:
    """As a file holds it."""
    found = drawn(random, count)
    return histograms({n: found[n] for n in names}, np.zeros(count, int), 1)


def pictures(
    random: np.random.Generator, count: int, names: tuple[str, ...], unknown: float = 0.1
) -> Iterator[dict[str, float]]:
    """One after another."""
    for start in range(0, count, _CHUNK):
        found = drawn(random, min(_CHUNK, count - start), unknown)
        for row in zip(*(found[name].tolist() for name in names), strict=True):
            yield dict(zip(names, row, strict=True))


def false_alarms(streams: int, length: int) -> tuple[list[str], float]:
    """The signals of the first false alarm of the streams that have one, and the cost in µs."""
    names = tuple(RANGES)
    found, spent, taken = [], 0.0, 0
    for seed in track(range(streams), "stationary streams", streams):
        random = np.random.default_rng(seed)
        drift = Drift(reference(random, REFERENCE, names), random=Random(seed))
        rows = pictures(random, length, names)
        while chunk := [row for _, row in zip(range(_CHUNK), rows, strict=False)]:
            start = time.process_time()
            for row in chunk:
                drift.add(row)
            spent += time.process_time() - start
            taken += len(chunk)
            if drift.alarms:
                found.append(min(drift.alarms, key=lambda name: drift.alarms[name].picture))
                break
        drift.settle()
    return found, spent / taken * 1e6


def delays(size: int, quiet: int, streams: int) -> list[float]:
    """Pictures from the change to the alarm for unknown ones; infinite where there was none."""
    found = []
    for seed in range(streams):
        random = np.random.default_rng(seed)
        drift = Drift(reference(random, size, ("novelty",)), random=Random(seed))
        for row in pictures(random, quiet, ("novelty",)):
            drift.add(row)
        drift.settle()
        if "unknown" in drift.alarms:
            continue  # a false one
        delay = float("inf")
        for row in pictures(random, PATIENCE, ("novelty",), 0.2):
            drift.add(row)
            if drift.alarms and "unknown" in drift.alarms:
                delay = drift.alarms["unknown"].picture - quiet
                break
        found.append(delay)
    return found


def ks_p_value(window: np.ndarray[Any, Any], ordered: np.ndarray[Any, Any]) -> float:
    """Of the two-sample test, by its asymptotic distribution; `ordered` is the sorted reference."""
    window = np.sort(window)
    both = np.concatenate([window, ordered])
    gaps = np.searchsorted(window, both, "right") / len(window)
    gaps -= np.searchsorted(ordered, both, "right") / len(ordered)
    scaled = np.abs(gaps).max() * np.sqrt(len(window) * len(ordered) / len(both))
    terms = np.arange(1, 101)
    return float(np.clip(2 * ((-1.0) ** (terms - 1) * np.exp(-2 * (terms * scaled) ** 2)).sum(),
                         0, 1))  # fmt: skip


def windowed(streams: int, length: int) -> tuple[int, list[int]]:
    """Of the control: how many streams had a false alarm, and after how many pictures."""
    after = []
    for seed in range(streams):
        random = np.random.default_rng(seed)
        ordered = np.sort(drawn(random, REFERENCE)["confidence"])
        for start in range(0, length, WINDOW):
            if ks_p_value(drawn(random, WINDOW)["confidence"], ordered) < LEVEL:
                after.append(start + WINDOW)
                break
    return len(after), after


def main() -> int:
    args = parse(__doc__, streams=(200, "of each kind"), length=(100_000, "pictures of a stream"))
    table = []
    for size in SIZES:
        for quiet in (0, QUIET):
            found = delays(size, quiet, args.streams)
            median = statistics.median(found)
            table.append({
                "reference": size, "quiet": quiet, "streams": len(found),
                "median": None if median == float("inf") else median,
                "found": sum(delay < float("inf") for delay in found) / len(found),
            })  # fmt: skip
            print(table[-1], flush=True)
    control, after = windowed(args.streams, args.length)
    false, cost_us = false_alarms(args.streams, args.length)
    figures = [
        Figure("streams with a false alarm", 100 * len(false) / args.streams, "%", at_most=1,
               note=", ".join(sorted(set(false)))),
        Figure("the same, of the windowed test", 100 * control / args.streams, "%",
               note=f"first after {statistics.median(after):.0f} pictures at the median"
               if after else ""),
        Figure("CPU time of a picture, seven signals", cost_us, "us", at_most=20),
        *(Figure(
            f"unknown 10 to 20 %, reference of {row['reference']:,}, after {row['quiet']:,} quiet: "
            "median delay", row["median"] if row["median"] is not None else float("nan"),
            "pictures", at_most=150, note=f"found in {row['found']:.0%}",
        ) for row in table if row["median"] is not None),
    ]  # fmt: skip
    method = (
        f"{args.streams} simulated streams of {args.length:,} pictures, reference of {REFERENCE:,} "
        f"where nothing else is said; a change is looked for during {PATIENCE:,} pictures; windows "
        f"of {WINDOW} confidences at p < {LEVEL}"
    )
    return finish(__file__, figures, method, args.write, delays=table)


if __name__ == "__main__":
    raise SystemExit(main())
