from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from edgeclf.cli import main
from edgeclf.errors import OptionError
from edgeclf.measurement.matrix.gates import (
    Condition,
    Gates,
    check_gates,
    compare_with_baseline,
    parse_condition,
    parse_tolerance,
)
from edgeclf.measurement.matrix.recommendation import Limits
from support.benchmark_results import MB, MEASURED

SMALL = "small.int8.tflite on litert, 1 thread"


@pytest.fixture
def results(results: dict[str, Any]) -> dict[str, Any]:
    """The rows that worked, without the one that failed."""
    results["rows"].pop()
    return results


def failures(results: dict[str, Any], condition: str) -> list[str]:
    return list(parse_condition(condition).failures(results["rows"]))


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("p90_ms>20", Condition("p90_ms", ">", 20)),
        (" top1 < 0.95 ", Condition("top1", "<", 0.95)),
        ("size_mb>=4", Condition("size_mb", ">=", 4)),
        ("memory_mb<=.5", None),
        ("p90_ms=20", None),
        ("p90_ms>20; import os", None),
        ("__import__('os')>1", None),
        ("p90_ms>1e3", None),
        ("", None),
    ],
)
def test_conditions_are_read_and_nothing_else(text: str, condition: Condition | None) -> None:
    if condition:
        assert parse_condition(text) == condition
    else:
        with pytest.raises(OptionError, match="is no condition"):
            parse_condition(text)


def test_an_unknown_metric_names_the_known_ones() -> None:
    known = "p50_ms, p90_ms, p99_ms, memory_mb, size_mb, top1, cold_start_ms"
    with pytest.raises(OptionError, match=f"no metric 'p95_ms'. Expected one of {known}"):
        parse_condition("p95_ms>20")


def test_a_condition_holds_for_every_row(results: dict[str, Any]) -> None:
    assert failures(results, "p50_ms>20") == []
    assert failures(results, "p50_ms>=20") == [
        "big.fp32.keras on tensorflow, 1 thread: p50_ms is 20, >= 20"
    ]
    assert failures(results, "top1<0.885") == [f"{SMALL}: top1 is 0.88, < 0.885"]
    assert len(failures(results, "cold_start_ms>1000")) == 3
    results["rows"][2]["latency"]["stable"] = False
    assert failures(results, "p50_ms<=2") == [f"{SMALL}: p50_ms is 2 (unstable), <= 2"]


def test_a_figure_that_is_missing_is_a_failure_with_its_reason(results: dict[str, Any]) -> None:
    assert failures(results, "p99_ms>100")[-1] == (
        f"{SMALL}: p99 latency is withheld: 1,200 samples cannot carry it"
    )
    results["rows"][2]["memory"] = None
    assert failures(results, "memory_mb>1000") == [f"{SMALL}: memory was not measured"]
    results["rows"][2].update(dict.fromkeys(MEASURED), error="out\nof memory")
    assert failures(results, "p50_ms>1000") == [f"{SMALL}: it failed: out of memory"]


@pytest.mark.parametrize(("text", "share"), [("10%", 0.1), (" 2.5 % ", 0.025), ("0%", 0.0)])
def test_tolerances(text: str, share: float) -> None:
    assert parse_tolerance(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["10", "0.1", "-5%", "ten%", "nan%"])
def test_a_tolerance_is_a_percentage(text: str) -> None:
    with pytest.raises(OptionError, match="expected a percentage"):
        parse_tolerance(text)


def test_the_baseline_itself_passes(results: dict[str, Any]) -> None:
    verdict = compare_with_baseline(results, copy.deepcopy(results), 0.0)
    assert (verdict.failures, verdict.notes) == ((), ())


def test_worse_than_the_tolerance_is_listed(results: dict[str, Any]) -> None:
    baseline = copy.deepcopy(results)
    row = results["rows"][2]
    row["sha256"] = "ef" * 32  # another build of the same file
    row["latency"]["stages_ms"]["total"] |= {"p50": 2.19, "p90": 3.4}
    row["memory"]["phases"]["steady"]["pss_bytes"] = 60 * MB
    row["accuracy"]["top1"] = 0.82
    verdict = compare_with_baseline(results, baseline, 0.1)
    assert verdict.failures == (
        f"{SMALL}: p90_ms is 3.4, 13.3 % more than the baseline's 3",
        f"{SMALL}: memory_mb is 60, 50.0 % more than the baseline's 40",
        f"{SMALL}: top1 is 0.82, below the 95 % interval of the baseline's 0.88, from 0.83",
    )
    assert compare_with_baseline(baseline, results, 0.1).failures == ()  # better is no failure


