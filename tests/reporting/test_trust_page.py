"""The report of calibrated files: what holds, what to do, and that all three files say it."""

from __future__ import annotations

import copy
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf.cli import main
from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.metrics.statistics import wilson_interval
from edgeclf.report import report
from edgeclf.reporting.trust_findings import Finding, findings
from edgeclf.reporting.trust_page import read_record, to_html, to_markdown
from support.reports import EVIL, check_tables_line_up
from support.trust_records import JPEG, PHOTOS, make_record, make_result

NAMES = {"jinja2": "report", "matplotlib": "report"}


def found(topic: str, **measured: Any) -> Finding:
    return next(each for each in findings(make_result(**measured)) if each.topic == topic)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "pets.trust.json"
    path.write_text(json.dumps(make_record()))
    return path


def test_confidence_that_is_closer_is_recommended() -> None:
    closer = found("confidence")
    assert closer.holds is True and "Show confidence" in closer.advice
    assert "0.400 [0.300–0.500]: the file was less sure than it is right" in closer.found
    assert "12 wrong answers of 200" in closer.found and "uncertain" not in closer.advice


def test_confidence_that_is_farther_is_not() -> None:
    result = make_result()
    reliability = result["reliability"]
    reliability["before"], reliability["after"] = reliability["after"], reliability["before"]
    result["trust"]["temperature"] |= {"value": 1.9, "interval_95": [1.1, 2.5]}
    farther = findings(result)[0]
    assert farther.holds is False and "Do not show confidence" in farther.advice
    assert "more sure than it is right" in farther.found and "uncertain" in farther.advice


def test_where_intervals_overlap_nothing_is_shown() -> None:
    result = make_result(wrong=40)
    result["reliability"]["after"] = copy.deepcopy(result["reliability"]["before"])
    result["reliability"]["before"]["interval_95"] = [0.0, 0.9]
    result["reliability"]["after"]["interval_95"] = [0.1, 0.8]
    assert findings(result)[0].holds is None


def test_a_threshold_is_above_the_surest_mistake() -> None:
    risk = found("risk")
    threshold = re.search(r"answer from (0\.\d+) on", risk.advice)
    assert risk.holds is True and threshold is not None
    result = make_result()
    assert float(threshold[1]) > result["mistakes"][0]["confidence"]
    assert f"with so few photos up to {100 * 3.84 / (190 + 3.84):.1f} % could be" in risk.found
    assert found("risk", wrong=0).holds is None


def test_a_threshold_below_1_is_never_written_as_1() -> None:
    result = make_result()
    result["risk_at_coverage"] = [[0.5, 0.0, 0.99996], [1.0, 0.05, 0.9]]
    assert "0.99996 or more" in findings(result)[1].found


def test_confidence_that_does_not_sort_mistakes_gives_no_threshold() -> None:
    result = make_result()
    result["risk_at_coverage"] = [[0.1, 0.2, 0.99], [0.5, 0.1, 0.97], [1.0, 0.05, 0.9]]
    result["mistakes"][0]["confidence"] = 0.999
    risk = findings(result)[1]
    assert risk.holds is False and "a threshold gains nothing" in risk.advice
    result["risk_at_coverage"][1][1] = 0.01
    assert findings(result)[1].holds is True


@pytest.mark.parametrize(
    ("recalled", "holds", "advice"),
    [
        (99, True, "Let a person look at what"),
        (92, True, "So few unknown photos leave it open"),
        (80, True, "a warning, not for a guard"),
        (30, False, "It fails on these unknown photos"),
        (None, None, "Do not rely on unknown before it was measured"),
    ],
)
def test_unknown_says_where_it_fails(recalled: int | None, holds: bool | None, advice: str) -> None:
    unknown = found("unknown", recalled=recalled)
    assert unknown.holds is holds and advice in unknown.advice


def test_more_false_unknowns_than_asked_for_do_not_hold() -> None:
    result = make_result()
    result["novelty"] |= {"false_unknown": 0.2, "false_unknown_interval_95": [0.15, 0.26]}
    unknown = findings(result)[2]
    assert unknown.holds is False and unknown.advice.startswith("More known photos are called")


def test_sets_that_hold_too_little_are_not_promised() -> None:
    assert found("sets").holds is True
    result = make_result()
    result["sets"][0] |= {"observed": 0.8, "interval_95": [0.74, 0.85]}
    sets = findings(result)[3]
    assert sets.holds is False and "Do not promise 90 %" in sets.advice
    result["sets"] = []
    assert findings(result)[3].holds is None


