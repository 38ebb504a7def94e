"""What a conversion says in the end about which result to take."""

from __future__ import annotations

from typing import Any

import pytest

from edgeclf.converters import advice
from edgeclf.converters.advice import advise
from edgeclf.system.int8 import int8_advice


def result(name: str, ms: float, size: int, parts: int | None = None) -> dict[str, Any]:
    attempt = {"p50_ms": ms, "size_bytes": size - 90_000, "parts": parts, "passed": True}
    failed = {"p50_ms": None, "size_bytes": None, "parts": None, "passed": False}
    return {
        "passed": True, "file": name, "size_bytes": size, "attempts": [failed, attempt]
    }  # fmt: skip


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "cpu_model", lambda: "a CPU")
    monkeypatch.setattr(advice, "cpu_flags", lambda: ("avx2",))
    monkeypatch.setattr(advice, "available_cpus", lambda: 2)


def test_the_fastest_the_smallest_and_what_is_slower_than_fp32() -> None:
    assert advise(
        {
            "m.fp32.tflite": result("m.fp32.tflite", 1.0, 4_000_000, 1),
            "m.int8.tflite": result("m.int8.tflite", 1.5, 1_000_000, 1),
            "m.dynamic.tflite": result("m.dynamic.tflite", 1.05, 1_100_000, 7),
            "m.fp32.onnx": result("m.fp32.onnx", 1.2, 4_000_000),
            "m.int8.onnx": result("m.int8.onnx", 0.5, 1_200_000),
            "m.fp16.onnx": {"passed": False, "file": None, "attempts": []},
        }
    ) == [
        "On this machine (a CPU) m.int8.onnx is the fastest, 0.50 ms a picture.",
        "m.int8.tflite takes 1.5 times as long as m.fp32.tflite: as measured here, it is worth "
        "taking for its size alone.",
        "m.int8.tflite is the smallest, 1000 kB instead of 1200, at 3.0 times the time.",
        "XNNPACK gets m.dynamic.tflite in 7 parts, with slower kernels between them: another "
        "precision is faster.",
        "Timed in passing; 'edgeclf benchmark' measures, on the device.",
    ]


def test_one_result_needs_no_advice_and_the_best_of_all_gets_one_sentence() -> None:
    only = {"m.int8.tflite": result("m.int8.tflite", 1.5, 1_000_000, 1)}
    assert advise(only) == []
    # A fallback is called what it is; the smallest of equals is the fastest.
    both = only | {"m.int8.onnx": result("m.fp16.onnx", 3.0, 2_000_000)}
    assert advise(both) == [
        "On this machine (a CPU) m.int8.tflite is the fastest, 1.50 ms a picture.",
        "Timed in passing; 'edgeclf benchmark' measures, on the device.",
    ]


def test_what_the_processor_promises_is_said_where_it_was_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(advice, "cpu_flags", lambda: ("avx2", "avx512_vnni"))
    rule = int8_advice(("avx2", "avx512_vnni"))
    slow, fast = (
        {
            "m.int8.tflite": result("m.int8.tflite", ms, 1_000_000, 1),
            "m.fp32.tflite": result("m.fp32.tflite", 1.0, 4_000_000, 1),
        }
        for ms in (1.5, 0.5)
    )
    assert f"By its features it would be otherwise: {rule}" in advise(slow)
    assert rule not in " ".join(advise(fast))


@pytest.mark.parametrize(
    ("left", "remark"), [(None, None), (1.9, None), (0.84, "0.8 of 2 CPUs were left")]
)
def test_a_busy_machine_is_remarked(left: float | None, remark: str | None) -> None:
    both = {name: result(name, 1.0, 1_000_000, 1) for name in ("m.int8.tflite", "m.int8.onnx")}
    sentences = advise(both, left)
    busy = [each for each in sentences if each.startswith("The machine was busy")]
    assert bool(busy) == (remark is not None) and (remark or "") in " ".join(busy)
    assert sentences[-1].startswith("Timed in passing")
