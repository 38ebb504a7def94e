"""Which of a conversion's results to take on this machine, from the times it measured anyway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgeclf.system.cpu import cpu_flags, cpu_model
from edgeclf.system.quiet import first_words_of

_WORTH_SAYING = 1.1  # times are taken in passing; less than this between two of them is noise
_FEW_PARTS = 2  # one, or one on each side of something that XNNPACK does not take
_INT8_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}


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


def advise(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The advice in sentences; none where fewer than two results hold.

    Args:
        results: Those of ``NAME.conversion.json``, by target.
    """
    taken = {
        result["file"]: attempt
        for result in results.values()
        if result["passed"]
        for attempt in result["attempts"][-1:]
    }
    return list(_sentences(taken)) if len(taken) > 1 else []


def _sentences(taken: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    ms = {name: attempt["p50_ms"] for name, attempt in taken.items()}
    fastest = min(ms, key=ms.__getitem__)
    where = f"On this machine ({_machine()})"
    yield f"{where} {fastest} is the fastest, {ms[fastest]:.2f} ms a picture."
    floats = {name.rpartition(".")[2]: name for name in taken if ".fp32." in name}
    for name, time_ms in ms.items():
        other = floats.get(name.rpartition(".")[2], name)
        if time_ms > _WORTH_SAYING * ms[other]:
            yield (
                f"{name} takes {time_ms / ms[other]:.1f} times as long as {other}: here it is "
                "worth taking for its size alone."
            )
    sizes = {name: attempt["size_bytes"] for name, attempt in taken.items()}
    smallest = min(sizes, key=lambda name: (sizes[name], ms[name]))
    if smallest != fastest:
        yield (
            f"{smallest} is the smallest, {sizes[smallest] / 1e6:.2f} MB instead of "
            f"{sizes[fastest] / 1e6:.2f}, at {ms[smallest] / ms[fastest]:.1f} times the time."
        )
    for name, attempt in taken.items():
        if (attempt["parts"] or 0) > _FEW_PARTS:
            yield (
                f"XNNPACK gets {name} in {attempt['parts']} parts, with slower kernels between "
                "them: another precision is faster."
            )
    yield "Timed in passing; `edgeclf benchmark` measures, on the device."


def _machine() -> str:
    has = "multiplies int8 in one step" if _INT8_FLAGS & {*cpu_flags()} else "without int8 products"
    return f"{cpu_model()}, {has}"
