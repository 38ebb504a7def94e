"""The report in a real browser: light and dark, narrow and wide, and on paper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeclf.report import report
from edgeclf.reporting.benchmark_page import to_html
from edgeclf.reporting.devices import group_by_device
from edgeclf.reporting.summary import summarize
from support import browser
from support.benchmark_results import make_results
from support.trust_records import make_record

if browser.CHROMIUM is None:
    pytest.skip("there is no Chromium to look with", allow_module_level=True)
pytest.importorskip("jinja2")


@pytest.fixture(scope="module", params=(1, 3), ids=("one device", "three devices"))
def page(request: pytest.FixtureRequest) -> str:
    runs = [make_results() for _ in range(request.param)]
    for number, run in enumerate(runs):
        run["environment"]["cpu"] += "N" * number
    devices = group_by_device(runs)
    return to_html(devices, [summarize(device.results) for device in devices])


def test_everything_can_be_read(page: str, tmp_path: Path) -> None:
    look = browser.check(page, tmp_path)
    assert look.pictures >= 5 and look.tables >= 6


def test_it_prints(page: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    assert 2 <= browser.print_pages(file, tmp_path) <= 8 * page.count("Conditions</h")


def test_the_page_of_calibrated_files(tmp_path: Path) -> None:
    file = tmp_path / "pets.trust.json"
    file.write_text(json.dumps(make_record()), encoding="utf-8")
    page = report(file)
    look = browser.check(page.read_text(encoding="utf-8"), tmp_path)
    assert look.pictures == 2 * (4 + 10) and look.tables == 2 * (10 + 4) + 2
    assert 2 <= browser.print_pages(page, tmp_path) <= 10


def test_the_browser_notices(tmp_path: Path) -> None:
    """Without which the other tests would say nothing."""
    broken = """<body style="background: #fff"><p style="color: #aaa">faint</p><svg width="100"
        height="100"><text x="90" y="50">cut off</text></svg><svg width="9" height="9"></svg>
        <table style="width: 500px"><tr><td>wide</table>"""
    look = browser.look_at(broken, tmp_path, dark=False)
    assert look.faint == ["2.32: faint"]
    assert look.cut == [[width, "cut off"] for width in browser.WIDTHS]
    assert [width for width, _ in look.empty] == list(browser.WIDTHS)
    assert look.wide[390] > 100 and look.wide[800] == look.wide[1280] == 0
