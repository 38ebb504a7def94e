"""Which rows there are, what they hold, and which of them are measured again."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeclf
from edgeclf.artifact import Artifact, Metadata, load_artifact, save_artifact, seal_artifact
from edgeclf.cli import main
from edgeclf.errors import MeasurementError, OptionError, RuntimeLoadError
from edgeclf.image import ImageSpec
from edgeclf.measurement.harness import cold_start
from edgeclf.measurement.harness.process import CommandJob, measure
from edgeclf.measurement.harness.worker import KINDS
from edgeclf.measurement.jobs.answers import AnswersJob, AnswersResult
from edgeclf.measurement.jobs.base import Job, ModelJob, from_json, to_json
from edgeclf.measurement.jobs.imports import ImportJob
from edgeclf.measurement.jobs.inference import InferenceJob, InferenceResult
from edgeclf.measurement.jobs.latency import LatencyJob, LatencyResult
from edgeclf.measurement.jobs.memory import MemoryJob, MemoryResult
from edgeclf.measurement.jobs.profile import ProfileJob
from edgeclf.measurement.jobs.row import RowJob, RowResult
from edgeclf.measurement.jobs.start import StartJob, StartResult
from edgeclf.measurement.matrix import rows
from edgeclf.measurement.matrix.cases import BenchmarkCase, BenchmarkMatrix, plan_cases
from edgeclf.measurement.matrix.resume import finished_rows
from edgeclf.measurement.matrix.rows import QUICK
from edgeclf.measurement.probes.page_cache import Dropped
from edgeclf.metrics.statistics import Percentiles
from edgeclf.runtimes import RuntimeInfo
from edgeclf.runtimes.fake import fake_artifact
from support import REPOSITORY

LABELS = ("dark", "light")
STARTED = StartJob(model="m", runtime="fake")
LATENCY = LatencyJob(model="m", runtime="fake", sampling=QUICK.sampling, answer=("a", "b"))
# Files with metadata and no network: the fake runtime answers for them by brightness.
MODELS = {
    "tflite": b"\x1c\x00\x00\x00TFL3" + bytes(64),
    "onnx": b"\x08\x08\x12\x04test",
}


def make_artifact(folder: Path, name: str = "net.int8.tflite") -> Path:
    model, precision, format_ = name.split(".")
    metadata = Metadata(model, LABELS, ImageSpec(16, 24), precision=precision)  # type: ignore[arg-type]
    path = folder / name
    save_artifact(seal_artifact(MODELS[format_], metadata), path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_artifact(tmp_path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight grey pictures, of which the fake runtime takes one for the other class."""
    root = tmp_path / "photos"
    for label, values in (("dark", (10, 20, 30, 40)), ("light", (50, 220, 230, 240))):
        (root / label).mkdir(parents=True)
        for value in values:
            Image.fromarray(np.full((40, 60, 3), value, np.uint8)).save(
                root / label / f"{value}.png"
            )
    return root


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The jobs that were measured; each by a process that is imagined."""
    jobs: list[Any] = []

    def imagined(job: ModelJob[Any]) -> Any:
        jobs.append(job)
        if not isinstance(job, RowJob):
            return found(job)
        memory = found(MemoryJob(model=job.model, runtime=job.runtime))
        return RowResult(memory, found(LatencyJob(**vars(job))))

    def found(job: ModelJob[Any]) -> Any:
        if isinstance(job, MemoryJob):
            phases = {"steady": {"pss_bytes": 1, "uss_bytes": 1, "rss_bytes": 1}}
            return MemoryResult(phases, peak_rss_bytes=1, gpu_bytes=None, start_ms=2.0)
        if isinstance(job, AnswersJob):
            return AnswersResult(([0.9, 0.1],) * len(job.images))
        assert isinstance(job, LatencyJob)
        total = {"n": 10, "p50": 1.0, "p90": None, "p99": None}
        return LatencyResult(
            runtime=RuntimeInfo(job.runtime, "none", "1", "cpu", "", 1),
            latency={"stages_ms": {"total": total}, "stable": True}, calls=10, joules=20.0,
            source="a meter", state={}, throttled=None, throughput={}, open_loop=None,
            probabilities=([0.8, 0.2],) * len(job.answer) if job.answer else None,
        )  # fmt: skip

    monkeypatch.setattr(rows, "measure", imagined)
    return jobs


def read(tmp_path: Path, *names: str) -> list[Artifact]:
    return [load_artifact(make_artifact(tmp_path, name)) for name in names]


def test_every_combination_is_a_row(tmp_path: Path) -> None:
    tflite, onnx = read(tmp_path, "net.int8.tflite", "net.int8.onnx")
    cases = plan_cases([tflite, onnx], ["litert", "onnxruntime"], [1, 2, 1], [1, 8])
    assert [case.id for case in cases] == [
        f"net.int8.{end}|t{t}|b{b}"
        for end in ("tflite|litert", "onnx|onnxruntime")
        for t in (1, 2)
        for b in (1, 8)
    ]
    (usual,) = plan_cases([tflite], None, [None], [1])
    assert usual.id == "net.int8.tflite|litert|tauto|b1"


def test_a_runtime_that_takes_no_such_file_is_tried_only_if_no_other_does(tmp_path: Path) -> None:
    tflite, onnx = read(tmp_path, "net.int8.tflite", "net.int8.onnx")
    names = {(case.file, case.runtime) for case in plan_cases([tflite, onnx], ["litert"], [1], [1])}
    assert names == {("net.int8.tflite", "litert"), ("net.int8.onnx", "litert")}
    (case,) = plan_cases([onnx], ["litert", "onnxruntime"], [1], [1])
    assert case.runtime == "onnxruntime"
    both = plan_cases([onnx], ["litert", "fake"], [1], [1])
    assert [case.runtime for case in both] == ["fake"]  # it names no formats, so it takes any
    with pytest.raises(RuntimeLoadError, match="no runtime 'litret'"):
        plan_cases([tflite], ["litret"], [1], [1])


def test_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    artifacts = [*read(tmp_path, "net.int8.tflite"), *read(tmp_path / "other", "net.int8.tflite")]
    files = [case.file for case in plan_cases(artifacts, None, [None], [1])]
    assert files == ["net.int8.tflite", "net.int8.tflite#2"]


def test_photos_from_their_bytes_to_the_answer(model: Path, photos: Path, tmp_path: Path) -> None:
    """Real processes, with a runtime that needs no engine."""
    out = tmp_path / "r.json"
    results = edgeclf.benchmark(
        [model], photos, matrix=BenchmarkMatrix(["fake"], [1], [1, 4]), arrivals_per_s=50.0,
        out=out, quick=True,
    )  # fmt: skip
    assert json.loads(out.read_text()) == results
    assert results["schema"] == "edgeclf.benchmark/2" and results["complete"]
    assert results["method"]["input"] == "photos" and results["method"]["images"] == 8
    for row, batch in zip(results["rows"], (1, 4), strict=True):
        assert row["id"] == f"net.int8.tflite|fake|t1|b{batch}" and row["error"] is None
        assert (row["threads"], row["batch"], row["input"]) == (1, batch, "photos")
        assert len(row["cpus"]) == 1
        assert row["accuracy"]["top1"] == 7 / 8 and row["agreement"] is None
        stages = row["latency"]["stages_ms"]
        assert list(stages) == ["decode", "preprocess", "inference", "total"]
        assert stages["total"]["n"] >= 128 and stages["total"]["p90"] is not None
        parts = sum(stages[name]["p50"] for name in ("decode", "preprocess", "inference"))
        assert stages["total"]["p50"] == pytest.approx(parts, rel=0.2)
        assert len(row["latency"]["windows_p50_ms"]) >= 3
        assert row["latency"]["warmup"] >= 10
        assert row["throughput"]["batch"] == batch and row["throughput"]["n"] >= batch
        assert row["open_loop"]["sent"] > 50
        assert set(row["state"]) == {"before", "after"} and row["state"]["after"]["load"] >= 0
        assert row["cold_start"]["warm_ms"] > 1
        assert row["cold_start"]["dropped_ms"] is None and row["cold_start"]["dropped_reason"]
        sizes = [use["rss_bytes"] for use in row["memory"]["phases"].values()]
        assert len(sizes) == 5 and sizes[0] < sizes[-1] <= row["memory"]["peak_rss_bytes"]
    one, four = (row["latency"]["stages_ms"]["decode"]["p50"] for row in results["rows"])
    assert four > 1.5 * one
    page = (REPOSITORY / "docs" / "benchmarking.md").read_text()
    assert {name for name in _names(results) if f"`{name}`" not in page} == set()


def test_random_pixels_need_no_photos(tmp_path: Path) -> None:
    models = [make_artifact(tmp_path), make_artifact(tmp_path, "other.fp32.onnx")]
    out = tmp_path / "r.json"
    results = edgeclf.benchmark(models, None, matrix=BenchmarkMatrix(["fake"]), out=out, quick=True)
    assert results["method"]["input"] == "random" and results["method"]["images"] == 0
    for row in results["rows"]:
        assert row["error"] is None and row["threads"] is None
        assert list(row["latency"]["stages_ms"]) == ["inference", "total"]
        assert row["accuracy"] is None and row["throughput"]["images_per_s"] > 0


def test_a_worker_runs_on_the_cpus_of_its_job_alone(model: Path) -> None:
    import os

    cpu = max(os.sched_getaffinity(0))
    assert measure(ImportJob(runtime="fake", cpus=(cpu,))).import_ms > 0
    with pytest.raises(MeasurementError, match="Invalid argument"):
        measure(ImportJob(runtime="fake", cpus=(100_000,)))


def test_finished_rows_are_reused(
    model: Path, measured: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def go(**options: Any) -> dict[str, Any]:
        measured.clear()
        return edgeclf.benchmark(
            [model], None, out=tmp_path / "r.json", **{"quick": True, **options}
        )

    first = go()
    assert len(measured) == 1 and "reused" not in capsys.readouterr().err
    assert go()["rows"] == first["rows"] and measured == []
    assert "1 of 1 rows reused" in capsys.readouterr().err
    go(matrix=BenchmarkMatrix(batches=[1, 2]))
    assert {job.batch for job in measured} == {2}
    assert "1 of 2 rows reused" in capsys.readouterr().err
    go(fresh=True)
    assert len(measured) == 1
    for changed in (
        {"matrix": BenchmarkMatrix(threads=[1])},
        {"matrix": BenchmarkMatrix(["fake"])},
        {"arrivals_per_s": 1.0},
    ):
        go(**changed)
        assert measured, changed
    go()
    make_artifact(tmp_path).write_bytes(
        seal_artifact(MODELS["tflite"], Metadata("net", LABELS, ImageSpec(8, 8))).content
    )
    assert go()["rows"][0]["input_size"] == [8, 8] and measured


@pytest.mark.parametrize(
    ("name", "value", "reused"),
    [("cpu", "Another", False), ("libraries", {}, False), ("date", "2000-01-01", True)],
)
def test_another_machine_reuses_nothing(
    name: str,
    value: object,
    reused: bool,
    model: Path,
    measured: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgeclf.measurement.matrix import run

    options: dict[str, Any] = {"images": None, "out": tmp_path / "r.json", "quick": True}
    edgeclf.benchmark([model], **options)
    measured.clear()
    changed = {**run.environment(), name: value}
    monkeypatch.setattr(run, "environment", lambda: changed)
    assert edgeclf.benchmark([model], **options)["environment"] == changed
    assert (measured == []) == reused


def test_what_is_no_result_is_no_row(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for content in ("{", "[]", '{"schema": "edgeclf.benchmark/1", "rows": [{"key": "a"}]}'):
        path.write_text(content)
        assert finished_rows(path, "edgeclf.benchmark/2") == {}
    rows_ = [{"key": "a", "error": None}, {"key": "b", "error": "it died"}, {"error": None}]
    path.write_text(json.dumps({"schema": "edgeclf.benchmark/2", "rows": rows_}))
    assert finished_rows(path, "edgeclf.benchmark/2") == {"a": rows_[0]}


def test_interrupted_it_leaves_the_rows_that_it_has(
    tmp_path: Path,
    measured: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = [make_artifact(tmp_path, f"{name}.int8.tflite") for name in "abc"]
    out = tmp_path / "r.json"
    imagined = rows.measure

    def interrupted(job: ModelJob[Any]) -> Any:
        if "b.int8" in job.model and isinstance(job, RowJob):
            raise KeyboardInterrupt
        return imagined(job)

    monkeypatch.setattr(rows, "measure", interrupted)
    words = ["benchmark", *map(str, models), "--random", "--quick", "--out", str(out)]
    assert main(words) == 130
    assert "1 of 3 rows are measured" in capsys.readouterr().err
    left = json.loads(out.read_text())
    assert not left["complete"] and [row["file"] for row in left["rows"]] == ["a.int8.tflite"]
    monkeypatch.setattr(rows, "measure", imagined)
    measured.clear()
    assert main(words) == 0
    done = json.loads(out.read_text())
    assert done["complete"] and [row["model"] for row in done["rows"]] == ["a", "b", "c"]
    assert done["rows"][0] == left["rows"][0]
    assert not any("a.int8" in job.model for job in measured)


def test_a_failed_row_keeps_its_reason_and_is_tried_again(
    tmp_path: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [make_artifact(tmp_path, f"{name}.int8.tflite") for name in "ab"]
    out = tmp_path / "r.json"
    imagined = rows.measure

    def broken(job: ModelJob[Any]) -> Any:
        if "a.int8" in job.model and isinstance(job, RowJob):
            raise MeasurementError("out of memory")
        return imagined(job)

    monkeypatch.setattr(rows, "measure", broken)
    words = ["benchmark", *map(str, models), "--random", "--quick", "--out", str(out)]
    assert main(words) == 1
    failed, fine = json.loads(out.read_text())["rows"]
    assert failed["error"] == "out of memory" and failed["latency"] is None
    assert fine["error"] is None and fine["energy"]["joules_per_image"] == 2.0
    monkeypatch.setattr(rows, "measure", imagined)
    measured.clear()
    assert main(words) == 0
    assert {Path(job.model).name for job in measured} == {"a.int8.tflite"}


def test_only_a_quick_row_is_one_process(
    model: Path, measured: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = cold_start.ColdStart(5.0, None, "not here", None, None, 3)
    monkeypatch.setattr(rows, "measure_cold_start", lambda job, starts: start)
    quick, whole = (
        edgeclf.benchmark([model], None, out=tmp_path / "r.json", quick=q) for q in (True, False)
    )
    assert [job.kind for job in measured] == ["row", "latency", "memory"]
    (row,), (other,) = quick["rows"], whole["rows"]
    assert row["cold_start"]["warm_ms"] == 2.0 and other["cold_start"]["warm_ms"] == 5.0
    assert {**row, "cold_start": None, "date": "", "key": ""} == {
        **other, "cold_start": None, "date": "", "key": ""
    }  # fmt: skip
    assert "the same process" in quick["method"]["memory"]
    assert "apart from latency" in whole["method"]["memory"]


def test_agreement_with_a_source_whose_row_is_reused_or_fails(
    tmp_path: Path, photos: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf.measurement.matrix import run

    source, small = make_artifact(tmp_path, "net.fp32.onnx"), make_artifact(tmp_path)

    monkeypatch.setattr(
        run, "_sources", lambda found: {a.metadata.name: a for a in found if a.format == "onnx"}
    )
    options: dict[str, Any] = {"out": tmp_path / "r.json", "quick": True}
    three = BenchmarkMatrix(["fake"], batches=[1, 2, 3])
    found = edgeclf.benchmark([small, source], photos, **options)
    # The source is measured first, and stays where it was put.
    assert [Path(job.model).suffix for job in measured] == [".onnx", ".tflite"]
    assert [row["format"] for row in found["rows"]] == ["tflite", "onnx"]
    assert found["rows"][0]["agreement"]["top1_agreement"] == 1.0
    measured.clear()
    again = edgeclf.benchmark(
        [small, source], photos, matrix=BenchmarkMatrix(["fake"], batches=[1, 2]), **options
    )
    measured.clear()
    again = edgeclf.benchmark([small, source], photos, matrix=three, **options)
    # Of the source, rows of batch 1 and 2 are reused; its answers come with the row of batch 3.
    assert [job.kind for job in measured] == ["row", "row"]
    assert all(row["agreement"]["max_change"] == 0 for row in again["rows"])
    alone = edgeclf.benchmark([small], photos, matrix=three, **options)
    assert [row["agreement"] for row in alone["rows"]] == [None] * 3
    imagined = rows.measure

    def broken(job: ModelJob[Any]) -> Any:
        if job.model.endswith(".onnx"):
            raise MeasurementError("not installed")
        return imagined(job)

    monkeypatch.setattr(rows, "measure", broken)
    fine, failed = edgeclf.benchmark([small, source], photos, fresh=True, **options)["rows"]
    assert failed["error"] == "not installed"
    assert fine["error"] is None and fine["agreement"] is None and fine["accuracy"]["top1"] == 0.5


def test_cold_start_with_warm_and_with_dropped_files(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([900.0, 10.0, 12.0, 11.0, 50.0, 70.0, 60.0])  # the first one only warms

    def imagined(job: StartJob) -> StartResult:
        return StartResult(next(times), ("a", "b") if job.list_files else ())

    given = []

    def dropped(files: tuple[str, ...]) -> Dropped:
        given.append(files)
        return Dropped(2, 0.9)

    monkeypatch.setattr(cold_start, "measure", imagined)
    monkeypatch.setattr(cold_start, "drop_from_page_cache", dropped)
    found = cold_start.measure_cold_start(STARTED, runs=3)
    assert (found.warm_ms, found.dropped_ms, found.dropped_reason) == (11.0, 60.0, None)
    assert (found.dropped_share, found.dropped_files, found.n) == (0.9, 2, 3)
    assert given == [("a", "b")] * 3


def _refuse(files: list[str]) -> Dropped:
    raise PermissionError(1, "not allowed")


@pytest.mark.parametrize(
    ("drop", "reason"),
    [(lambda files: Dropped(2, 0.25), "75 % of the files"), (_refuse, "not allowed")],
)
def test_a_start_is_not_called_cold_when_the_files_stay(
    drop: Callable[[list[str]], Dropped], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cold_start, "measure", lambda job: StartResult(5.0, ("a",)))
    monkeypatch.setattr(cold_start, "drop_from_page_cache", drop)
    found = cold_start.measure_cold_start(STARTED, runs=1)
    assert found.warm_ms == 5.0 and found.dropped_ms is None
    assert found.dropped_reason is not None and reason in found.dropped_reason


def test_cold_start_for_real(model: Path) -> None:
    job = StartJob(model=str(model), runtime="fake", threads=1)
    found = cold_start.measure_cold_start(job, runs=1)
    assert found.warm_ms > 1
    assert (found.dropped_ms is None) == (found.dropped_reason is not None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "neither labelled photos"),
        (["--random", "--threads", "0"], r"threads is \[0\]"),
        (["--random", "--threads", "1", "-1"], "none below 1"),
        (["--random", "--batch", "0"], "at least one number"),
        (["--random", "--arrivals", "0"], "arrivals_per_s is 0"),
    ],
)
def test_unusable_options(
    words: list[str], message: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", str(model), *words]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_matrix_needs_something_of_each() -> None:
    for numbers in ({"threads": ()}, {"batches": ()}, {"threads": (1, 0)}, {"batches": (-1,)}):
        with pytest.raises(OptionError, match=r"is \(.*none below 1"):
            BenchmarkMatrix(**numbers)
    assert BenchmarkMatrix(threads=(None, 2)).threads == (None, 2)


@pytest.mark.parametrize(
    "job",
    [
        ImportJob(runtime="fake", cpus=(1, 2)),
        MemoryJob(model="m", runtime="fake", images=("a",), batch=2),
        STARTED,
        LATENCY,
        RowJob(**vars(LATENCY)),
        InferenceJob(model="m", runtime="fake", threads=3, seconds=0.5),
        AnswersJob(model="m", runtime="fake", images=("a",)),
        ProfileJob(model="m", runtime="litert", threads=1, seconds=1.0),
    ],
)
def test_jobs_travel_as_json(job: Job[Any]) -> None:
    module, _, name = KINDS[job.kind].partition(":")
    assert (module, name) == (type(job).__module__, type(job).__name__)
    document = json.loads(json.dumps(to_json(job)))
    assert from_json(type(job), document) == job
    spoiled = {**document, "thread": 1}
    for wrong in (spoiled, {k: v for k, v in document.items() if k != "runtime"}):
        with pytest.raises(MeasurementError, match=r"Received a \w+Job with the fields .*expected"):
            from_json(type(job), wrong)


def test_results_travel_as_json() -> None:
    ran = RuntimeInfo("fake", "edgeclf", "1", "cpu", "", 1)
    for result in (
        InferenceResult(ran, Percentiles(10, 1.0, None, None)),
        LatencyResult(ran, {"stable": True}, 1, None, None, {}, None, {}, None, ([0.5, 0.5],)),
        MemoryResult({"steady": {"pss_bytes": 1}}, 1, None, 1.0),
    ):
        assert from_json(type(result), json.loads(json.dumps(to_json(result)))) == result
    with pytest.raises(MeasurementError, match="Received a Percentiles with the fields n"):
        from_json(InferenceResult, {"runtime": to_json(ran), "inference_ms": {"n": 1}})


def test_a_row_says_what_is_set_of_what_decides_it(
    model: Path, measured: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go() -> dict[str, Any]:
        (row,) = edgeclf.benchmark([model], None, out=tmp_path / "r.json", quick=True)["rows"]
        return row

    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    go()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # no measured process gets it
    measured.clear()
    assert "OMP_NUM_THREADS=1" not in go()["variables"] and not measured
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert "TF_ENABLE_ONEDNN_OPTS=0" in go()["variables"] and measured


def test_a_measured_process_gets_no_count_of_threads_from_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import os; from edgeclf.system.child import serve;"
        "raise SystemExit(serve(lambda job, _: ({**job, 'names': list(os.environ)}, b'')))"
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    found = measure(CommandJob(command=(sys.executable, "-c", code), document={"a": 1}))
    assert found["a"] == 1 and found["started_s"] > 0
    assert "CUDA_VISIBLE_DEVICES" in found["names"] and "OMP_NUM_THREADS" not in found["names"]


def _names(value: Any) -> set[str]:
    """Keys of all objects within, but for those whose meaning stands in the page as words."""
    if isinstance(value, list):
        return set().union(*map(_names, value))
    if not isinstance(value, dict):
        return set()
    below = [v for k, v in value.items() if k not in ("environment", "sampling_plan")]
    return set(value).union(*map(_names, below))


def test_a_row_in_words_while_it_is_measured() -> None:
    artifact = fake_artifact(["a", "b"])
    case = BenchmarkCase(artifact, "m.int8.tflite", "litert", None, 1)
    assert str(case) == "m.int8.tflite on litert" and case.id == "m.int8.tflite|litert|tauto|b1"
    case = BenchmarkCase(artifact, "m.int8.tflite", "litert", 4, 8)
    assert str(case) == "m.int8.tflite on litert, 4 threads, batch 8"
