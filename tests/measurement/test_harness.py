from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeclf
from edgeclf.errors import DataError, MeasurementError, OptionError
from edgeclf.measurement.harness.process import measure
from edgeclf.measurement.jobs.base import Job, ModelJob
from edgeclf.measurement.jobs.imports import ImportJob
from edgeclf.metrics.accuracy import agreement_record
from edgeclf.metrics.statistics import (
    bootstrap_interval,
    paired_t_interval,
    percentiles,
    wilson_interval,
)
from edgeclf.system.cpu import available_cpus


def test_percentiles_that_the_sample_cannot_carry_are_withheld() -> None:
    few = percentiles([float(x) for x in range(99)])
    assert (few.n, few.p50, few.p90, few.p99) == (99, 49.0, None, None)
    some = percentiles([float(x) for x in range(101)])
    assert (some.p50, some.p90, some.p99) == (50.0, 90.0, None)
    many = percentiles([float(x) for x in range(1001)])
    assert (many.p90, many.p99) == (900.0, 990.0)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Wilson's interval as R's prop.test(correct = FALSE) prints it.
    [(8, 10, 0.4901625, 0.9433178), (0, 20, 0.0, 0.1611252), (240, 240, 0.9842462, 1.0)],
)
def test_wilson_interval(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-6)


def test_the_paired_t_interval_is_that_of_the_textbook() -> None:
    # Mean 2, s = 1, n = 3, t = 4.303: 2 -+ 4.303 / sqrt(3).
    assert paired_t_interval([1, 2, 3]) == pytest.approx((-0.4843, 4.4843), abs=1e-4)
    # Mean 3, s = sqrt(2.5), n = 5, t = 2.776: 3 -+ 1.9629.
    assert paired_t_interval([1, 2, 3, 4, 5]) == pytest.approx((1.0371, 4.9629), abs=1e-4)
    assert paired_t_interval([2, 2, 2]) == (2, 2)
    # 41 values, so 40 degrees, of which tables say t = 2.0211.
    many = [0.0, 1.0] * 20 + [0.5]
    half = 2.0211 * np.std(many, ddof=1) / 41**0.5
    assert paired_t_interval(many) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-5)


def test_the_bootstrap_interval_is_repeatable_and_about_that_of_the_mean() -> None:
    values = [0.0] * 50 + [1.0] * 50
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    assert low == pytest.approx(0.402, abs=0.02) and high == pytest.approx(0.598, abs=0.02)


def test_agreement() -> None:
    a = np.array([[0.9, 0.1], [0.4, 0.6]], np.float32)
    b = np.array([[0.7, 0.3], [0.6, 0.4]], np.float32)
    record = agreement_record(a, b)
    assert record["top1_agreement"] == 0.5
    assert record["max_change"] == pytest.approx(0.2)
    assert record["mean_change"] == pytest.approx(0.2)


_GROW = """
import json, numpy
from dataclasses import asdict
from edgeclf.measurement.probes.memory import memory_use, peak_rss_bytes
before = memory_use()
block = numpy.ones(50_000_000, numpy.uint8)
print(json.dumps([asdict(before), asdict(memory_use()), peak_rss_bytes()]))
"""


def test_memory_counts_what_is_really_there() -> None:
    # In a fresh process: this one may hold freed memory that a new block would reuse.
    done = subprocess.run([sys.executable, "-c", _GROW], capture_output=True, text=True, check=True)
    before, after, peak = json.loads(done.stdout)
    for field in ("pss_bytes", "uss_bytes", "rss_bytes"):
        assert 49e6 < after[field] - before[field] < 60e6, field
    assert after["uss_bytes"] <= after["pss_bytes"] <= after["rss_bytes"] <= peak


def test_cpus_follow_the_affinity() -> None:
    code = "import os; os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]}); " \
           "from edgeclf.system.cpu import available_cpus; print(available_cpus())"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert available_cpus() >= 1


class TheWeather(Job[None]):
    kind = "the weather"


