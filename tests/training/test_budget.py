"""What a budget leaves room for, told before anything is trained."""

from __future__ import annotations

import re
from typing import Any

import pytest

import edgeclf
from edgeclf.errors import OptionError, QualityGateError
from edgeclf.training.budget_config import BudgetConfig

pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.training import budget
from edgeclf.training.budget import Budget, Cost, find_room
from support.budgets import MadeUpTable

GIVEN: dict[str, Any] = {"teacher": "T.keras", "device": "pi.json"}


@pytest.fixture(autouse=True)
def few_designs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that takes no time to look through."""
    monkeypatch.setattr(budget, "INPUT_SIZES", (64, 96))
    monkeypatch.setattr(budget, "BLOCKS", (4, 6))
    monkeypatch.setattr(budget, "EXPANSIONS", (3, 6))


def of(**limits: Any) -> Budget:
    return Budget(BudgetConfig(**GIVEN, **limits), MadeUpTable(), 4)


def test_all_that_is_within_the_budget_is_and_nothing_else() -> None:
    limits = of(max_latency_ms=1.0, max_size_kb=150, max_memory_mb=25.3)
    room = find_room(limits)
    every = [limits.candidate(design) for design in budget.all_designs()]
    assert room.looked_at == len(every) > len(room.within) > 10
    kept = {str(each.design) for each in room.within}
    for each in every:
        cost = each.costs["int8.tflite"]
        fits = cost.latency_ms <= 1 and cost.size_kb <= 150 and cost.memory_mb <= 25.3
        assert (str(each.design) in kept) == fits
    most = [each.multiply_adds for each in room.within]
    assert most == sorted(most, reverse=True)


def test_the_widest_design_that_a_share_of_the_budget_leaves_room_for() -> None:
    room = find_room(of(max_latency_ms=1.0))
    fixed = {"input_size": 64, "blocks": 6, "expansion": 3, "head": 64}
    whole, half = room.find(1.0, **fixed), room.find(0.5, **fixed)
    assert whole is not None and half is not None
    assert 0.5 < whole.load <= 1 and half.load <= 0.5
    assert half.design.width < whole.design.width
    assert room.find(0.001, **fixed) is None


def test_every_file_that_is_asked_for_has_to_keep_to_the_budget() -> None:
    one = find_room(of(max_latency_ms=1.0))
    both = find_room(of(max_latency_ms=1.0, to=("int8.tflite", "fp32.onnx")))
    assert len(both.within) < len(one.within)
    assert all(each.costs["fp32.onnx"].latency_ms <= 1 for each in both.within)


def test_a_budget_that_nothing_meets_names_the_nearest_and_what_bars_it() -> None:
    limits = of(max_latency_ms=1.0, max_size_kb=20)
    with pytest.raises(QualityGateError) as raised:
        find_room(limits)
    said = str(raised.value)
    assert "None of 144 designs is predicted to keep to the budget: latency at most 1 ms" in said
    sizes = [limits.candidate(each).costs["int8.tflite"].size_kb for each in budget.all_designs()]
    found = re.search(
        r"The nearest is (\S+): as int8\.tflite, size (\d+) kB \(at most 20 kB\)", said
    )
    assert found is not None and int(found[2]) == round(min(sizes))
    assert found[1] in {str(design) for design in budget.all_designs()}
    assert "latency 0." not in said
    assert said.endswith("Nothing was trained.")


def test_the_limit_that_is_taken_most_of_is_told() -> None:
    limits = of(max_latency_ms=2.0, max_size_kb=100)
    assert limits.load(Cost(latency_ms=1.0, size_kb=80, memory_mb=999)) == (0.8, "size_kb")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_size_kb": 9, "teacher": None}, "No teacher is given; expected --teacher FILE"),
        ({"max_size_kb": 9, "device": None}, "No device is given; expected --device FILE"),
        ({}, "No limit is given; expected max_latency_ms, max_size_kb or max_memory_mb"),
        ({"max_latency_ms": 0}, "max_latency_ms is 0; expected more than 0"),
        ({"max_latency_ms": float("nan")}, "max_latency_ms is nan; expected "),
        ({"max_size_kb": 9, "trials": 0}, "trials is 0; expected at least 1"),
        ({"max_size_kb": 9, "to": ["int4.tflite"]}, "to is int4.tflite; expected some of int8"),
        ({"max_size_kb": 9, "to": ["int8.onnx"] * 2}, "each once"),
    ],
)
def test_what_cannot_work_is_refused_before_any_file_is_read(
    wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        edgeclf.fit("no photos here", **{**GIVEN, **wrong})
