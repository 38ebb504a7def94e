"""Benchmarks as gates of a pipeline: conditions that fail a run, and a baseline to hold it against.

Neither looks for the best row; each holds for every row of the benchmark.
"""

from __future__ import annotations

import argparse
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeclf.errors import OptionError
from edgeclf.measurement.matrix.recommendation import Limits, recommend
from edgeclf.measurement.matrix.schema import (
    METRICS,
    Row,
    is_unstable,
    read_results,
    row_name,
    why_missing,
)
from edgeclf.system import files
from edgeclf.system.progress import log

_OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_CONDITION = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?)\s*")
_TOLERANCE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")

_LATENCIES = ("p50_ms", "p90_ms", "p99_ms")
# Held against a baseline. p99 and the cold start vary too much from run to run; a condition can
# bound them.
_COMPARED = ("p50_ms", "p90_ms", "memory_mb", "size_mb")


@dataclass(frozen=True)
class Condition:
    """What must not be true of any row.

    Attributes:
        metric: A name in `METRICS`.
        comparison: ``>``, ``>=``, ``<`` or ``<=``.
        limit: In the metric's unit.
    """

    metric: str
    comparison: str
    limit: float

    def failures(self, rows: Sequence[Row]) -> Iterator[str]:
        """The rows of which it is true, or of which it cannot be said, each in words."""
        for row in rows:
            figure = METRICS[self.metric](row)
            if figure is None:
                yield f"{row_name(row)}: {why_missing(row, self.metric)}"
            elif _OPERATORS[self.comparison](figure, self.limit):
                yield f"{row_name(row)}: {_figure(row, self.metric)}, {self}"

    def __str__(self) -> str:
        return f"{self.comparison} {self.limit:g}"


def parse_condition(text: str) -> Condition:
    """Reads a condition such as ``p90_ms>20``.

    Raises:
        OptionError: It is no condition, or names a metric that there is not.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise OptionError(
            f"{text!r} is no condition. Expected METRIC, one of > >= < <=, and a number, for "
            "example 'p90_ms>20'."
        )
    metric, comparison, limit = match.groups()
    if metric not in METRICS:
        raise OptionError(f"There is no metric {metric!r}. Expected one of {', '.join(METRICS)}.")
    return Condition(metric, comparison, float(limit))


def parse_tolerance(text: str) -> float:
    """Reads a percentage such as ``10%``.

    Returns:
        It as a share: 0.1.

    Raises:
        OptionError: It is no percentage.
    """
    match = _TOLERANCE.fullmatch(text)
    if match is None:
        raise OptionError(f"The tolerance is {text!r}; expected a percentage such as '10%'.")
    return float(match[1]) / 100


def check_same_cpu(baseline: Mapping[str, Any], cpu: str | None) -> None:
    """Refuses a baseline that was measured elsewhere: its figures say nothing about this CPU.

    Raises:
        OptionError: The CPU's model is another, or is not known.
    """
    other = baseline["environment"]["cpu"]
    if not cpu or other != cpu:
        raise OptionError(
            f"The baseline was measured on {other or 'an unknown CPU'}, this benchmark on "
            f"{cpu or 'an unknown CPU'}; their difference would tell of the CPUs, not of a change. "
            "Measure a baseline on this machine."
        )


@dataclass(frozen=True)
class Verdict:
    """What gates said of a benchmark.

    Attributes:
        failures: What does not pass, a sentence each.
        notes: What could not be compared, a sentence each.
    """

    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def compare_with_baseline(
    results: Mapping[str, Any], baseline: Mapping[str, Any], tolerance: float
) -> Verdict:
    """Finds the rows that got worse.

    Rows are the same when file name, runtime, threads asked for, batch and input are; the file's
    content may differ. Medians, ninetieth percentiles, steady memory and size may grow by
    `tolerance`; top-1 may not fall below the 95 % interval that the baseline has.

    Args:
        results: What `edgeclf.benchmark` returned.
        baseline: The same of an earlier run on the same CPU.
        tolerance: Share by which a figure may grow, 0.1 being 10 %.

    Raises:
        OptionError: The baseline is from another CPU, or has no row in common.
    """
    check_same_cpu(baseline, results["environment"]["cpu"])
    new, old = ({_key(row): row for row in each["rows"]} for each in (results, baseline))
    common = [key for key in new if key in old]
    if not common:
        raise OptionError(
            "The baseline has no row in common with this benchmark. Expected rows with the same "
            "file, runtime, threads, batch and input; it has "
            f"{'; '.join(map(row_name, old.values()))}."
        )
    worse: list[str] = []
    notes = [f"{row_name(new[key])} is not in the baseline" for key in new if key not in old]
    notes += [f"{row_name(old[key])} is in the baseline only" for key in old if key not in new]
    for key in common:
        name = row_name(new[key])
        for found, notable in _changes(new[key], old[key], tolerance):
            (worse if notable else notes).append(f"{name}: {found}")
    return Verdict(tuple(worse), tuple(notes))


def _changes(new: Row, old: Row, tolerance: float) -> Iterator[tuple[str, bool]]:
    """What a row's comparison found; with each, whether it is a failure or a mere note."""
    if old["error"]:
        yield "failed in the baseline, nothing to compare", False
        return
    if new["error"]:
        yield f"{why_missing(new, 'p50_ms')}; it did not in the baseline", True
        return
    for metric in (*_COMPARED, "top1"):
        after, before = METRICS[metric](new), METRICS[metric](old)
        if before is None:
            if after is not None:
                yield f"the baseline has no {metric}", False
        elif after is None:
            yield f"{why_missing(new, metric)}; the baseline has {before:.4g}", True
        elif metric == "top1":
            low = old["accuracy"]["top1_interval_95"][0]
            if after < low:
                yield (
                    (
                        f"top1 is {after:.4g}, below the 95 % interval of the baseline's "
                        f"{before:.4g}, from {low:.4g}"
                    ),
                    True,
                )
        elif after > before * (1 + tolerance):
            growth = f"{(after / before - 1) * 100:.1f} % more than" if before else "more than"
            yield f"{_figure(new, metric)}, {growth} the baseline's {before:.4g}", True