def test_a_failed_measurement_gives_its_reason() -> None:
    with pytest.raises(MeasurementError, match="no runtime 'tpu'"):
        measure(ImportJob(runtime="tpu"))
    with pytest.raises(MeasurementError, match=r"^It was measured in a child.* code 1 .*: KeyErr"):
        measure(TheWeather())


def test_benchmark_measures_every_row(model_folder: Path, mugs: Path, tmp_path: Path) -> None:
    models = [model_folder / f"mugs.{end}" for end in ("keras", "int8.tflite", "fp32.onnx")]
    out = tmp_path / "results.json"
    results = edgeclf.benchmark(
        models, mugs / "eval", out=out, quick=True, matrix=edgeclf.BenchmarkMatrix(threads=[1])
    )
    assert json.loads(out.read_text()) == results
    assert results["schema"] == "edgeclf.benchmark/2"
    assert [row["file"] for row in results["rows"]] == [path.name for path in models]
    for row, path in zip(results["rows"], models, strict=True):
        assert row["error"] is None
        assert row["size_bytes"] == path.stat().st_size
        assert row["runtime"]["threads"] == 1
        assert row["accuracy"]["images"] == 24
        stages = row["latency"]["stages_ms"]
        assert list(stages) == ["decode", "preprocess", "inference", "total"]
        for stage in stages.values():
            assert stage["n"] >= 128 and 0 < stage["p50"] <= stage["p90"]
            assert (stage["p99"] is None) == (stage["n"] < 1000)
        assert stages["inference"]["p50"] < stages["total"]["p50"]
        phases = row["memory"]["phases"]
        assert list(phases) == ["baseline", "imported", "loaded", "first inference", "steady"]
        # What others share meanwhile, as other tests do with TensorFlow, moves PSS and not RSS.
        sizes = [use["rss_bytes"] for use in phases.values()]
        assert 1e6 < sizes[0] < sizes[1] < sizes[3]
        assert all(0 < use["pss_bytes"] <= use["rss_bytes"] for use in phases.values())
        assert row["memory"]["peak_rss_bytes"] >= phases["steady"]["rss_bytes"]
        assert row["memory"]["gpu_bytes"] is None or row["memory"]["gpu_bytes"] >= 0
        assert row["cold_start"]["warm_ms"] > stages["total"]["p50"]
        assert len(row["cpus"]) == 1
        assert row["throughput"]["images_per_s"] > 0 and row["throughput"]["n"] > 0
        assert sum(row["latency"]["histogram"]["counts"]) == stages["total"]["n"]
    keras, tflite, onnx = results["rows"]
    assert keras["agreement"]["max_change"] == 0
    assert onnx["agreement"]["max_change"] < 1e-4 <= tflite["agreement"]["max_change"]
    assert (
        tflite["memory"]["phases"]["steady"]["rss_bytes"]
        < 0.3 * (keras["memory"]["phases"]["steady"]["rss_bytes"])
    )


def test_a_row_that_fails_stays_with_its_reason(
    model_folder: Path, mugs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf.measurement.matrix import rows

    def broken(job: ModelJob[Any]) -> Any:
        if job.model.endswith(".onnx"):
            raise MeasurementError("onnxruntime is not installed")
        return measure(job)

    monkeypatch.setattr(rows, "measure", broken)
    models = [model_folder / "mugs.fp32.onnx", model_folder / "mugs.int8.tflite"]
    results = edgeclf.benchmark(models, mugs / "eval", out=tmp_path / "r.json", quick=True)
    failed, fine = results["rows"]
    assert failed["error"] == "onnxruntime is not installed" and failed["latency"] is None
    assert fine["error"] is None and fine["latency"] is not None


def test_unusable_requests(model_folder: Path, mugs: Path) -> None:
    with pytest.raises(OptionError, match="at least one"):
        edgeclf.benchmark([], mugs / "eval")
    with pytest.raises(DataError, match="no label for eval, train"):
        edgeclf.benchmark([model_folder / "mugs.int8.tflite"], mugs)
