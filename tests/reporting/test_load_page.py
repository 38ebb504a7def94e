"""The report of a load test: what limits a service, what would move that, in three files alike."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeclf.cli import main
from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.report import report
from edgeclf.reporting.load_findings import Finding, findings
from edgeclf.reporting.load_page import read_record, to_markdown
from support.load_records import WORK, make_record, make_step
from support.reports import EVIL, check_tables_line_up, table_lines


def found(topic: str, *steps: dict[str, Any], **changes: Any) -> Finding:
    """The last of a topic: of several on capacity, that on the knee."""
    record = make_record(steps or None, **changes)
    return [each for each in findings(record) if each.topic == topic][-1]


def test_the_knee_is_said_with_its_figures() -> None:
    knee = found("capacity")
    assert knee.title == "The knee"
    assert knee.found.startswith("400 a second were answered: 99.5 % within 100 ms, p50 2")
    assert "Of 800 a second, 50.0 % of the requests were answered in time" in knee.found
    clients = findings(make_record())[0]
    assert "8 clients" in clients.found and "430 answers a second" in clients.found


def test_a_ramp_that_begins_beyond_the_knee_says_so() -> None:
    below = found("capacity", make_step(100, refused=0.5))
    assert below.warns and "Already of 100 a second, 50.0 %" in below.found
    assert "lower rate" in below.advice
    held = found("capacity", make_step(100))
    assert "The knee was not reached" in held.found


def test_waits_and_busy_cpus_ask_for_more_of_them() -> None:
    cpus = found("bottleneck")
    assert cpus.title == "The CPUs are the bottleneck"
    assert "a picture waits 60.7 ms" in cpus.found and "has it for 4.20 ms" in cpus.found
    assert "1.90 of 2 CPUs" in cpus.found
    assert cpus.advice.startswith("More replicas on other CPUs: each CPU adds about 4")
    assert "66.7 % is inference (3.00 of 4.50 ms): an int8 file" in cpus.advice
    assert "at most 3.00x as many" in cpus.advice


def test_waits_and_idle_cpus_ask_for_workers() -> None:
    steps = (make_step(100), make_step(200, queue_ms=90.0, late=0.3, cpus_used=0.9))
    idle = found("bottleneck", *steps)
    assert "CPUs stand idle" in idle.title and "more --workers" in idle.advice
    others = found("bottleneck", steps[0], {**steps[1], "machine_cpus_busy": 1.95})
    assert others.title == "Other processes have the CPUs" and others.warns
    shared = found("bottleneck", steps[0], {**steps[1], "machine_cpus_busy": 1.75})
    assert shared.title == "The CPUs are the bottleneck"  # some of which somebody else uses


def test_cpus_of_another_machine_are_not_guessed() -> None:
    remote = found("bottleneck", is_local=False)
    assert remote.title == "Workers are the bottleneck" and "CPU" not in remote.found
    assert "Look whether the server's CPUs are busy" in remote.advice


@pytest.mark.parametrize(
    ("stage", "advice"),
    [
        ("decode", "twice the model's input, and a client that shrinks it"),
        ("preprocess", "so that resizing reads less"),
        ("inference", "an int8 file ('edgeclf convert'), a smaller student"),
    ],
)
def test_work_that_takes_most_of_the_time_is_what_would_be_moved(stage: str, advice: str) -> None:
    work = {name: 30.0 if name == stage else 1.0 for name in WORK}
    most = found("bottleneck", make_step(20, work=work, cpus_used=0.64))
    assert most.title == f"{stage.capitalize()} takes most of the time"
    assert "30.0 ms" in most.found and "nothing is exhausted yet" in most.found
    assert advice in most.advice and f"93.8 % is {stage} (30.0 of 32.0 ms)" in most.advice


def test_the_way_there_and_the_server_around_the_model_are_told_apart() -> None:
    far = found("bottleneck", make_step(20, network_ms=80.0, cpus_used=0.1))
    assert "The way to the server" in far.title and "30.0 kB on average" in far.advice
    step = make_step(20, cpus_used=0.1)
    step["stages_ms"]["service"] = 50.0
    around = found("bottleneck", step)
    assert "around the model" in around.title and "several pictures in one request" in around.advice
    held_back = make_step(20)
    held_back["stages_ms"]["client"] = 50.0
    assert "--connections" in found("bottleneck", held_back).advice


def test_servers_that_tell_nothing_are_not_guessed_at() -> None:
    silent = found("bottleneck", make_step(100, told=False))
    assert "is not known" in silent.title


def test_overload_that_costs_those_who_are_let_in_is_a_warning() -> None:
    held = make_step(100)
    good = found("overload", held, make_step(400, refused=0.75, queue_ms=20.0))
    assert not good.warns and "75.0 % were refused, half of them within 2.00 ms" in good.found
    late = found("overload", held, make_step(400, refused=0.1, late=0.8))
    assert late.warns and "--queue" in late.advice
    assert not [f for f in findings(make_record([held, make_step(110, late=0.3)]))
                if f.topic == "overload"]  # fmt: skip


def test_clients_that_wait_and_requests_that_do_not_stand_beside_each_other() -> None:
    closed = make_step(100, clients=2)
    same = found("waiting", closed, make_step(100))
    assert "do not see it" not in same.found
    other = found("waiting", closed, make_step(100, queue_ms=40.0))
    assert "do not see it" in other.found and "with 2 clients" in other.found


def test_a_test_that_was_late_or_disturbed_says_so() -> None:
    assert not [f for f in findings(make_record()) if f.topic == "generator"]
    late = found("generator", make_step(100), make_step(200, noticed_ms=3.0))
    assert late.warns and "1 of 2 steps is affected: at 200 a second" in late.found
    assert "3.00 ms late on average" in late.found
    disturbed = found("generator", make_step(100, others=1.2))
    assert (
        disturbed.title == "Other processes ran meanwhile" and "1.20 of 2 CPUs" in disturbed.found
    )


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "birds.json"
    path.write_text(json.dumps(make_record(), indent=2))
    return path


def test_all_three_files_say_the_same(record: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    page = report(record)
    assert page == record.with_suffix(".html")
    written = json.loads(record.read_text())
    markdown, html = record.with_suffix(".md").read_text(), page.read_text()
    assert len(written["findings"]) >= 5
    shown = html.replace("\u00a0", " ").replace("&#39;", "'")
    for each in written["findings"]:
        assert each["found"] in shown and each["advice"] in shown
        assert each["found"] in markdown and each["advice"] in markdown
    assert html.count("<svg") == 5 and "<script" not in html and "src=" not in html
    rows = {line[1].strip(): line for line in table_lines(markdown)}
    assert {"100 a second", "800 a second", "8 clients"} <= rows.keys()
    assert report(record).read_text() == html  # what was added to the JSON changes nothing


@pytest.mark.parametrize(
    "steps",
    [
        [make_step(100, told=False)],
        [make_step(40, clients=2)],
        [make_step(20, refused=1.0), make_step(40, failed=1.0)],
        [make_step(300, refused=1.0, clients=4, told=False)],
    ],
    ids=("silent", "clients", "none answered", "all refused"),
)
def test_every_kind_of_test_has_a_page(steps: list[dict[str, Any]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "load.json"
    path.write_text(json.dumps(make_record(steps, interrupted=True), indent=2))
    html = report(path).read_text()
    assert 2 <= html.count("<svg") <= 5 and "was interrupted" in html
    assert "nan" not in path.with_suffix(".md").read_text().replace("finance", "")


def test_names_stay_text(record: Path) -> None:
    pytest.importorskip("matplotlib")
    document = json.loads(record.read_text())
    document["url"] = document["environment"]["command"] = EVIL
    document["answered_by"][0]["model"] = EVIL
    document["steps"][0] |= {"failures": {EVIL: 1}, "failed": 1}
    record.write_text(json.dumps(document, indent=2))
    page = report(record)
    markdown = page.with_suffix(".md").read_text()
    assert "<script" not in page.read_text() and "<script" not in markdown
    check_tables_line_up(markdown)


def test_identifiers_are_unique_and_colours_the_page_s(record: Path) -> None:
    pytest.importorskip("matplotlib")
    html = report(record).read_text()
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers)) > 0
    for figure in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        assert not re.search(r"#[0-9a-f]{6}\b", figure)
    assert "<title>1,600 refused</title>" in html and "<title>queue: 60.7 ms</title>" in html


def test_the_verb_says_what_it_wrote(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert main(["report", str(record), "--out", str(tmp_path / "out")]) == 0
    names = [tmp_path / "out" / f"birds.{end}" for end in ("html", "md", "json")]
    assert capsys.readouterr().out.split() == [*map(str, names)]
    assert "findings" not in json.loads(record.read_text())


def test_other_files_are_refused(record: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="2 files were given"):
        report([record, tmp_path / "benchmark.json"])
    record.write_text(json.dumps(make_record([]), indent=2))
    with pytest.raises(OptionError, match="holds no steps"):
        report(record)
    record.write_text('{"schema": "edgeclf.load/1", ')
    with pytest.raises(OptionError, match="is not JSON"):
        report(record)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_without_a_package_nothing_is_written(
    package: str, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=package):
        report(record)
    assert [path.name for path in record.parent.iterdir()] == ["birds.json"]
    assert to_markdown(read_record(record))


def test_the_page_can_be_read(record: Path, check_page: Callable[[str], Any]) -> None:
    pytest.importorskip("matplotlib")
    look = check_page(report(record).read_text())
    assert look.pictures == 5 and look.tables == 3
