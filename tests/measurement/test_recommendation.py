from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from edgeclf.errors import OptionError
from edgeclf.measurement.matrix.recommendation import Limits, Recommendation, recommend

BIG, QUANTISED, SMALL, FAILED = (
    "big.fp32.keras tensorflow 1", "big.int8.tflite litert 1", "small.int8.tflite litert 1",
    "small.int8.onnx onnxruntime 1",
)  # fmt: skip


def why(results: dict[str, Any], row: str, **limits: float) -> str:
    return recommend(results, Limits(**limits)).rejected[row]


def test_without_limits_the_fastest_that_is_not_clearly_less_accurate(
    results: dict[str, Any],
) -> None:
    assert recommend(results, Limits()) == Recommendation(
        SMALL,
        "small.int8.tflite on litert, 1 thread: median 2.00 ms, the lowest of the 3 of 4 rows "
        "that can be compared; 0.500 MB file, 40.0 MB of memory, top-1 88.0 %.",
        {
            FAILED: "it failed: RuntimeLoadError: no such <operator> | here",
            BIG: "slower: median 20.0 ms against 2.00 ms, 10.0 times as long",
            QUANTISED: "slower: median 8.00 ms against 2.00 ms, 4.00 times as long",
        },
    )


def test_a_clearly_less_accurate_row_loses_however_fast(results: dict[str, Any]) -> None:
    results["rows"][2]["accuracy"] |= {"top1": 0.8, "top1_interval_95": [0.78, 0.82]}
    found = recommend(results, Limits())
    assert found.chosen == QUANTISED
    assert found.rejected[SMALL] == (
        "top-1 80.0 % is clearly below the 90.0 % of the most accurate one that fits: the 95 % "
        "intervals do not overlap"
    )
    assert "of the 2 of 4 rows that can be compared and are not clearly less" in found.reason
    # What does not fit sets no standard: a teacher that is too slow takes nothing from a student.
    assert recommend(results, Limits(max_latency_ms=5)).chosen == SMALL


def test_among_rows_within_5_percent_the_smaller_file_wins(results: dict[str, Any]) -> None:
    medians = results["rows"][1]["latency"]["stages_ms"]["total"]
    medians["p50"] = 1.92
    found = recommend(results, Limits())
    assert found.chosen == SMALL
    assert "the smallest file within 5 % of the lowest (1.92 ms)" in found.reason
    assert found.rejected[QUANTISED] == (
        "as fast within 5 % (median 1.92 ms against 2.00 ms), but a larger file: 4.00 MB against "
        "0.500 MB"
    )
    medians["p50"] = 1.90
    assert recommend(results, Limits()).chosen == QUANTISED


def test_among_ways_to_run_one_file_the_fewest_threads_win(results: dict[str, Any]) -> None:
    more = copy.deepcopy(results["rows"][2]) | {"id": "more", "threads": 4}
    more["runtime"]["threads"] = 4
    results["rows"].append(more)
    more["latency"]["stages_ms"]["total"]["p50"] = 1.95
    found = recommend(results, Limits())
    assert found.chosen == SMALL
    assert found.rejected["more"].endswith("from a file of the same size, with no fewer threads")
    more["latency"]["stages_ms"]["total"]["p50"] = 1.5
    assert recommend(results, Limits()).chosen == "more"


@pytest.mark.parametrize(
    ("limits", "row", "reason"),
    [
        ({"max_latency_ms": 7.5}, QUANTISED, "median latency 8.00 ms is above 7.5 ms"),
        ({"max_memory_mb": 45}, QUANTISED, "memory 50.0 MB is above 45 MB"),
        ({"max_size_mb": 10}, BIG, "size 16.0 MB is above 10 MB"),
        ({"min_accuracy": 0.885}, SMALL, "top-1 88.0 % is below 88.5 %"),
        (
            {"max_drop": 1.5}, SMALL,
            "top-1 88.0 % is 2.0 points below the most accurate row's 90.0 %, more than 1.5",
        ),
        (
            {"max_latency_ms": 7, "max_memory_mb": 45}, QUANTISED,
            "median latency 8.00 ms is above 7 ms; memory 50.0 MB is above 45 MB",
        ),
    ],
)  # fmt: skip
def test_why_a_limit_is_not_kept(
    results: dict[str, Any], limits: dict[str, float], row: str, reason: str
) -> None:
    assert why(results, row, **limits) == reason


def test_a_limit_itself_is_kept(results: dict[str, Any]) -> None:
    exact = Limits(2.0, 40.0, 0.5, 0.88, 2.0)  # 0.90 - 0.88 is more than 0.02 in floating point
    assert recommend(results, exact).chosen == SMALL


