"""What a processor's features say of int8: one rule, for all that give advice."""

from __future__ import annotations

from collections.abc import Iterable

# Processor features with which int8 arithmetic is several times as fast as float.
_FAST = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
_OF_ARM = {"asimd", "neon"}


def fast_int8(flags: Iterable[str]) -> tuple[str, ...]:
    """Those of a CPU's features that make int8 fast.

    Args:
        flags: As of `edgeclf.system.cpu.cpu_flags`.
    """
    return tuple(sorted(_FAST.intersection(flags)))


def int8_advice(flags: Iterable[str]) -> str:
    """What to expect of int8 on a CPU that has these features, in a sentence or two.

    Where there is no instruction for it, LiteRT's kernels for x86 are slower in int8 than in float,
    and ONNX Runtime's are not: ``docs/conversion.md`` has the figures.

    Args:
        flags: As of `edgeclf.system.cpu.cpu_flags`.
    """
    flags = {*flags}
    if fast := fast_int8(flags):
        return f"int8 is usually the fastest here, as the CPU has {', '.join(fast)}."
    if _OF_ARM & flags:
        return (
            "This CPU has no instruction that adds products of int8 (dot product): int8 saves "
            "memory, and may not be faster than fp32. Measure both."
        )
    return (
        "This CPU has no instruction that adds products of int8 (VNNI): int8.onnx is usually "
        "faster than fp32.onnx, and int8.tflite may be slower than fp32.tflite. Measure them."
    )
