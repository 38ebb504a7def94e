"""The report: derived figures, and what the three files say about them."""

from __future__ import annotations

import copy
import csv
import importlib
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeclf
from edgeclf.cli import main
from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.measurement.recommendation import Limits
from edgeclf.report import report
from edgeclf.reporting import text
from edgeclf.reporting.benchmark import main_table, to_markdown
from edgeclf.reporting.devices import group_by_device
from edgeclf.reporting.pareto import pareto_front
from edgeclf.reporting.summary import summarize

PACKAGE = Path(edgeclf.__file__).parent
sys.path.append(str(Path(__file__).parent))
made = importlib.import_module("benchmark_results")  # beside this file

EVIL = "<script>alert(1)</script>|evil"
MB = made.MB
REASON = made.REASON


@pytest.fixture
def results() -> dict[str, Any]:
    return made.make_results()


def write(results: Any, folder: Path) -> Path:
    path = folder / "benchmark.json"
    path.write_text(json.dumps(results))
    return path


def markdown_of(*files: dict[str, Any]) -> str:
    devices = group_by_device(files)
    return to_markdown(devices, tuple(summarize(device.results) for device in devices))


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
    failed["rows"][missing].update(dict.fromkeys(made.MEASURED), error="out of memory")
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


def test_all_four_files_are_written_and_tell_of_the_failure(
    results: dict[str, Any], tmp_path: Path
) -> None:
    page = report(write(results, tmp_path), out=tmp_path / "out")
    assert page == tmp_path / "out" / "report.html"
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "report.csv", "report.html", "report.json", "report.md",
    ]  # fmt: skip
    html, markdown = page.read_text(), page.with_suffix(".md").read_text()
    assert "RuntimeLoadError: no such &lt;operator&gt; | here" in html
    assert "RuntimeLoadError: no such &lt;operator&gt; &#124; here" in markdown
    document = json.loads(page.with_suffix(".json").read_text())
    assert document["schema"] == "edgeclf.report/2"
    (device,) = document["devices"]
    assert device["benchmarks"] == [results]
    assert device["summary"]["headline"]["size_bytes"]["ratio"] == 32
    assert device["summary"]["failures"][0]["reason"] == " ".join(REASON.split())


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
    assert len(figures) == 6
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))
    for figure in figures:
        assert 'role="img" aria-label="' in figure
        assert not re.search(r"#[0-9a-f]{6}\b", figure)
    assert "<title>small.int8.tflite on litert, 1 thread: 2.00 ms, 88.0 %</title>" in html


def test_report_when_every_row_failed(results: dict[str, Any], tmp_path: Path) -> None:
    results["rows"] = results["rows"][3:]
    html = report(write(results, tmp_path)).read_text()
    assert html.count("<svg") == 0
    assert "1 of 1 rows failed" in html


def test_markdown_tables_line_up(results: dict[str, Any]) -> None:
    for entry in results["rows"]:
        entry["model"] += EVIL
    markdown = markdown_of(results)
    assert "<script" not in markdown
    for table in markdown.split("\n\n"):
        lines = table_lines(table)
        assert len({len(line) for line in lines}) <= 1
    assert len(table_lines(main_table(results, summarize(results)))) == 2 + 4
    header = [
        cell.strip() for cell in table_lines(main_table(results, summarize(results)))[0][1:-1]
    ]
    assert header == [
        "File", "Runtime", "Threads", "Mark", "Top-1", "Agreement", "Size", "p50, ms", "p90, ms",
        "Images/s", "Memory", "Cold start",
    ]  # fmt: skip


def test_percentile_that_the_sample_cannot_carry_is_a_dash(results: dict[str, Any]) -> None:
    note = "too small to carry"
    assert note not in main_table(results, summarize(results))
    assert markdown_of(results).count(note) == 1  # p99 is in the table of the stages only
    results["rows"][2]["latency"]["stages_ms"]["total"]["p90"] = None
    markdown = main_table(results, summarize(results))
    assert note in markdown
    header, *lines = table_lines(markdown)
    column = [cell.strip() for cell in header].index("p90, ms")
    assert next(line for line in lines if "small" in line[1])[column].strip() == "–"


