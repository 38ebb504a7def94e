"""The report: derived figures, and what the three files say about them."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.report import report
from edgeclf.reporting import text
from edgeclf.reporting.markdown import main_table, to_markdown
from edgeclf.reporting.summary import summarize

MB = 1_000_000
EVIL = "<script>alert(1)</script>|evil"
REASON = "RuntimeLoadError: no such\n  <operator> | here"


def row(
    model: str,
    format_: str,
    precision: str,
    runtime: str,
    *,
    parameters: int,
    size_bytes: int,
    top1: float,
    total_ms: float,
    pss_bytes: int,
    p99_ms: float | None = None,
) -> dict[str, Any]:
    stages = {"decode": 0.5, "preprocess": 0.25, "inference": total_ms - 0.8, "total": total_ms}
    phases = ("baseline", "imported", "loaded", "first inference", "steady")
    return {
        "model": model,
        "file": f"{model}.{precision}.{format_}",
        "format": format_,
        "precision": precision,
        "sha256": "ab" * 32,
        "size_bytes": size_bytes,
        "parameters": parameters,
        "input_size": [160, 160],
        "runtime": {
            "name": runtime,
            "library": f"lib-{runtime}",
            "library_version": "1.2.3",
            "device": "cpu",
            "delegate": None,
            "threads": 1,
        },
        "accuracy": {
            "top1": top1,
            "top1_interval_95": [top1 - 0.05, top1 + 0.02],
            "images": 400,
            "data_sha256": "cd" * 32,
        },
        "agreement": {"top1_agreement": 0.985, "max_change": 0.1, "mean_change": 0.01},
        "latency": {
            "warmup": 10,
            "stages_ms": {
                name: {"n": 1200, "p50": value, "p90": value * 1.5, "p99": p99_ms}
                for name, value in stages.items()
            },
        },
        "memory": {
            "phases": {
                name: {
                    "pss_bytes": pss_bytes * (index + 1) // 5,
                    "uss_bytes": pss_bytes * (index + 1) // 6,
                    "rss_bytes": pss_bytes * (index + 1) // 4,
                }
                for index, name in enumerate(phases)
            },
            "peak_rss_bytes": pss_bytes * 2,
        },
        "cold_start": {"warm_ms": 1234.5, "dropped_ms": None, "dropped_reason": "a quick run"},
        "error": None,
    }


@pytest.fixture
def results() -> dict[str, Any]:
    """Teacher and student as Keras and int8 TFLite, and a student's ONNX that failed."""
    teacher: dict[str, Any] = {"model": "big", "parameters": 4_000_000}
    student: dict[str, Any] = {"model": "small", "parameters": 500_000}
    rows = [
        row(**teacher, format_="keras", precision="fp32", runtime="tensorflow",
            size_bytes=16 * MB, top1=0.9, total_ms=20.0, pss_bytes=600 * MB, p99_ms=40.0),
        row(**teacher, format_="tflite", precision="int8", runtime="litert",
            size_bytes=4 * MB, top1=0.89, total_ms=8.0, pss_bytes=50 * MB),
        row(**student, format_="tflite", precision="int8", runtime="litert",
            size_bytes=MB // 2, top1=0.88, total_ms=2.0, pss_bytes=40 * MB),
        row(**student, format_="onnx", precision="int8", runtime="onnxruntime",
            size_bytes=MB, top1=0.0, total_ms=1.0, pss_bytes=MB),
    ]  # fmt: skip
    rows[3].update(accuracy=None, agreement=None, latency=None, memory=None, error=REASON)
    rows[3]["runtime"] = {"name": "onnxruntime"}
    return {
        "schema": "edgeclf.benchmark/2",
        "environment": {
            "cpu": "A CPU",
            "cpu_flags": ["avx2"],
            "cpus_available": 2,
            "cpus_of_machine": 4,
            "governor": None,
            "memory_bytes": 8_000 * MB,
            "system": "Linux x86_64",
            "kernel": "6.1",
            "python": "3.11.7",
            "libraries": {"numpy": "2.0"},
            "commit": "0123456789ab+",
            "command": "edgeclf benchmark big.keras --images photos",
        },
        "method": {
            "latency": "one process a row",
            "memory": "one process a row",
            "quick": False,
            "images": 400,
            "data_sha256": "cd" * 32,
        },
        "rows": rows,
    }


def write(results: Any, folder: Path) -> Path:
    path = folder / "benchmark.json"
    path.write_text(json.dumps(results))
    return path


def table_lines(markdown: str) -> list[list[str]]:
    return [line.split("|") for line in markdown.splitlines() if line.startswith("|")]


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
    failed["rows"][missing].update(accuracy=None, agreement=None, latency=None, memory=None)
    failed["rows"][missing]["error"] = "out of memory"
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
    assert to_markdown(results, summary).startswith("# Benchmark: big, small\n")


def test_all_three_files_are_written_and_tell_of_the_failure(
    results: dict[str, Any], tmp_path: Path
) -> None:
    page = report(write(results, tmp_path), out=tmp_path / "out")
    assert page == tmp_path / "out" / "report.html"
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "report.html", "report.json", "report.md",
    ]  # fmt: skip
    html, markdown = page.read_text(), page.with_suffix(".md").read_text()
    assert "RuntimeLoadError: no such\n  &lt;operator&gt; | here" in html
    assert "RuntimeLoadError: no such &lt;operator&gt; &#124; here" in markdown
    document = json.loads(page.with_suffix(".json").read_text())
    assert document["schema"] == "edgeclf.report/1"
    assert document["benchmark"] == results
    assert document["summary"]["headline"]["size_bytes"]["ratio"] == 32
    assert document["summary"]["failures"][0]["reason"] == " ".join(REASON.split())


