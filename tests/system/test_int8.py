"""What is said of int8 on a processor, for `doctor` and `convert` alike."""

from __future__ import annotations

import pytest

from edgeclf.doctor import _remarks
from edgeclf.system.int8 import fast_int8, int8_advice


@pytest.mark.parametrize(
    ("flags", "fast", "said"),
    [
        (("avx2", "avx512_vnni"), ("avx512_vnni",), "usually the fastest here, as the CPU has avx"),
        (("asimd", "asimddp", "i8mm"), ("asimddp", "i8mm"), "as the CPU has asimddp, i8mm"),
        (("avx2", "fma"), (), "int8.tflite may be slower than fp32.tflite"),
        (("asimd",), (), "may not be faster than fp32"),
        ((), (), "Measure them"),
    ],
)
def test_one_rule_for_every_processor(
    flags: tuple[str, ...], fast: tuple[str, ...], said: str
) -> None:
    assert fast_int8(flags) == fast and said in int8_advice(flags)
    environment = {"cpus_available": 2, "cpus_of_machine": 2, "cpu_flags": flags, "libraries": {}}
    assert int8_advice(flags) in _remarks(environment)
