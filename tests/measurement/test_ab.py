from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf.artifact import Metadata, save_artifact, seal_artifact
from edgeclf.cli import main
from edgeclf.errors import MeasurementError, OptionError
from edgeclf.image import ImageSpec
from edgeclf.measurement.harness.interleave import orders
from edgeclf.measurement.jobs.inference import InferenceJob, InferenceResult
from edgeclf.measurement.jobs.latency import LatencyJob, LatencyResult
from edgeclf.measurement.matrix.ab import LatencyVerdict, compare_ab, compare_latencies, parse_side
from edgeclf.metrics.statistics import Percentiles, paired_ratio, wilson_interval
from edgeclf.runtimes import RuntimeInfo
from support import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"
Answer = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An artifact without a network, for the fake runtime."""
    sealed = seal_artifact(b"\x1c\0\0\0TFL3", Metadata("fake", ("a", "b"), ImageSpec(8, 8)))
    save_artifact(sealed, tmp_path / "fake.tflite")
    return tmp_path / "fake.tflite"


def clock(monkeypatch: pytest.MonkeyPatch, **ms: float) -> list[Any]:
    """Stands in for the processes: what each runtime takes, and the jobs it was asked for."""
    jobs: list[Any] = []
    noise = itertools.cycle([0.99, 1.02, 1.0, 0.98, 1.01])

    def measure(job: InferenceJob | LatencyJob) -> InferenceResult | LatencyResult:
        jobs.append(job)
        p50 = ms[job.runtime.replace("-", "_")] * next(noise)
        ran = RuntimeInfo(job.runtime, "none", "1", "cpu", "", 1)
        if isinstance(job, InferenceJob):
            return InferenceResult(ran, Percentiles(100, p50, None, None))
        figure = {"n": 100, "p50": p50, "p90": None, "p99": None}
        stages = {"inference": {**figure, "p50": 1.0}, "total": figure}
        return LatencyResult(ran, {"stages_ms": stages}, 100, None, None, {}, None, {}, None, None)

    monkeypatch.setattr("edgeclf.measurement.harness.interleave.measure", measure)
    return jobs


def test_turns_cancel_a_drift_however_it_bends() -> None:
    names = [name for order in orders("AB", 9) for name in order]
    assert sorted(names[:2]) == ["A", "B"]
    assert "".join(names[-8:]) == "ABBABAAB"
    signs = np.array([1 if name == "A" else -1 for name in names[2:]])
    time = np.arange(len(signs))
    left = [int((signs * time**power).sum()) for power in range(5)]
    assert left[:4] == [0, 0, 0, 0] and left[4] != 0


@pytest.mark.parametrize(
    ("n", "limit"),
    # Wilcoxon's table, two-sided at 5 %.
    [(6, 0), (7, 2), (8, 3), (10, 8), (12, 13), (16, 29), (20, 52), (25, 89)],
)
def test_the_interval_of_a_ratio_is_that_of_signed_ranks(n: int, limit: int) -> None:
    logs = np.random.default_rng(n).normal(0.3, 0.1, n)
    averages = sorted((a + b) / 2 for i, a in enumerate(logs) for b in logs[i:])
    ratio, low, high = paired_ratio(np.exp(logs).tolist(), [1.0] * n)
    assert (low, high) == pytest.approx(np.exp([averages[limit], averages[-1 - limit]]))
    assert ratio == pytest.approx(np.exp(np.median(averages)))
    swapped = paired_ratio([1.0] * n, np.exp(logs).tolist())
    assert swapped == pytest.approx((1 / ratio, 1 / high, 1 / low))


def test_a_disturbed_round_widens_the_interval_and_hardly_moves_the_ratio() -> None:
    steady = paired_ratio([2.0, 2.1, 2.0, 1.9, 2.0, 2.05, 1.95], [1.0] * 7)
    disturbed = paired_ratio([2.0, 2.1, 9.0, 1.9, 2.0, 2.05, 1.95], [1.0] * 7)
    assert 1.9 <= steady[1] <= 2.0 == pytest.approx(steady[0], rel=0.001) and steady[2] <= 2.1
    assert disturbed[0] == pytest.approx(2.0, rel=0.03) and disturbed[2] > steady[2]
    with pytest.raises(MeasurementError, match="5 rounds carry no 95 % interval"):
        paired_ratio([1.0] * 5, [1.0] * 5)


@pytest.mark.parametrize(
    ("slowdown", "verdict"),
    [(1.0, "no difference shown"), (1.1, "A is faster"), (0.9, "A is slower")],
)
def test_a_difference_is_claimed_only_where_the_interval_excludes_1(
    slowdown: float, verdict: str
) -> None:
    a_ms = [2.0, 2.02, 1.98, 2.01, 1.99, 2.03, 1.97, 2.0]
    b_ms = [slowdown * ms for ms in reversed(a_ms)]
    found = compare_latencies(a_ms, b_ms)
    low, high = found.interval_95
    assert found.verdict == verdict and found.rounds == 8
    assert low <= found.ratio <= high and found.ratio == pytest.approx(1 / slowdown, rel=0.02)
    assert (low <= 1 <= high) == (slowdown == 1.0)


def test_the_method_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a simulated machine that warms up; benchmarks/method_soundness.py tries more of them."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import method_soundness as soundness

    noise = soundness.LEVELS["warming up, 40 % slower at the end"]

    def at_best(compare: Callable[..., LatencyVerdict], slowdown: float, wanted: str) -> float:
        """The upper end of the interval of the share of right verdicts."""
        rng = np.random.default_rng(1)
        right = [compare(rng, noise, slowdown).verdict == wanted for _ in range(200)]
        return wilson_interval(sum(right), len(right))[1]

    assert at_best(soundness.in_turns, 1.0, "no difference shown") >= 0.95
    assert at_best(soundness.in_turns, 1.1, "A is faster") >= 0.95
    # The same check, of a method that is not sound.
    assert at_best(soundness.one_after_the_other, 1.0, "no difference shown") < 0.5


def test_what_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = clock(monkeypatch, fake=2.0, litert=1.0)
    out = tmp_path / "ab.json"
    words = ["--compare", f"{model}@fake:2", str(model), "--rounds", "8", "--threads", "3"]
    assert main(["benchmark", *words, "--seconds", "0.5", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("A is slower: A takes 2.0") and "8 rounds)" in printed.out
    assert printed.out.endswith(f"{out}\n") and "100%" in printed.err
    assert len(jobs) == 18 and {job.seconds for job in jobs} == {0.5}
    assert {(job.runtime, job.threads) for job in jobs} == {("fake", 2), ("litert", 3)}
    record = json.loads(out.read_text())
    assert record["schema"] == "edgeclf.comparison-ab/1" and record["complete"] is True
    assert record["verdict"] == "A is slower" and record["stage"] == "inference"
    assert record["interval_95"][0] <= record["ratio"] <= record["interval_95"][1]
    assert record["ratio"] == pytest.approx(2.0, rel=0.05)
    assert record["sides"]["A"]["runtime"]["name"] == "fake"
    assert record["sides"]["B"]["sha256"] == record["sides"]["A"]["sha256"]
    rounds = record["each_round"]
    assert [each["dropped"] for each in rounds] == [True] + [False] * 8
    assert "".join(each["order"] for each in rounds[1:]) == "BAABABBAABBABAAB"
    of_a = [each["A"]["inference"]["p50"] for each in rounds[1:]]
    assert record["sides"]["A"]["p50_ms"] == pytest.approx(np.median(of_a))
    assert record["environment"]["cpus_available"] >= 1


def test_photos_make_it_end_to_end(
    model: Path, make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = clock(monkeypatch, fake=1.0, litert=1.3)
    photos = make_folder(cat=30, dog=40)
    out = tmp_path / "ab.json"
    found = compare_ab(f"{model}@fake", model, images=photos, rounds=6, out=out)
    assert found.verdict == "A is faster"
    record = json.loads(out.read_text())
    assert record["stage"] == "total" and len(record["data_sha256"]) == 64
    assert {job.kind for job in jobs} == {"latency"}
    names = [Path(path).parent.name for path in jobs[0].images]
    assert len(names) == 32 and set(names) == {"cat", "dog"}


@pytest.mark.parametrize(("after", "rounds", "judged"), [(5, 1, False), (17, 7, True)])
def test_ctrl_c_leaves_what_was_measured(
    after: int, rounds: int, judged: bool, model: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    clock(monkeypatch, litert=1.0)
    interrupt_after(monkeypatch, after, KeyboardInterrupt())
    out = tmp_path / "ab.json"
    words = ["--compare", str(model), str(model), "--out", str(out)]
    assert main(["benchmark", *words]) == 130
    assert f"{rounds} of 16 rounds were measured; they are in {out}" in capsys.readouterr().err
    record = json.loads(out.read_text())
    assert record["complete"] is False and record["rounds"] == rounds
    assert (record["verdict"] == "no difference shown") is judged
    assert (record["ratio"] is not None) is judged
    assert sum(len(each["order"]) for each in record["each_round"]) == after


def interrupt_after(monkeypatch: pytest.MonkeyPatch, count: int, error: BaseException) -> None:
    from edgeclf.measurement.harness import interleave

    measure, calls = interleave.measure, itertools.count()

    def stops(job: Any) -> Any:
        if next(calls) == count:
            raise error
        return measure(job)

    monkeypatch.setattr(interleave, "measure", stops)


def test_a_side_that_does_not_run_is_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, fake=1.0)
    interrupt_after(monkeypatch, 1, MeasurementError("it is not installed"))
    out = tmp_path / "ab.json"
    with pytest.raises(MeasurementError, match=r"^[AB], .*fake.tflite: it is not installed$"):
        compare_ab(f"{model}@fake", f"{model}@fake", out=out)
    assert json.loads(out.read_text())["complete"] is False
    out.unlink()
    interrupt_after(monkeypatch, 0, MeasurementError("it is not installed"))
    with pytest.raises(MeasurementError):
        compare_ab(f"{model}@fake", f"{model}@fake", out=out)
    assert not out.exists()


def test_real_processes(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "ab.json"
    found = compare_ab(f"{model}@fake", f"{model}@fake:1", rounds=6, seconds=0.02, out=out)
    record = json.loads(out.read_text())
    assert found.rounds == record["rounds"] == 6 and record["complete"] is True
    for each in record["each_round"]:
        for name in "AB":
            assert each[name]["inference"]["n"] > 10 and each[name]["inference"]["p50"] > 0
    assert record["sides"]["A"]["runtime"]["library"] == "edgeclf"


def test_a_side_names_file_runtime_and_threads(model: Path) -> None:
    def read(text: object) -> tuple[str, int | None]:
        side = parse_side(str(text), 4)
        return side.runtime, side.threads

    assert read(model) == ("litert", 4)
    assert read(f"{model}@fake") == ("fake", 4)
    assert read(f"{model}@fake:2") == ("fake", 2)
    assert read(f"{model}@:1") == ("litert", 1)
    odd = model.with_name("a@fake")
    odd.write_bytes(model.read_bytes())
    assert read(odd) == ("litert", 4) and read(f"{odd}@fake:3") == ("fake", 3)


def test_unusable_requests(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OptionError, match=r"names the runtime 'tpu'; expected .* litert"):
        compare_ab(f"{model}@tpu", model)
    for count in ("0", "-1", "two"):
        with pytest.raises(OptionError, match=f"names '{count}' threads; expected 1 to"):
            compare_ab(f"{model}@litert:{count}", model)
    with pytest.raises(OptionError, match=r"5 rounds of .* at least 6"):
        compare_ab(model, model, rounds=5)
    with pytest.raises(OptionError, match="of 0 s"):
        compare_ab(model, model, seconds=0)
    assert main(["benchmark", str(model), "--compare", str(model), str(model)]) == 2
    assert "models have no effect on --compare A B" in capsys.readouterr().err
    assert main(["benchmark", "--compare", "gone.tflite", str(model)]) == 2
    assert "Cannot read the model gone.tflite" in capsys.readouterr().err
