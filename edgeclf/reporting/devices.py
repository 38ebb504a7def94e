"""Benchmark files as devices: what was measured on one machine belongs together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeclf.measurement.matrix.schema import Row, row_threads

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Device:
    """Machines with one CPU model and system, which are taken for one.

    Attributes:
        name: CPU and system.
        runs: What `edgeclf.benchmark` wrote there, in the order given.
        results: The same as one benchmark: all rows, with ids that are unique among them, and
            the limits that the runs were given if all were given the same.
    """

    name: str
    runs: tuple[Results, ...]
    results: Results


def group_by_device(files: Iterable[Results]) -> tuple[Device, ...]:
    """The devices that benchmarks were run on, in the order in which they first appear."""
    groups: dict[str, list[Results]] = {}
    for results in files:
        where = results["environment"]
        name = f"{where['cpu'] or 'unknown CPU'}, {where['system']}"
        groups.setdefault(name, []).append(results)
    return tuple(Device(name, tuple(runs), _merge(runs)) for name, runs in groups.items())


def _merge(runs: Sequence[Results]) -> Results:
    if len(runs) == 1:
        return runs[0]
    rows: list[Row] = []
    for index, run in enumerate(runs):
        rows += [{**row, "id": f"{index + 1}/{row['id']}"} for row in run["rows"]]
    method = {**runs[0]["method"], "quick": any(run["method"]["quick"] for run in runs)}
    # What was recommended in each run was not chosen from all of these rows.
    dropped = {"recommendation"}
    if any(run.get("limits") != runs[0].get("limits") for run in runs):
        dropped.add("limits")
    kept = {key: value for key, value in runs[0].items() if key not in dropped}
    complete = all(run["complete"] for run in runs)
    return {**kept, "method": method, "complete": complete, "rows": rows}


@dataclass(frozen=True)
class SameFile:
    """One file, run in one way, on several devices.

    Attributes:
        row: One of its rows, for the name of file and runtime.
        of_devices: Its row on each device; None where it was not measured.
    """

    row: Row
    of_devices: tuple[Row | None, ...]


def same_files(devices: Sequence[Device]) -> tuple[SameFile, ...]:
    """What was measured on two devices or more: the same bytes, runtime, threads and batch."""
    of_each: list[dict[tuple[Any, ...], Row]] = [
        {_key(row): row for row in device.results["rows"]} for device in devices
    ]
    keys = dict.fromkeys(key for rows in of_each for key in rows)
    found = []
    for key in keys:
        rows = tuple(rows.get(key) for rows in of_each)
        present = [row for row in rows if row is not None]
        if len(present) > 1:
            found.append(SameFile(present[0], rows))
    return tuple(found)


def _key(row: Row) -> tuple[Any, ...]:
    return row["sha256"], row["runtime"]["name"], row_threads(row), row["batch"], row["input"]
