"""The report's four files and its command: what is in them and what is refused."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeclf.cli import main
from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.report import report
from support.benchmark_results import MB, REASON
from support.reports import EVIL, write


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
    assert "RuntimeLoadError: no such <\u2060operator> \\| here" in markdown
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


def test_report_when_every_row_failed(results: dict[str, Any], tmp_path: Path) -> None:
    results["rows"] = results["rows"][3:]
    html = report(write(results, tmp_path)).read_text()
    assert html.count("<svg") == 0
    assert "The only row failed; the reason is given below." in html


def test_the_recommendation_comes_first(results: dict[str, Any], tmp_path: Path) -> None:
    html = report(write(results, tmp_path)).read_text()
    assert html.index("Recommended: small.int8.tflite") < html.index("32.0 times smaller")
    markdown = (tmp_path / "report.md").read_text()
    assert markdown.splitlines()[2].startswith("**Recommended:** small.int8.tflite on litert, ")
    assert "slower: median 8.00 ms against 2.00 ms, 4.00 times as long" in markdown


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
    assert "1 of 4 rows was unstable while it was measured: its latency" in html
    assert "8.00 ms, 89.0 %, unstable</title>" in html
    assert ">big int8 †<" in html
    assert ">big fp32<" in html


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


def test_report_of_nothing_is_refused() -> None:
    with pytest.raises(OptionError, match="at least one file"):
        report([])


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
    for needed in ("jinja2", "matplotlib"):
        pytest.importorskip(needed, reason="needs edgeclf[report]")
    for name in list(sys.modules):
        if name == package or name.startswith(f"{package}."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=re.escape("edgeclf[report]")) as caught:
        report(write(results, tmp_path))
    assert caught.value.package == package
    assert [entry.name for entry in tmp_path.iterdir()] == ["benchmark.json"]


def test_command_line_prints_the_four_paths(results: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="needs edgeclf[report]")
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
    pytest.importorskip("jinja2", reason="needs edgeclf[report]")
    path = str(write(results, tmp_path))
    assert main(["report", path, "--max-size-mb", "1"]) == 0
    assert main(["report", path, "--max-size-mb", "0.1"]) == 1
    assert "Nothing fits: none of the 3 of 4 rows" in capsys.readouterr().err
    assert "Nothing is recommended" in (tmp_path / "report.html").read_text()
    assert main(["report", path, "--min-accuracy", "95"]) == 2
    assert "min_accuracy is 95.0; expected 0 to 1" in capsys.readouterr().err
