"""What a report claims: teacher against student, in figures and in words."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from edgeclf.measurement.matrix.recommendation import Limits
from edgeclf.report import report
from edgeclf.reporting.summary import summarize
from support.benchmark_results import MB, MEASURED, REASON
from support.reports import markdown_of, write


def test_headline_compares_keras_teacher_with_int8_tflite_student(results: dict[str, Any]) -> None:
    headline = summarize(results).headline
    assert headline is not None
    assert (headline.teacher_file, headline.student_file) == ("big.fp32.keras", "small.int8.tflite")
    assert headline.parameters is not None
    assert (headline.parameters.teacher, headline.parameters.student) == (4_000_000, 500_000)
    assert headline.parameters.ratio == 8
    assert headline.size_bytes.ratio == 32
    assert headline.total_p50_ms.ratio == 10
    assert headline.steady_pss_bytes.ratio == 15
    assert headline.top1.change_points == pytest.approx(-2)
    assert headline.top1.intervals_overlap
    assert headline.student_agreement == 0.985


def test_like_with_like_takes_the_same_runtime_and_precision(results: dict[str, Any]) -> None:
    (pair,) = summarize(results).like_with_like
    assert pair.title == "litert int8"
    assert (pair.size_bytes.ratio, pair.total_p50_ms.ratio) == (8, 4)
    results["rows"][2]["runtime"]["threads"] = 4
    assert summarize(results).like_with_like == ()


def test_summary_in_words(results: dict[str, Any]) -> None:
    first, agreement, failed = summarize(results).sentences
    assert first == (
        "The int8 student small is 32.0 times smaller than the Keras teacher big (500 kB against "
        "16.0 MB), answers 10.0 times faster here (median 2.00 ms against 20.0 ms, from the bytes "
        "of an image file to the answer) and loses 2.0 points of top-1 (88.0 % against 90.0 % on "
        "400 photos; the 95 % intervals overlap)."
    )
    assert "98.5 %" in agreement
    assert failed.startswith("1 of 4 rows failed")


def test_words_of_rows_that_failed_or_were_unstable(results: dict[str, Any]) -> None:
    for row in results["rows"][:3]:
        row["latency"]["stable"] = False
    *_, failed, unstable = summarize(results).sentences
    assert failed == "1 of 4 rows failed; the reason is given below."
    assert unstable == (
        "3 of 4 rows were unstable while they were measured: their latency is not to be relied on."
    )
    for row in results["rows"]:
        row.update(dict.fromkeys(MEASURED), error=REASON)
    assert summarize(results).sentences[-1] == "All 4 rows failed; the reasons are given below."


def test_words_of_a_student_that_is_worse_or_alike(results: dict[str, Any]) -> None:
    student = results["rows"][2]
    student["size_bytes"] = 32 * MB
    student["latency"]["stages_ms"]["total"]["p50"] = 50.0
    student["accuracy"]["top1"] = 0.95
    worse = summarize(results).sentences[0]
    assert "2.00 times larger than" in worse
    assert "2.50 times slower" in worse
    assert "gains 5.0 points" in worse
    student["size_bytes"] = 16 * MB
    student["latency"]["stages_ms"]["total"]["p50"] = 20.1
    student["accuracy"]["top1"] = 0.9
    alike = summarize(results).sentences[0]
    assert "as large as" in alike
    assert "about as fast" in alike
    assert "keeps its top-1" in alike


@pytest.mark.parametrize("missing", [0, 2])
def test_no_claim_when_a_row_is_missing_or_failed(results: dict[str, Any], missing: int) -> None:
    failed = copy.deepcopy(results)
    failed["rows"][missing].update(dict.fromkeys(MEASURED), error="out of memory")
    del results["rows"][missing]
    for broken in (results, failed):
        summary = summarize(broken)
        assert summary.headline is None
        assert not any("times" in sentence for sentence in summary.sentences)


def test_one_model_is_compared_with_its_own_source(results: dict[str, Any], tmp_path: Path) -> None:
    results["rows"] = results["rows"][:2]
    summary = summarize(results)
    assert (summary.teacher, summary.student, summary.like_with_like) == ("big", "big", ())
    assert summary.sentences[0].startswith("big as int8 TFLite is 4.00 times smaller than its ")
    assert report(write(results, tmp_path)).exists()


def test_models_of_one_size_are_neither_teacher_nor_student(results: dict[str, Any]) -> None:
    for entry in results["rows"]:
        entry["parameters"] = 7
    summary = summarize(results)
    assert summary.teacher is None
    assert summary.headline is None
    assert summary.like_with_like == ()
    assert markdown_of(results).startswith("# Benchmark: big, small\n")


def test_limits_of_the_benchmark_hold_unless_others_are_given(results: dict[str, Any]) -> None:
    results["limits"] = {"max_latency_ms": 1.0}
    assert summarize(results).recommendation.chosen is None
    chosen = summarize(results, Limits(max_drop=1.5)).recommendation.chosen
    assert chosen == "big.int8.tflite litert 1"


def test_what_a_reader_must_know_is_said(results: dict[str, Any]) -> None:
    assert not any("photos:" in words for words in summarize(results).sentences)
    results["rows"][1]["accuracy"]["data_sha256"] = "ef" * 32
    results["complete"] = False
    results["method"]["quick"] = True
    photos, incomplete, quick = summarize(results).sentences[-3:]
    assert "on different photos: their accuracies cannot be compared" in photos
    assert "rows are missing" in incomplete
    assert "quick run" in quick