def test_page_loads_nothing_and_runs_nothing(results: dict[str, Any], tmp_path: Path) -> None:
    results["environment"]["command"] += f" {EVIL}"
    for entry in results["rows"]:
        entry["model"] += EVIL
        entry["runtime"]["name"] += EVIL
    html = report(write(results, tmp_path)).read_text()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "@import" not in html
    loads = re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'>\s]+)|url\(([^)]*)\)", html)
    assert loads
    assert all((source or target).startswith(("#", "data:,")) for source, target in loads)
    assert not re.search(r"https?://", html)


def test_plots_take_the_pages_colours_and_have_names(
    results: dict[str, Any], tmp_path: Path
) -> None:
    html = report(write(results, tmp_path)).read_text()
    figures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(figures) == 4
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))
    for figure in figures:
        assert 'role="img" aria-label="' in figure
        assert not re.search(r"#[0-9a-f]{6}\b", figure)
    assert "<title>small int8 on litert: 2.00 ms, 88.0 %</title>" in html


def test_report_when_every_row_failed(results: dict[str, Any], tmp_path: Path) -> None:
    results["rows"] = results["rows"][3:]
    html = report(write(results, tmp_path)).read_text()
    assert html.count("<svg") == 1
    assert "1 of 1 rows failed" in html


def test_markdown_tables_line_up(results: dict[str, Any]) -> None:
    for entry in results["rows"]:
        entry["model"] += EVIL
    markdown = to_markdown(results, summarize(results))
    assert "<script" not in markdown
    for table in markdown.split("\n\n"):
        lines = table_lines(table)
        assert len({len(line) for line in lines}) <= 1
    assert len(table_lines(main_table(results, summarize(results)))) == 2 + 4
    assert len(table_lines(main_table(results, summarize(results)))[0]) == 9 + 2


def test_percentile_that_the_sample_cannot_carry_is_a_dash(
    results: dict[str, Any], tmp_path: Path
) -> None:
    note = "too small to carry"
    assert note not in to_markdown(results, summarize(results))
    html = report(write(results, tmp_path)).read_text()
    assert html.count(note) == 1  # p99 is in the table of the stages only
    assert '<td class="n">–</td>' in html
    results["rows"][2]["latency"]["stages_ms"]["total"]["p90"] = None
    markdown = to_markdown(results, summarize(results))
    assert note in markdown
    assert next(line for line in table_lines(markdown) if "small" in line[1])[8].strip() == "–"


def test_numbers() -> None:
    assert [text.digits(x) for x in (0.04567, 0.5, 3.14159, 12.34, 99.96, 1234.5)] == [
        "0.0457", "0.500", "3.14", "12.3", "100", "1,234",
    ]  # fmt: skip
    assert [text.size(x) for x in (12, 648_159, 999_600, 14_214_670)] == [
        "12 B", "648 kB", "1.00 MB", "14.2 MB",
    ]  # fmt: skip
    assert [text.duration(x) for x in (0.5, 999.6, 6667.5)] == ["0.500 ms", "1.00 s", "6.67 s"]
    assert [text.count(x) for x in (None, 512, 91_300, 3_418_148)] == [
        "unknown", "512", "91.3 k", "3.42 M",
    ]  # fmt: skip
    assert [text.points(x) for x in (-2.04, 0.01, 3.0)] == ["−2.0", "±0.0", "+3.0"]


@pytest.mark.parametrize(
    ("content", "received"),
    [
        ("{", "is not JSON"),
        ('{"schema": "edgeclf.report/1"}', "'edgeclf.report/1'"),
        ("[1]", "the schema None"),
        ('{"schema": "edgeclf.benchmark/2", "rows": []}', "no rows"),
    ],
)
def test_wrong_input_is_refused(content: str, received: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(content)
    with pytest.raises(OptionError, match=re.escape(received)):
        report(path)
    with pytest.raises(OptionError, match="edgeclf benchmark"):
        report(tmp_path / "absent.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["wrong.json"]


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_missing_package_names_the_pip_line(
    package: str, results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name == package or name.startswith(f"{package}."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=re.escape("edgeclf[report]")) as caught:
        report(write(results, tmp_path))
    assert caught.value.package == package
    assert [entry.name for entry in tmp_path.iterdir()] == ["benchmark.json"]


def test_command_line_prints_the_three_paths(results: dict[str, Any], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeclf.report", write(results, tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        str(tmp_path / f"report.{suffix}") for suffix in ("html", "md", "json")
    ]
