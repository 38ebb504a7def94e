"""Time per operator, and each operator held against the peak of the CPU it ran on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.measurement.profiler import roofline
from edgeclf.measurement.profiler.trace import Arithmetic, Profiler, Step, Trace, quiet_means
from edgeclf.system.cpu_time import cpu_clock, cpus_left

_WARMUP_CALLS = 10
_ROUNDS = 4  # of calls without and with the profiler, in turns
_MAX_CALLS = 125  # profiled ones a round: a trace holds every operator of every call
_PEAK_CALLS = 50
_RESOLUTION_MS = 1e-3  # of the engines' profilers; a rate of less says nothing

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "CAST", "QuantizeLinear", "DequantizeLinear", "Cast",
                "Convert")  # fmt: skip
_TRANSPOSITIONS = ("TRANSPOSE", "Transpose", "ReorderInput", "ReorderOutput")
_PRODUCTS: dict[str, tuple[str, Callable[[Arithmetic], bytes]]] = {
    "litert": ("ai_edge_litert", roofline.tflite_product),
    "onnxruntime": ("onnxruntime", roofline.onnx_product),
}


def measure_profile(model: str, runtime: str, *, threads: int, seconds: float) -> dict[str, Any]:
    """Profiles a model on random bytes.

    Args:
        model: A path.
        runtime: ``litert`` or ``onnxruntime``.
        threads: Threads for one call.
        seconds: Of calls, half of them with the profiler on.

    Returns:
        The fields of `edgeclf.measurement.jobs.profile.ProfileResult`.
    """
    profiler = open_profiler(runtime, Path(model).read_bytes(), threads)
    before = cpu_clock()
    plain, profiled, trace = _run_in_turns(profiler, seconds)
    left = cpus_left(before, cpu_clock())
    times_ms = quiet_means(trace.times_us) / 1e3
    peaks = measure_peaks({s.arithmetic for s in trace.steps}, threads)
    return {
        "runtime": {
            "name": runtime,
            "library": profiler.library,
            "library_version": version(profiler.library),
            "fast_path": profiler.fast_path,
            "threads": threads,
        },
        "calls": len(trace.times_us),
        "cpus_left": left,
        "latency_ms": {
            "plain": _quiet(plain),
            "profiled": _quiet(profiled),
            "operators": float(times_ms.sum()),
        },
        "peaks": peaks,
        "operators": describe_operators(trace.steps, times_ms.tolist(), peaks, profiler.fast_path),
    }


def describe_operators(
    steps: Iterable[Step], times_ms: Iterable[float], peaks: dict[str, Any], fast_path: str
) -> list[dict[str, Any]]:
    """Joins what ran, how long it took and what the CPU could do.

    Args:
        steps: The operators in the order they ran.
        times_ms: Their times.
        peaks: As `measure_peaks` gives them.
        fast_path: What runs an operator when all is well.
    """
    pairs = list(zip(steps, times_ms, strict=True))
    total_ms = sum(ms for _, ms in pairs)
    integers = any(step.arithmetic == "int8" for step, _ in pairs)
    rows = []
    for step, ms in pairs:
        counted = step.multiply_adds if ms >= _RESOLUTION_MS else None
        rate = counted / ms / 1e6 if counted else None
        best = peaks.get(step.arithmetic or "")
        rows.append(
            {
                "type": step.type,
                "name": step.name,
                "by": step.by,
                "ms": ms,
                "share": ms / total_ms if total_ms else 0.0,
                "arithmetic": step.arithmetic,
                "multiply_adds": step.multiply_adds,
                "gmacs_per_s": rate,
                "share_of_peak": rate / best["gmacs_per_s"] if rate and best else None,
                "notes": list(_notes(step, fast_path, integers=integers)),
            }
        )
    return rows


def _notes(step: Step, fast_path: str, *, integers: bool) -> Iterable[str]:
    """Why an operator is off the fast path, in two words each."""
    if step.by != fast_path:
        yield "not delegated"
    if step.type.startswith(_CONVERSIONS):
        yield "converts"
    if step.type.startswith(_TRANSPOSITIONS):
        yield "transposes"
    if integers and step.arithmetic not in ("int8", None):
        yield "in float"


def measure_peaks(arithmetics: Iterable[Arithmetic | None], threads: int) -> dict[str, Any]:
    """The fastest large matrix product of the installed engines; see `roofline.py` beside this.

    Args:
        arithmetics: What to measure; others than int8 and fp32 have no peak.
        threads: Threads for one call.

    Returns:
        By arithmetic, the fastest call's billion multiply-adds a second, in which engine, and
        those of all engines.
    """
    found = {}
    for arithmetic in sorted({"int8", "fp32"}.intersection(filter(None, arithmetics))):
        rates = {
            name: _peak(name, make(arithmetic), threads)  # type: ignore[arg-type]
            for name, (module, make) in _PRODUCTS.items()
            if find_spec(module) is not None
        }
        best = max(rates, key=lambda name: rates[name])
        found[arithmetic] = {"gmacs_per_s": rates[best], "engine": best, "engines": rates}
    return found


def _peak(name: str, product: bytes, threads: int) -> float:
    profiler = open_profiler(name, product, threads)
    for _ in range(_PEAK_CALLS):
        profiler.call_profiled()
    return roofline.PRODUCT / float(profiler.trace().times_us.sum(axis=1).min()) / 1e3


def open_profiler(name: str, content: bytes, threads: int, *, counts: bool = True) -> Profiler:
    """A model in the engine of a runtime, ``litert`` or ``onnxruntime``, ready to be profiled.

    Args:
        name: Of the runtime.
        content: The file.
        threads: Threads for one call.
        counts: Whether multiply-adds must be counted where that takes time.
    """
    if name == "litert":
        from edgeclf.measurement.profiler.litert import LiteRTProfiler

        return LiteRTProfiler(content, threads)
    from edgeclf.measurement.profiler.onnxruntime import OnnxRuntimeProfiler

    return OnnxRuntimeProfiler(content, threads, counts=counts)


def _run_in_turns(profiler: Profiler, seconds: float) -> tuple[list[float], list[float], Trace]:
    """The times of calls without and with the profiler, in ms, and what that recorded."""
    share = seconds / _ROUNDS / 2
    for call in (profiler.call, profiler.call_profiled):
        for _ in range(_WARMUP_CALLS):
            call()
    plain: list[float] = []
    profiled: list[float] = []
    for _ in range(_ROUNDS):
        plain += timed_ms(profiler.call, share, _MAX_CALLS)
        profiled += timed_ms(profiler.call_profiled, share, _MAX_CALLS)
    recorded = profiler.trace()
    return plain, profiled, Trace(recorded.steps, recorded.times_us[_WARMUP_CALLS:])


def timed_ms(call: Callable[[], object], seconds: float, most: int) -> list[float]:
    """The time of each call, in ms; at least one, and at most so many."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or (time.perf_counter() < end and len(times) < most):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def _quiet(times: list[float]) -> float:
    return float(quiet_means(np.array(times)[:, np.newaxis])[0])
