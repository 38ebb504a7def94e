"""Which of a conversion's results to take on this machine, from the times it measured anyway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgeclf.system.cpu import available_cpus, cpu_flags, cpu_model
from edgeclf.system.cpu_time import was_busy
from edgeclf.system.int8 import fast_int8, int8_advice
from edgeclf.system.quiet import first_words_of
from edgeclf.system.words import counted

_WORTH_SAYING = 1.1  # times are taken in passing; less than this between two of them is noise
_FEW_PARTS = 2  # one, or one on each side of something that XNNPACK does not take


def xnnpack_parts(model: bytes) -> int | None:
    """In how many parts of a TFLite graph XNNPACK computes; None where LiteRT does not tell.

    Between two parts are operators that it does not take, on slower kernels and one thread.
    """
    from ai_edge_litert.interpreter import Interpreter

    with first_words_of("ai-edge-litert"):
        interpreter = Interpreter(model_content=model)
        interpreter.allocate_tensors()
    operators = getattr(interpreter, "_get_ops_details", None)
    if operators is None:
        return None
    return len([None for operator in operators() if operator["op_name"] == "DELEGATE"])


def advise(results: Mapping[str, Mapping[str, Any]], cpus_left: float | None = None) -> list[str]:
    """The advice in sentences; none where fewer than two results hold.

    Args:
        results: Those of ``NAME.conversion.json``, by target.
        cpus_left: How many CPUs others left to this process meanwhile; None if not known.
    """
    taken = {
        result["file"]: {**attempt, "size_bytes": result["size_bytes"]}  # as written, labels in it
        for result in results.values()
        if result["passed"]
        for attempt in result["attempts"][-1:]
    }
    if len(taken) < 2:
        return []
    return [*_sentences(taken), *_of_processor(taken), *_conditions(cpus_left)]


def _sentences(taken: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    ms = {name: attempt["p50_ms"] for name, attempt in taken.items()}
    fastest = min(ms, key=ms.__getitem__)
    where = f"On this machine ({cpu_model()})"
    yield f"{where} {fastest} is the fastest, {ms[fastest]:.2f} ms a picture."
    floats = {name.rpartition(".")[2]: name for name in taken if ".fp32." in name}
    for name, time_ms in ms.items():
        other = floats.get(name.rpartition(".")[2], name)
        if time_ms > _WORTH_SAYING * ms[other]:
            yield (
                f"{name} takes {time_ms / ms[other]:.1f} times as long as {other}: as measured "
                "here, it is worth taking for its size alone."
            )
    sizes = {name: attempt["size_bytes"] for name, attempt in taken.items()}
    smallest = min(sizes, key=lambda name: (sizes[name], ms[name]))
    if sizes[fastest] > _WORTH_SAYING * sizes[smallest]:
        yield (
            f"{smallest} is the smallest, {sizes[smallest] / 1e3:.0f} kB instead of "
            f"{sizes[fastest] / 1e3:.0f}, at {ms[smallest] / ms[fastest]:.1f} times the time."
        )
    for name, attempt in taken.items():
        if (attempt["parts"] or 0) > _FEW_PARTS:
            yield (
                f"XNNPACK gets {name} in {attempt['parts']} parts, with slower kernels between "
                "them: another precision is faster."
            )


def _of_processor(taken: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What 'edgeclf doctor' says of this CPU, where that is not what was measured."""
    fastest = min(taken, key=lambda name: taken[name]["p50_ms"])
    has_int8 = any(".int8" in name for name in taken)
    if has_int8 and ".int8" not in fastest and fast_int8(cpu_flags()):
        yield f"By its features it would be otherwise: {int8_advice(cpu_flags())}"


def _conditions(cpus_left: float | None) -> Iterator[str]:
    threads = available_cpus()
    if cpus_left is not None and was_busy(cpus_left, threads):
        yield (
            f"The machine was busy meanwhile, {cpus_left:.1f} of {counted(threads, 'CPU')} were "
            "left: these times are rough."
        )
    yield "Timed in passing; 'edgeclf benchmark' measures, on the device."