def _figure(row: Row, metric: str) -> str:
    unstable = " (unstable)" if metric in _LATENCIES and is_unstable(row) else ""
    return f"{metric} is {METRICS[metric](row):.4g}{unstable}"


def _key(row: Row) -> tuple[Any, ...]:
    runtime = row["runtime"]["name"]
    return row["file"], runtime, row["threads"], row["batch"], row["input"]


@dataclass(frozen=True)
class Gates:
    """What a benchmark has to pass.

    Attributes:
        conditions: None may be true of any row.
        baseline: Earlier results; None for no comparison.
        tolerance: Share by which a figure may be worse than the baseline's.
    """

    conditions: tuple[Condition, ...] = ()
    baseline: Mapping[str, Any] | None = None
    tolerance: float = 0.1

    def check(self, results: Mapping[str, Any]) -> Verdict:
        """Holds the results against all of it.

        Raises:
            OptionError: The baseline cannot be compared with them.
        """
        compared = Verdict()
        if self.baseline is not None:
            compared = compare_with_baseline(results, self.baseline, self.tolerance)
        failures = [f for condition in self.conditions for f in condition.failures(results["rows"])]
        return Verdict((*failures, *compared.failures), compared.notes)


def add_gate_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `Gates`."""
    group = parser.add_argument_group("gates", "exit code 1 when a row does not pass")
    group.add_argument(
        "--fail-if",
        metavar="CONDITION",
        action="append",
        default=[],
        help=f"for example 'p90_ms>20'; repeatable; metrics: {', '.join(METRICS)}",
    )
    group.add_argument(
        "--baseline", metavar="FILE", help="results of an earlier benchmark on the same CPU"
    )
    group.add_argument(
        "--tolerance",
        metavar="PERCENT",
        default="10%",
        help="how much worse than the baseline a row may be (default: 10%%)",
    )


def gates_from(args: argparse.Namespace, cpu: str | None) -> Gates:
    """The gates given on the command line, checked before anything is measured.

    Args:
        args: With the flags of `add_gate_arguments`.
        cpu: The model of this machine's CPU.

    Raises:
        OptionError: A condition or the tolerance cannot be read, or the baseline cannot be used.
    """
    baseline = read_results(args.baseline) if args.baseline else None
    if baseline is not None:
        check_same_cpu(baseline, cpu)
    conditions = tuple(map(parse_condition, args.fail_if))
    return Gates(conditions, baseline, parse_tolerance(args.tolerance))


def check_gates(results: dict[str, Any], out: Path, limits: Limits, gates: Gates) -> bool:
    """Adds the recommendation to the results and tells what the gates say of them.

    Args:
        results: As written to `out`, which is written again with the keys ``limits`` and
            ``recommendation``.
        out: Where the results are.
        limits: What the recommended row has to keep.
        gates: What every row has to pass.

    Returns:
        Whether a row keeps the limits, if there are any, and all of them pass the gates.

    Raises:
        OptionError: The results cannot be compared with the baseline.
    """
    recommendation = recommend(results, limits)
    results.update(limits=asdict(limits), recommendation=asdict(recommendation))
    files.write_json(out, results)
    log(("recommended: " if recommendation.chosen else "") + recommendation.reason)
    verdict = gates.check(results)
    for note in verdict.notes:
        log(f"note: {note}")
    for failure in verdict.failures:
        log(f"FAILED: {failure}")
    return not verdict.failures and bool(recommendation.chosen or not limits)
