"""The plan of a service: from what a picture costs to replicas, workers, CPUs and memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf.cli import main
from edgeclf.errors import OptionError, ServiceError
from edgeclf.service.planning import UTILISATION, Demand, make_plan, to_text
from edgeclf.service.profiles import Profile, measure_profile, read_profile
from support.benchmark_results import make_results
from support.load_records import make_record, make_step
from support.services import artifact, shade, write

PROFILE = Profile(
    tuple(np.random.default_rng(0).gamma(4.0, 2.5, 5000)),  # 10 ms, cv 0.5
    1.0, 10.0, 100 * 2**20, 30_000.0, 5000, "made up",
)  # fmt: skip


@pytest.mark.parametrize(
    ("rate", "replicas", "workers"),
    [(1, 1, 1), (50, 1, 1), (100, 1, 2), (260, 1, 4), (300, 2, 3), (2000, 8, 4)],
)
def test_the_fewest_replicas_that_stay_below_the_utilisation(
    rate: float, replicas: int, workers: int
) -> None:
    plan = make_plan(PROFILE, Demand(rate, 200.0, 4))
    assert (plan.replicas, plan.workers) == (replicas, workers)
    assert plan.utilisation <= UTILISATION and plan.p99_ms <= 200
    assert plan.cpus == workers


def test_a_tighter_p99_takes_more() -> None:
    plans = [make_plan(PROFILE, Demand(120, p99, 4)) for p99 in (100, 40, 30)]
    sizes = [plan.replicas * plan.workers for plan in plans]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    with pytest.raises(ServiceError, match=r"alone takes 2[4-9].* ms at p99 here, and 20 ms"):
        make_plan(PROFILE, Demand(1, 20, 4))
    with pytest.raises(ServiceError, match="more than 1,000 replicas"):
        make_plan(PROFILE, Demand(1e7, 100, 4))


def test_memory_and_threads_are_in_the_manifest() -> None:
    demand = Demand(100, 200.0, 2, threads=2, queue=64)
    plan = make_plan(PROFILE, demand)
    text = to_text(plan, PROFILE, demand, "photos")
    assert 'requests: {cpu: "4", memory: 128Mi}' in text
    assert 'limits: {cpu: "4", memory: 224Mi}' in text
    assert "--threads 2 --workers 2" in text and "would carry" not in text
    assert "--images photos --rate 100 --seconds 30 --deadline-ms 200" in text


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_demands_that_cannot_be_are_refused(value: float) -> None:
    with pytest.raises(OptionError, match="rate_per_s is"):
        Demand(value, 10, 1)
    with pytest.raises(OptionError, match="p99_ms is"):
        Demand(10, value, 1)


def store(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "measured.json"
    path.write_text(json.dumps(document))
    return path


def test_a_load_test_is_a_profile(tmp_path: Path) -> None:
    step = make_step(100, cpus_used=0.6)  # 6 ms a request, 4.2 of them the worker's
    profile = read_profile(store(tmp_path, make_record([step])), None, 1)
    assert np.mean(profile.service_ms) == pytest.approx(6.0, rel=0.01)
    assert profile.beside_ms == 0.0 and profile.cpu_ms == pytest.approx(6.0)
    assert profile.memory_bytes == 80_000_000 and profile.measured == 400
    idle = make_step(100, cpus_used=0.42, network_ms=2.0)
    profile = read_profile(store(tmp_path, make_record([idle])), None, 1)
    assert profile.beside_ms == pytest.approx(2.4)  # network and service
    silent = store(tmp_path, make_record([make_step(100, told=False)]))
    with pytest.raises(OptionError, match="does not say what a picture costs"):
        read_profile(silent, None, 1)


def test_a_benchmark_is_a_profile(tmp_path: Path) -> None:
    results = make_results()
    rows = [row for row in results["rows"] if row["latency"] and row["batch"] == 1]
    results["rows"] = rows[:1]
    threads = rows[0]["runtime"]["threads"]
    profile = read_profile(store(tmp_path, results), None, threads)
    histogram = rows[0]["latency"]["histogram"]
    assert profile.measured == sum(histogram["counts"]) and profile.cpu_ms is None
    assert histogram["edges_ms"][0] < np.mean(profile.service_ms) < histogram["edges_ms"][-1]
    demand = Demand(1, 10_000, 1)
    assert "HTTP around the model is not in it" in to_text(
        make_plan(profile, demand), profile, demand, None
    )
    with pytest.raises(OptionError, match="holds 0 rows"):
        read_profile(store(tmp_path, results), None, threads + 7)


def test_a_service_is_measured_by_asking_it(tmp_path: Path) -> None:
    model = write(tmp_path / "models", artifact())
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.jpg").write_bytes(shade(128))
    profile = measure_profile(str(model), images, ["--runtime", "fake", "--workers", "1"], 1.0)
    assert profile.measured > 10 and profile.cpu_ms is not None
    assert 0 < np.mean(profile.service_ms) < 1000
    assert np.mean(profile.service_ms) >= 0.9 * profile.cpu_ms
    assert profile.memory_bytes is not None and profile.memory_bytes > 10e6
    with pytest.raises(ServiceError, match="did not become ready: edgeclf: "):
        measure_profile(str(images / "a.jpg"), images, [], 0.5)


def test_the_verb_prints_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = store(tmp_path, make_record())
    words = ["serve", "--plan", "--profile", str(path), "--workers", "1", "--p99-ms", "300"]
    assert main([*words, "--rate", "50"]) == 0
    assert "50 pictures a second with p99 <= 300 ms: 1 replica of 1 worker" in (
        capsys.readouterr().out
    )
    for given, message in (
        (words, "--plan needs --rate"),
        ([*words, "--rate", "5", "--images", "x"], "--plan needs --rate"),
        ([*words, "--rate", "5", "a", "b"], "for one artifact"),
        (["serve", "a", "--rate", "5"], "--rate have no effect without --plan"),
        (["serve", "--plan", "--rate", "5", "--p99-ms", "9", "--images", "x"], "for one artifact"),
    ):
        assert main(given) == 2
        assert message in capsys.readouterr().err