def test_the_promise_of_a_set_is_judged_by_both_halves() -> None:
    """A fair quantile is seldom blamed, where an interval of one half alone blames often."""
    rng = np.random.default_rng(0)
    result = make_result()
    blamed = by_interval = 0
    for _ in range(400):
        fitted, later = rng.random(PHOTOS), rng.random(PHOTOS)
        held = int((later <= np.sort(fitted)[math.ceil((PHOTOS + 1) * 0.9) - 1]).sum())
        interval = wilson_interval(held, PHOTOS)
        result["sets"][0] |= {"observed": held / PHOTOS, "interval_95": list(interval)}
        blamed += findings(result)[3].holds is False
        by_interval += interval[1] < 0.9
    assert 1 <= blamed <= 18 and by_interval > blamed  # 10 are expected of 400


def test_a_temperature_around_1_tells_no_direction() -> None:
    result = make_result()
    result["trust"]["temperature"]["interval_95"] = [0.7, 1.1]
    assert "whether the file was too sure, or not sure enough, is not shown" in (
        findings(result)[0].found
    )


def test_mistakes_are_counted() -> None:
    mistakes = found("mistakes")
    assert mistakes.found == (
        "10 of 200 photos are answered wrong; of the 10 surest of them 10 with a confidence of at "
        "least 0.9, and 9 called unknown."
    )
    assert "All 200 photos were answered right." in found("mistakes", wrong=0).found


def test_all_three_files_say_the_same(record: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    page = report(record)
    assert page == record.with_suffix(".html")
    written = json.loads(record.read_text())
    markdown, html = record.with_suffix(".md").read_text(), page.read_text()
    assert written["findings"].keys() == written["results"].keys()
    for each in written["findings"]["pets.int8.tflite"]:
        shown = html.replace("\u00a0", " ").replace("&#39;", "'")
        assert each["found"] in shown and each["advice"] in shown
        plain = markdown.replace("\\[", "[")
        assert each["found"] in plain and each["advice"] in plain
    assert "Do not rely on unknown of" in html and "Do not rely on unknown of" in markdown
    assert html.count("<svg") == 8 and html.count(JPEG) == 20
    assert re.search(r"\| +confidence +\| 0\.93–1\.00 +\|", markdown)
    assert report(record).read_text() == html  # what was added to the JSON changes nothing


def test_names_stay_text(record: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    document = json.loads(record.read_text())
    document["name"] = EVIL
    for result in document["results"].values():
        result["remarks"] = [EVIL]
        for mistake in result["mistakes"]:
            mistake |= {"photo": EVIL, "label": EVIL, "answer": EVIL}
    record.write_text(json.dumps(document))
    page = report(record)
    assert "<script" not in page.read_text()
    markdown = page.with_suffix(".md").read_text()
    assert "<script" not in markdown
    check_tables_line_up(markdown)


def test_identifiers_are_unique_and_colours_the_pages(record: Path) -> None:
    pytest.importorskip("matplotlib")
    html = report(record).read_text()
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers)) > 0
    for figure in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        assert not re.search(r"#[0-9a-f]{6}\b", figure)
    assert "<title>after calibration: 132 photos, said 96.6 %, right 100.0 %</title>" in html


def test_the_verb_says_what_it_wrote(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    before = record.read_text()
    assert main(["report", str(record), "--out", str(tmp_path / "out")]) == 0
    names = [tmp_path / "out" / f"pets.trust.{end}" for end in ("html", "md", "json")]
    assert capsys.readouterr().out.split() == [*map(str, names)]
    assert all(name.exists() for name in names) and record.read_text() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ('{"schema": "edgeclf.benchmark/1"}', "has the schema 'edgeclf.benchmark/1'"),
        ("[]", "has the schema None"),
        (json.dumps({**make_record(), "results": {}}), "holds no results"),
    ],
)
def test_another_file_is_refused(content: str, message: str, record: Path) -> None:
    record.write_text(content)
    with pytest.raises(OptionError, match=message):
        read_record(record)


def test_records_are_reported_alone(record: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="2 files were given"):
        report([record, tmp_path / "benchmark.json"])
    with pytest.raises(OptionError, match="Cannot read"):
        read_record(tmp_path / "gone.trust.json")


@pytest.mark.parametrize("package", NAMES)
def test_without_a_package_nothing_is_written(
    package: str, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=package):
        report(record)
    assert [path.name for path in record.parent.iterdir()] == ["pets.trust.json"]
    assert "findings" not in json.loads(record.read_text())
    assert to_markdown(read_record(record))


def test_a_file_without_sets_and_unknown_has_a_page() -> None:
    pytest.importorskip("matplotlib")
    result = make_result(recalled=None, wrong=0)
    result["sets"] = []
    record = make_record(**{"pets.fp32.onnx": result})
    record["findings"] = {"pets.fp32.onnx": [vars(each) for each in findings(result)]}
    html = to_html(record)
    assert html.count("<svg") == 3 and "There are no sets" in html
    assert "The only file says after calibration more truly than before" in html