def test_what_is_gone_or_new_is_told(results: dict[str, Any]) -> None:
    baseline = copy.deepcopy(results)
    baseline["rows"][0]["batch"] = 8
    baseline["rows"][1].update(dict.fromkeys(MEASURED), error="out of memory")
    verdict = compare_with_baseline(results, baseline, 0.1)
    assert verdict.failures == ()
    assert verdict.notes == (
        "big.fp32.keras on tensorflow, 1 thread is not in the baseline",
        "big.fp32.keras on tensorflow, 1 thread, batch 8 is in the baseline only",
        "big.int8.tflite on litert, 1 thread: failed in the baseline, nothing to compare",
    )
    verdict = compare_with_baseline(baseline, results, 0.1)
    assert verdict.failures == (
        "big.int8.tflite on litert, 1 thread: it failed: out of memory; it did not in the baseline",
    )
    results["rows"][2]["memory"] = None
    verdict = compare_with_baseline(results, baseline, 0.1)
    assert verdict.failures == (f"{SMALL}: memory was not measured; the baseline has 40",)


def test_a_baseline_that_compares_nothing_is_refused(results: dict[str, Any]) -> None:
    other = copy.deepcopy(results)
    other["environment"]["cpu"] = "Another CPU"
    with pytest.raises(OptionError, match="measured on Another CPU, this benchmark on A CPU"):
        compare_with_baseline(results, other, 0.1)
    other["environment"]["cpu"] = results["environment"]["cpu"] = None
    with pytest.raises(OptionError, match="unknown CPU"):
        compare_with_baseline(results, other, 0.1)
    results["environment"]["cpu"] = other["environment"]["cpu"] = "A CPU"
    for row in other["rows"]:
        row["file"] += ".old"
    with pytest.raises(OptionError, match="no row in common"):
        compare_with_baseline(results, other, 0.1)


def test_the_verdict_is_stored_and_told(
    results: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "benchmark.json"
    assert check_gates(results, out, Limits(max_size_mb=1), Gates())
    written = json.loads(out.read_text())
    assert written["limits"]["max_size_mb"] == 1
    assert written["recommendation"]["chosen"] == "small.int8.tflite litert 1"
    assert set(written["recommendation"]["rejected"]) == {
        "big.fp32.keras tensorflow 1", "big.int8.tflite litert 1",
    }  # fmt: skip
    assert f"recommended: {SMALL}: median 2.00 ms" in capsys.readouterr().err
    assert not check_gates(results, out, Limits(max_size_mb=0.1), Gates())
    assert json.loads(out.read_text())["recommendation"]["chosen"] is None
    assert "Nothing fits" in capsys.readouterr().err
    gates = Gates((parse_condition("p50_ms>10"),), copy.deepcopy(results))
    assert not check_gates(results, out, Limits(), gates)
    assert "FAILED: big.fp32.keras" in capsys.readouterr().err


def test_nothing_to_recommend_is_no_failure_without_limits(
    results: dict[str, Any], tmp_path: Path
) -> None:
    for row in results["rows"]:
        row["latency"]["stable"] = False
    assert check_gates(results, tmp_path / "benchmark.json", Limits(), Gates())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fail-if", "p95_ms>20"], "no metric 'p95_ms'"),
        (["--tolerance", "10"], "expected a percentage"),
        (["--min-accuracy", "95"], "min_accuracy is 95.0"),
        (["--baseline", "{baseline}"], "measured on A CPU"),
        (["--baseline", "gone.json"], "Cannot read gone.json"),
    ],
)
def test_gates_are_checked_before_anything_is_measured(
    words: list[str],
    message: str,
    results: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    baseline = tmp_path / "baseline.json"
    baseline.write_text(json.dumps(results))
    given = [word.format(baseline=baseline) for word in words]
    # The model is not there either, which would be said first if it were looked for.
    assert main(["benchmark", "gone.tflite", "--images", "gone", *given]) == 2
    assert message in capsys.readouterr().err