def test_the_words_of_a_choice_among_few(results: dict[str, Any]) -> None:
    reason = recommend(results, Limits(max_size_mb=1)).reason
    assert "the only one of 4 rows that keeps the limits;" in reason
    results["rows"].pop()  # the one that failed
    assert ", the lowest of the 3 rows; " in recommend(results, Limits()).reason
    reason = recommend(results, Limits(max_latency_ms=30)).reason
    assert ", the lowest of the 3 rows, which all keep the limits; " in reason
    results["rows"] = results["rows"][2:]
    assert ": median 2.00 ms, the only row; " in recommend(results, Limits()).reason


def test_nothing_fits(results: dict[str, Any]) -> None:
    found = recommend(results, Limits(max_latency_ms=1, max_drop=0.5))
    assert found.chosen is None
    assert found.reason == (
        "Nothing fits: none of the 3 of 4 rows that can be compared keeps median latency at most "
        "1 ms, at most 0.5 points of top-1 below the most accurate row."
    )
    assert set(found.rejected) == {BIG, QUANTISED, SMALL, FAILED}


def test_the_words_of_nothing_among_few(results: dict[str, Any]) -> None:
    big, quantised, _, failed = results["rows"]

    def nothing(*rows: dict[str, Any]) -> str:
        return recommend({"rows": rows}, Limits(max_latency_ms=1)).reason

    kept = "keep median latency at most 1 ms."
    assert nothing(big) == f"Nothing fits: the only row does not {kept}"
    assert nothing(big, failed) == (
        f"Nothing fits: the only one of 2 rows that can be compared does not {kept}"
    )
    assert nothing(big, quantised) == (
        "Nothing fits: none of the 2 rows keeps median latency at most 1 ms."
    )
    assert nothing(failed) == (
        "Nothing can be recommended: the only row has no latency to rely on."
    )


def test_rows_that_are_no_candidates(results: dict[str, Any]) -> None:
    big, quantised, small, _ = results["rows"]
    big["latency"] = None
    small["latency"]["stable"] = False
    quantised["batch"] = 8
    found = recommend(results, Limits())
    assert found.chosen is None
    assert found.reason.startswith("Nothing can be recommended: none of the 4 rows")
    assert found.rejected[BIG] == "median latency was not measured"
    assert found.rejected[SMALL] == "its latency was unstable while it was measured"
    assert found.rejected[QUANTISED] == "its latency is that of a batch of 8, not of one photo"


def test_a_figure_that_a_limit_needs(results: dict[str, Any]) -> None:
    results["rows"][2].update(memory=None)
    assert recommend(results, Limits()).chosen == SMALL
    assert why(results, SMALL, max_memory_mb=100) == "memory was not measured"
    results["rows"][2].update(accuracy=None)
    assert why(results, SMALL, min_accuracy=0.5) == "top-1 was not measured"
    assert why(results, SMALL) == "top-1 was not measured, that of others was"


def test_random_input_counts_where_there_is_nothing_else(results: dict[str, Any]) -> None:
    results["rows"][2]["input"] = "random"
    assert why(results, SMALL).startswith("its latency is that of the model alone")
    for row in results["rows"]:
        row.update(input="random", accuracy=None)
    found = recommend(results, Limits())
    assert found.chosen == SMALL
    assert found.reason.startswith("small.int8.tflite on litert, 1 thread, random input: ")


def test_a_throttled_row_says_so(results: dict[str, Any]) -> None:
    results["rows"][2]["throttled"] = True
    assert recommend(results, Limits()).reason.endswith("; it was throttled while it was measured.")


def test_every_row_is_chosen_or_rejected_and_the_order_does_not_matter(
    results: dict[str, Any],
) -> None:
    rng = random.Random(0)
    for trial in range(200):
        rows = []
        for index in range(8):
            row = copy.deepcopy(rng.choice(results["rows"])) | {"id": f"{trial}-{index}"}
            if row["latency"]:
                row["latency"]["stages_ms"]["total"]["p50"] = rng.uniform(1, 3)
                row["latency"]["stable"] = rng.random() > 0.2
            row["size_bytes"] = rng.randrange(10**5, 10**7)
            rows.append(row)
        limits = Limits(max_latency_ms=rng.choice([None, 2]), max_size_mb=rng.choice([None, 5]))
        found = recommend({"rows": rows}, limits)
        judged = {*found.rejected, *([found.chosen] if found.chosen else [])}
        assert judged == {row["id"] for row in rows}
        assert found.chosen not in found.rejected
        rng.shuffle(rows)
        assert recommend({"rows": rows}, limits).chosen == found.chosen


@pytest.mark.parametrize(
    "limits",
    [
        {"max_latency_ms": -1},
        {"min_accuracy": 95},
        {"max_drop": 101},
        {"max_size_mb": float("nan")},
    ],
)
def test_limits_that_make_no_sense(limits: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(limits))} is "):
        Limits(**limits)


def test_limits_are_true_when_there_are_any() -> None:
    assert not Limits()
    assert Limits(max_drop=0)
    assert str(Limits()) == "none"
