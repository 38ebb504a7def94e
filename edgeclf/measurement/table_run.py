"""Measures a device's latency table: probe networks, in fresh processes, again and again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.artifact import Precision, save_artifact
from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.measurement.harness.process import measure
from edgeclf.measurement.jobs.memory import MemoryJob
from edgeclf.measurement.jobs.probes import ProbesJob
from edgeclf.measurement.latency_table import (
    SCHEMA,
    LatencyTable,
    largest_pair,
    latency_errors,
    memory_errors,
    write_operator,
)
from edgeclf.measurement.probe_networks.plan import ProbeLayer, random_networks
from edgeclf.measurement.probe_networks.timing import RUNTIMES, probe_artifact
from edgeclf.metrics.operator_shapes import KINDS
from edgeclf.system.cpu_time import cpu_clock, cpus_left, was_busy
from edgeclf.system.environment import environment
from edgeclf.system.progress import Progress
from edgeclf.system.words import counted

NETWORKS = 60
_SEED = 0
_VISITS = 3  # of each network, apart from each other; the quietest counts
_TOGETHER = 15  # networks in one process
_PACKAGES = {"litert": "ai_edge_litert", "onnxruntime": "onnxruntime"}
_ENGINES = ("ai-edge-litert", "onnxruntime", "onnxruntime-gpu")
_PRECISIONS: tuple[Precision, ...] = ("int8", "fp32")
_MEMORY_NETWORKS = 6
_MEGA = 1e6
_DIGITS = 5
_METHOD = (
    "random networks of the student family, each in three fresh processes in random order: calls "
    "of one image of random bytes without and with the engine's profiler in turns, means over the "
    "quieter half, of the quietest process; memory is the proportional set size after 51 calls"
)


def installed_runtimes(chosen: str | None = None) -> list[str]:
    """The formats whose engine is installed here and has a profiler: ``tflite``, ``onnx``.

    Args:
        chosen: The only runtime wanted, ``litert`` or ``onnxruntime``; by default both.

    Raises:
        OptionError: There is no profiler for the runtime chosen.
        MissingDependencyError: None is installed, or not the one chosen.
    """
    if chosen is not None and chosen not in _PACKAGES:
        raise OptionError(
            f"Runtime is {chosen!r}; expected litert or onnxruntime, which have a profiler."
        )
    wanted = {f: name for f, name in RUNTIMES.items() if chosen in (None, name)}
    found = [f for f, name in wanted.items() if find_spec(_PACKAGES[name]) is not None]
    if not found:
        name = chosen or "litert"
        raise MissingDependencyError(_PACKAGES[name], name, "Measuring a latency table")
    return found


def measure_table(
    formats: Sequence[str], *, threads: int, seconds: float, networks: int = NETWORKS
) -> LatencyTable:
    """Times probe networks and finds out how well they predict each other.

    Args:
        formats: Of `installed_runtimes`.
        threads: Threads for one call.
        seconds: Of calls altogether; starting processes and loading networks comes on top.
        networks: How many to time; a fifth of the default is the least that is useful.

    Returns:
        The table. Nothing is written.

    Raises:
        MeasurementError: An engine cannot be profiled, or not with these networks.
    """
    plans = random_networks(networks, _SEED)
    kinds = [(format_, precision) for format_ in formats for precision in _PRECISIONS]
    before = cpu_clock()
    times = _time_all(plans, kinds, threads, seconds / len(kinds) / networks / _VISITS)
    left = cpus_left(before, cpu_clock())
    memory = _measure_memory(plans, kinds, threads)
    found = environment()
    libraries = found["libraries"]
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "device": {
            **{name: found[name] for name in ("cpu", "cpu_flags", "date")},
            "engines": {name: libraries[name] for name in _ENGINES if name in libraries},
            "threads": threads,
            "edgeclf": libraries.get("edgeclf"),
        },
        "method": _METHOD,
        "cpus_left": left,
        "errors": {},
        "memory": memory,
        "networks": [
            {"operators": [write_operator(layer.shape) for layer in plan], "times": each}
            for plan, each in zip(plans, times, strict=True)
        ],
        "environment": found,
    }
    table = LatencyTable(document)
    document["errors"] = {
        key: {"latency": latency_errors(table.timed(key)), "memory": memory_errors(memory[key])}
        for key in table.measured
    }
    return LatencyTable(document)


def table_lines(table: LatencyTable) -> Iterator[str]:
    """What a table tells a reader: operators by kind, then how far its predictions are off."""
    threads, left = table.device["threads"], table.document["cpus_left"]
    engines = ", ".join(f"{name} {number}" for name, number in table.device["engines"].items())
    yield f"{table.device['cpu']}, {counted(threads, 'thread')}, {engines}"
    for key in table.measured:
        networks = table.timed(key)
        yield ""
        yield f"{key:<12} {'count':>6}  {'ms each':>8}  {'GMAC/s':>7}"
        for kind in KINDS:
            pairs = [(o.multiply_adds, ms) for each in networks
                     for o, ms in zip(each.operators, each.operators_ms, strict=True)
                     if o.kind == kind]  # fmt: skip
            products, total_ms = (sum(column) for column in zip(*pairs, strict=True))
            rate = f"{products / total_ms / 1e6:.1f}" if products and total_ms else ""
            yield f"  {kind:<10} {len(pairs):>6}  {total_ms / len(pairs):>8.4f}  {rate:>7}".rstrip()
        for what, error in table.errors[key].items():
            yield (f"  {what} of networks left out is predicted within {error['median']:.1%} "
                   f"(median) and {error['worst']:.1%} (worst of {error['networks']})")  # fmt: skip
    if was_busy(left, threads):
        yield ""
        yield (f"The machine was busy: {left:.1f} CPUs were left for {counted(threads, 'thread')}. "
               "Measure again when it is quiet.")  # fmt: skip


def _time_all(
    plans: Sequence[Sequence[ProbeLayer]],
    kinds: Sequence[tuple[str, Precision]],
    threads: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """The times of each network, by ``format.precision``."""
    found: list[dict[str, Any]] = [{} for _ in plans]
    work = list(_rounds(len(plans)))
    progress = Progress("time operators", len(work) * len(kinds))
    for numbers in work:
        for format_, precision in kinds:
            job = ProbesJob(count=len(plans), seed=_SEED, numbers=numbers, format=format_,
                            precision=precision, threads=threads, seconds=seconds)  # fmt: skip
            for number, made in zip(numbers, measure(job).networks, strict=True):
                _keep_quietest(found[number], f"{format_}.{precision}", made)
            progress.advance(note=f"{format_} {precision}")
    return found


def _rounds(count: int) -> Iterator[tuple[int, ...]]:
    """Which networks to time together: all, in another order each time."""
    rng = np.random.default_rng(_SEED)
    for _ in range(_VISITS):
        order = rng.permutation(count).tolist()
        for start in range(0, count, _TOGETHER):
            yield tuple(order[start : start + _TOGETHER])


def _keep_quietest(times: dict[str, Any], key: str, made: dict[str, Any]) -> None:
    kept = times.setdefault(key, {"call_ms": made["call_ms"], "calls": 0,
                                  "operators_ms": made["operators_ms"]})  # fmt: skip
    kept["call_ms"] = round(min(kept["call_ms"], made["call_ms"]), _DIGITS)
    kept["calls"] += made["calls"]
    pairs = zip(kept["operators_ms"], made["operators_ms"], strict=True)
    kept["operators_ms"] = [round(min(pair), _DIGITS) for pair in pairs]


def _measure_memory(
    plans: Sequence[Sequence[ProbeLayer]],
    kinds: Iterable[tuple[str, Precision]],
    threads: int,
) -> dict[str, list[list[float]]]:
    """By ``format.precision``: MB of the file, of the largest pair of tensors, and of the PSS."""
    by_size = sorted(plans, key=lambda plan: sum(layer.shape.weights for layer in plan))
    places = np.linspace(0, len(plans) - 1, min(_MEMORY_NETWORKS, len(plans))).astype(int)
    chosen = [by_size[place] for place in places]
    work = [(*kind, plan) for kind in kinds for plan in chosen]
    progress = Progress("measure memory", len(work))
    found: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for format_, precision, plan in work:
            path = Path(folder, f"probe.{precision}.{format_}")
            artifact = save_artifact(probe_artifact(plan, format_, precision), path)
            job = MemoryJob(model=str(path), runtime=RUNTIMES[format_], threads=threads)
            pss = measure(job).phases["steady"]["pss_bytes"]
            pair = largest_pair(layer.shape for layer in plan) * (1 if precision == "int8" else 4)
            row = [artifact.size_bytes / _MEGA, pair / _MEGA, pss / _MEGA]
            found.setdefault(f"{format_}.{precision}", []).append([round(n, 6) for n in row])
            progress.advance(note=f"{format_} {precision}")
    return found