def test_the_recommendation_comes_first(results: dict[str, Any], tmp_path: Path) -> None:
    html = report(write(results, tmp_path)).read_text()
    assert html.index("Recommended: small.int8.tflite") < html.index("32.0 times smaller")
    markdown = (tmp_path / "report.md").read_text()
    assert markdown.splitlines()[2].startswith("**Recommended:** small.int8.tflite on litert, ")
    assert "slower: median 8.00 ms against 2.00 ms, 4.00 times as long" in markdown


def test_limits_of_the_benchmark_hold_unless_others_are_given(results: dict[str, Any]) -> None:
    results["limits"] = {"max_latency_ms": 1.0}
    assert summarize(results).recommendation.chosen is None
    chosen = summarize(results, Limits(max_drop=1.5)).recommendation.chosen
    assert chosen == "big.int8.tflite litert 1"


def test_a_row_with_nothing_but_a_latency_has_dashes(
    results: dict[str, Any], tmp_path: Path
) -> None:
    for key in ("accuracy", "agreement", "throughput", "memory", "cold_start", "energy", "state"):
        results["rows"][2][key] = None
    page = report(write(results, tmp_path))
    (line,) = [
        line
        for line in table_lines(main_table(results, summarize(results)))
        if line[1].strip() == "small.int8.tflite"
    ]
    assert [cell.strip() for cell in line[4:-1]] == [
        "–", "–", "–", "500 kB", "2.00", "3.00", "–", "–", "–",
    ]  # fmt: skip
    assert "small.int8.tflite" in page.read_text()


def test_random_input_is_the_model_alone(results: dict[str, Any], tmp_path: Path) -> None:
    results["method"] |= {"input": "random", "images": 0, "data_sha256": None}
    for row in results["rows"]:
        row.update(input="random", accuracy=None, agreement=None)
    for row in results["rows"][:3]:
        stages = row["latency"]["stages_ms"]
        del stages["decode"], stages["preprocess"]
    html = report(write(results, tmp_path)).read_text()
    assert "of the model alone, on random input" in html
    assert "bytes of an image file" not in html
    assert "decode" not in html


def test_unstable_and_throttled_rows_are_marked(results: dict[str, Any], tmp_path: Path) -> None:
    results["rows"][1]["latency"]["stable"] = False
    results["rows"][2]["throttled"] = True
    html = report(write(results, tmp_path)).read_text()
    assert '<td class="failed"><span class="strong">unstable</span></td>' in html
    assert '<td class="failed"><span class="strong">throttled</span></td>' in html
    assert "Throttled while it was measured." in html
    assert "1 of 4 rows were unstable" in html
    assert "8.00 ms, 89.0 %, unstable</title>" in html
    assert ">big int8 †<" in html
    assert ">big fp32<" in html


def test_calls_that_arrive_at_random(results: dict[str, Any]) -> None:
    heading = "## Calls that arrive at random"
    assert heading not in markdown_of(results)
    stream = {"rate_per_s": 30.0, "sent": 600, "served": 600, "busy": 0.125}
    waited = {"n": 600, "p50": 2.5, "p90": 4.0, "p99": None}
    results["rows"][1]["arrivals"] = stream | {"latency_ms": None, "served": 580}
    results["rows"][2]["arrivals"] = stream | {"latency_ms": waited}
    lines = table_lines(markdown_of(results).partition(heading)[2])
    late, served = ([cell.strip() for cell in line[4:-1]] for line in lines[2:4])
    assert late == ["30.0", "580 of 600", "–", "–", "12.5 %"]
    assert served == ["30.0", "600 of 600", "2.50", "4.00", "12.5 %"]


