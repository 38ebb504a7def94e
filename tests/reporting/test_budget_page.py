"""The report of a search within a budget."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from edgeclf.reporting import budget_page as page

ACCURACY = {"top1": 0.9875, "top1_interval_95": [0.964, 0.9957], "images": 240}


def cost(ms: float, kb: float = 150.0) -> dict[str, float]:
    return {"latency_ms": ms, "size_kb": kb, "memory_mb": 36.0}


def trial(name: str, outcome: str, ms: float, loss: float, note: str = "") -> dict[str, Any]:
    rungs = [{"epoch": 3 if outcome == "complete" else 1, "loss": loss, "top1": 0.9,
              "float_top1": 0.95}]  # fmt: skip
    return {"name": name, "outcome": outcome, "note": note, "load": 0.9, "multiply_adds": 9_000_000,
            "predicted": {"int8.tflite": cost(ms)}, "rungs": [] if outcome == "failed" else rungs,
            "design": {}, "seconds": 1.0}  # fmt: skip


def finalist(name: str, ms: float, load: float, **other: Any) -> dict[str, Any]:
    found = {"passed": True, "error": None, "accuracy": ACCURACY, "predicted": cost(ms),
             "cost": cost(1.1 * ms), "load": load} | other  # fmt: skip
    return {"name": name, "design": {}, "parameters": 60_000, "multiply_adds": 9_000_000,
            "float_accuracy": ACCURACY, "targets": {"int8.tflite": found}}  # fmt: skip


RECORD: dict[str, Any] = {
    "schema": "edgeclf.fit/1", "name": "mugs <b>", "recommended": "student-a",
    "budget": {"limits": {"latency_ms": 0.3}, "targets": ["int8.tflite"],
               "words": "latency at most 0.3 ms"},
    "device": {"measured_here": True, "cpu": "a CPU", "threads": 1, "date": "2026-11-30",
               "engines": {"ai-edge-litert": "2.3.0"}},
    "designs": {"looked_at": 5184, "within": 1200},
    "finalists": [finalist("student-a", 0.25, 0.92), finalist("student-b", 0.28, 1.03)],
    "trials": [
        trial("student-a", "complete", 0.25, 0.08), trial("student-b", "complete", 0.28, 0.07),
        trial("student-c", "stopped", 0.2, 0.6, "behind the better half of those before"),
        trial("student-d", "broken", 0.2, 1.6, "40 points of top-1 lost as int8"),
        trial("student-e", "failed", 0.2, 0.0, "The loss became nan."),
    ],
    "photos": {"training": 640, "judges": 96, "evaluation": 240, "data_sha256": "d" * 64,
               "evaluation_sha256": "e" * 64},
    "settings": {"views": 8, "epochs": 3, "learning_rate": 2e-3, "seed": 0},
    "environment": {"cpu": "a CPU", "cpus_available": 2, "libraries": {"keras": "3"},
                    "commit": None, "date": "2026-11-30"},
}  # fmt: skip


def test_the_recommendation_in_words() -> None:
    said = page.describe(RECORD)
    assert said.startswith("Recommended: student-a as int8.tflite, right on 98.8 % of 240")
    assert "0.275 ms, 150 kB and 36.0 MB of memory as measured here; the budget is" in said
    elsewhere = copy.deepcopy(RECORD) | {"recommended": None}
    assert page.describe(elsewhere).startswith("No finalist is recommended")


def test_the_front_in_lines_marks_what_is_recommended_and_what_is_over() -> None:
    head, first, second = page.front_lines(RECORD)
    assert head.split() == ["design", "target", "top-1", "latency", "size", "memory"]
    assert first.startswith("* student-a") and "over" not in first
    assert second.startswith("  student-b") and second.endswith("over the budget")
    failed = copy.deepcopy(RECORD)
    failed["finalists"] = [finalist("student-a", 0.2, 0, cost=None, error="It cannot be.")]
    assert list(page.front_lines(failed))[1].endswith("It cannot be.")


def test_markdown_tells_all_trials_with_their_reasons() -> None:
    text = page.to_markdown(RECORD)
    assert "1,200 of 5,184 designs are predicted to keep to the budget." in text
    assert "2 to the end, 1 stopped, 1 broken by int8, 1 failed" in text
    for words in ("40 points of top-1 lost as int8", "The loss became nan.", "0.250 ms predicted"):
        assert words in text
    assert "a CPU, 1 thread, ai-edge-litert 2.3.0; its table is of 2026-11-30" in text


def test_the_page_holds_the_plot_and_escapes_names() -> None:
    pytest.importorskip("jinja2", reason="needs edgeclf[report]")
    pytest.importorskip("matplotlib", reason="needs edgeclf[report]")
    shown = page.to_html(RECORD)
    assert "mugs &lt;b&gt;" in shown and "<b>" not in shown
    assert shown.count("<svg") == 1 and "student-d: 0.200 ms, loss 1.600, broken by int8" in shown
    assert "student-e:" not in shown, "nothing is known of its loss"
    assert "102" not in shown and "103.0\u00a0%" in shown.replace("103.0 %", "103.0\u00a0%")