def test_csv_has_one_flat_line_a_row(results: dict[str, Any], tmp_path: Path) -> None:
    report(write(results, tmp_path))
    with open(tmp_path / "report.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4
    assert all(None not in line and None not in line.values() for line in lines)  # rectangular
    small = lines[2]
    assert small["device"] == "A CPU, Linux x86_64"
    assert (small["recommended"], lines[0]["recommended"]) == ("True", "False")
    assert (small["total_p50_ms"], small["total_p99_ms"]) == ("2.0", "")
    assert small["first_inference_uss_bytes"] == str(40 * MB * 4 // 6)
    assert (small["frequency_mhz_before"], small["frequency_mhz_after"]) == ("2400.0", "3000.0")
    assert lines[3]["error"] == REASON
    assert lines[3]["top1"] == ""


def other_device(results: dict[str, Any]) -> dict[str, Any]:
    """The same files, four times as slow and one point less accurate on another CPU."""
    other = copy.deepcopy(results)
    other["environment"] |= {"cpu": "Another CPU", "system": "Linux aarch64"}
    other["environment"]["command"] = "edgeclf benchmark on the other"
    for row in other["rows"][:3]:
        row["accuracy"]["top1"] -= 0.01
        for stage in row["latency"]["stages_ms"].values():
            stage["p50"] *= 4
    return other


def test_several_devices_in_one_report(results: dict[str, Any], tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, content in zip(paths, (results, other_device(results)), strict=True):
        path.write_text(json.dumps(content))
    html = report(paths).read_text()
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))
    assert html.count('<h2 class="device">') == 2
    markdown = (tmp_path / "report.md").read_text()
    assert "## Another CPU, Linux aarch64" in markdown
    across = markdown.partition("## Latency of the same file across devices")[2]
    small = next(line for line in table_lines(across) if "small.int8" in line[1])
    assert [cell.strip() for cell in small[-3:-1]] == ["2.00 ms", "8.00 ms (4.00x)"]
    top1 = markdown.partition("## Top-1 of the same file across devices")[2]
    assert "87.0 % (−1.0)" in next(line for line in top1.splitlines() if "small.int8" in line)
    assert "edgeclf benchmark on the other" in markdown
    document = json.loads((tmp_path / "report.json").read_text())
    assert [device["device"] for device in document["devices"]] == [
        "A CPU, Linux x86_64", "Another CPU, Linux aarch64",
    ]  # fmt: skip


def test_benchmarks_of_one_device_are_judged_together(results: dict[str, Any]) -> None:
    second = copy.deepcopy(results)
    second["rows"] = second["rows"][2:3]
    second["environment"]["command"] = "edgeclf benchmark small"
    second["rows"][0]["latency"]["stages_ms"]["total"]["p50"] = 1.0
    (device,) = group_by_device([results, second])
    ids = [row["id"] for row in device.results["rows"]]
    assert len(ids) == 5 and len(set(ids)) == 5
    assert summarize(device.results).recommendation.chosen == ids[-1]
    markdown = markdown_of(results, second)
    assert "--images photos\nedgeclf benchmark small\n```" in markdown


def test_runs_of_one_device_share_limits_only_if_they_are_the_same(
    results: dict[str, Any],
) -> None:
    results["limits"] = {"max_latency_ms": 1.0}
    (same,) = group_by_device([results, copy.deepcopy(results)])
    assert summarize(same.results).limits == Limits(max_latency_ms=1.0)
    (other,) = group_by_device([results, results | {"limits": {"max_latency_ms": 2.0}}])
    assert summarize(other.results).limits == Limits()


def test_what_a_reader_must_know_is_said(results: dict[str, Any]) -> None:
    assert not any("photos:" in words for words in summarize(results).sentences)
    results["rows"][1]["accuracy"]["data_sha256"] = "ef" * 32
    results["complete"] = False
    results["method"]["quick"] = True
    photos, incomplete, quick = summarize(results).sentences[-3:]
    assert "on different photos: their accuracies cannot be compared" in photos
    assert "rows are missing" in incomplete
    assert "quick run" in quick


def test_report_of_nothing_is_refused() -> None:
    with pytest.raises(OptionError, match="at least one file"):
        report([])


def test_the_front_holds_what_no_other_row_beats(results: dict[str, Any]) -> None:
    big, quantised, small = results["rows"][:3]
    assert pareto_front([big, quantised, small], "p50_ms") == [small, quantised, big]
    quantised["accuracy"]["top1"] = 0.88  # as accurate as the small one, and dearer
    assert pareto_front([big, quantised, small], "p50_ms") == [small, big]
    small["latency"]["stable"] = False
    assert pareto_front([big, quantised, small], "p50_ms") == [quantised, big]
    assert pareto_front([big, quantised, small], "size_mb") == [small, big]


def test_without_a_stable_row_there_is_no_front_and_no_recommendation(
    results: dict[str, Any], tmp_path: Path
) -> None:
    for row in results["rows"][:3]:
        row["latency"]["stable"] = False
    assert pareto_front(results["rows"][:3], "p50_ms") == []
    html = report(write(results, tmp_path)).read_text()
    assert html.count("There is no front: all rows were unstable.") == 1
    assert "Nothing is recommended" in html
    assert "Nothing can be recommended: none of the 4 rows has a latency to rely on." in html


def test_many_rows_are_drawn_by_their_fastest(results: dict[str, Any], tmp_path: Path) -> None:
    row = results["rows"][2]
    results["rows"] = []
    for threads in range(1, 17):
        results["rows"].append({**copy.deepcopy(row), "id": str(threads), "threads": threads})
        results["rows"][-1]["runtime"]["threads"] = threads
        results["rows"][-1]["latency"]["stages_ms"]["total"]["p50"] = 20.0 - threads
    html = report(write(results, tmp_path)).read_text()
    stages = html.partition('aria-label="Latency by stage"')[2].partition("</svg>")[0]
    assert ">4.00<" in stages
    assert ">5.00<" not in stages


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


def test_command_line_prints_the_four_paths(results: dict[str, Any], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeclf.report", write(results, tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        str(tmp_path / f"report.{suffix}") for suffix in ("html", "md", "csv", "json")
    ]


def test_limits_that_nothing_keeps_are_exit_code_1(
    results: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write(results, tmp_path))
    assert main(["report", path, "--max-size-mb", "1"]) == 0
    assert main(["report", path, "--max-size-mb", "0.1"]) == 1
    assert "Nothing fits: none of the 3 of 4 rows" in capsys.readouterr().err
    assert "Nothing is recommended" in (tmp_path / "report.html").read_text()
    assert main(["report", path, "--min-accuracy", "95"]) == 2
    assert "min_accuracy is 95.0; expected 0 to 1" in capsys.readouterr().err


def _palettes() -> list[dict[str, str]]:
    """The colours of light and dark that tell models and stages apart."""
    style = (PACKAGE / "reporting" / "style.css.j2").read_text()
    light, _, rest = style.partition("@media (prefers-color-scheme: dark)")
    dark = rest.partition("* { box-sizing")[0]
    pattern = r"--((?:model|stage)-\d): (#[0-9a-f]{6})"
    by_day, by_night = (dict(re.findall(pattern, part)) for part in (light, dark))
    return [by_day, by_day | by_night]


def _seen_by(colour: str, vision: str) -> np.ndarray:
    """A colour in CIE L*a*b* as a dichromat sees it.

    Simulation: Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of
    Color Vision Deficiency" (2009), severity 1.0, on linear RGB.
    """
    matrices = {
        "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                         [-0.011820, 0.042940, 0.968881]],
        "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                       [-0.003882, -0.048116, 1.051998]],
    }  # fmt: skip
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(matrices[vision]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ratio = np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089]
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", ["deuteranopia", "protanopia"])
@pytest.mark.parametrize("kind", ["model", "stage"])
def test_colours_are_told_apart_by_the_colour_blind(kind: str, vision: str) -> None:
    for palette in _palettes():
        colours = [colour for name, colour in palette.items() if name.startswith(kind)]
        assert len(set(colours)) == {"model": 6, "stage": 3}[kind]
        for one, other in itertools.combinations(colours, 2):
            distance = np.linalg.norm(_seen_by(one, vision) - _seen_by(other, vision))
            assert distance > 12, f"{one} and {other} look alike: {distance:.1f}"
