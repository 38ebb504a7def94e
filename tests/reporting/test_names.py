"""Names come from anywhere: in a report they stay text, and what is no number is never "nan"."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from edgeclf.reporting import text
from edgeclf.reporting.csv_export import to_csv
from edgeclf.reporting.devices import group_by_device
from edgeclf.reporting.markdown import code_block, markdown_table, safe_text
from edgeclf.reporting.summary import summarize
from edgeclf.system.files import write_json
from edgeclf.system.words import csv_cell
from support.benchmark_results import make_results

HOSTILE = (
    "[click](https://example.org)", "![seen](https://example.org/i.png)", "[a][b]", "[a]: x",
    "<https://example.org>", "https://example.org", "ftp://example.org", "www.example.org",
    "<script>alert(1)</script>", "`code`", "*bold*", "__init__", "_x_", "~~gone~~", "a|b",
    "# title", "- item", "+ item", "1. item", "1) item", "===", "---", "> said", "\\[a](b)",
    "line\n\n# title", "&lt;b&gt;", "&#96;x", "&amp", "a\\|b", "a\\", "~x~", "$x$",
    "$$x$$", "a@b.com", "mailto:a@b.com", "xmpp:a.b@c.org/d",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_in_markdown(name: str) -> None:
    markdown_it = pytest.importorskip("markdown_it", reason="needs markdown-it-py")
    render = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).render
    shown = (
        re.sub(r"<(?=[a-z/])", "<\u2060", " ".join(name.split()))
        .replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
    )
    shown = re.sub(r"(?<=\w)@", "\u2060@", shown)  # has no width
    assert render(safe_text(name)) == f"<p>{shown}</p>\n"
    assert render(f"- {safe_text(name)}") == f"<ul>\n<li>{shown}</li>\n</ul>\n"
    page = render(markdown_table(["Name", name], [[name, "1"]], 1))
    assert f"<td>{shown}</td>" in page and f">{shown}</th>" in page


def test_addresses_and_links_are_broken_for_every_renderer() -> None:
    for name in HOSTILE:
        written = safe_text(name)
        bare = re.sub(r"\\.", "", written)  # without what is escaped
        assert not re.search(r"<[a-zA-Z/!?]", written)
        assert not [part for part in ("://", "www.", "[", "|", "`", "~", "$") if part in bare]
        assert not re.search(r"[\w.+-]@", written)
        assert not re.search(r"&#?\w+;", bare)


@pytest.mark.parametrize(
    "name",
    ["mugs_v2.int8.tflite", "Müslischüssel (1)", "50 % & more", "p < 0.05", 'it\'s "so"',
     "1.06x [0.89–1.27]"],
)  # fmt: skip
def test_usual_names_stay_as_they_are_in_the_source(name: str) -> None:
    assert safe_text(name) == name


@pytest.mark.parametrize(
    ("name", "written"),
    [("`code`", r"\`code\`"), ("a|b", r"a\|b"), ("<b>", "<\u2060b>"), ("&#96;", r"\&#96;"),
     ("https://a.org", r"https\://a.org"), ("_x_", r"\_x\_"), ("a\\b", r"a\\b"),
     ("[1](x)", r"\[1](x)"), ("[1]: x", r"\[1]: x")],
)  # fmt: skip
def test_odd_names_read_well_without_a_renderer(name: str, written: str) -> None:
    assert safe_text(name) == written


def test_nothing_in_code_ends_its_fence() -> None:
    assert code_block("edgeclf report a", "sh") == "```sh\nedgeclf report a\n```"
    assert code_block("a ```` b", "sh").splitlines()[0] == "`````sh"


@pytest.mark.parametrize("start", [*"=+-@\t\r\n＝＋－＠"])
def test_no_spreadsheet_takes_a_text_for_a_formula(start: str) -> None:
    assert csv_cell(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize("value", [-1.5, 3, True, None, "", "cat", "a=b", "'=1"])
def test_numbers_and_other_texts_stay(value: object) -> None:
    assert csv_cell(value) is value


def test_a_table_of_a_benchmark_holds_no_formula_and_no_nan() -> None:
    results = make_results()
    row = results["rows"][0]
    row |= {"file": "=HYPERLINK(1)", "error": "@SUM(1)", "cold_start": None}
    results["rows"][1]["energy"] = {"joules_per_image": math.nan}
    results["environment"]["cpu"] = "+1"
    devices = group_by_device([results])
    table = to_csv(devices, [summarize(device.results, None) for device in devices])
    lines = [*csv.DictReader(io.StringIO(table))]
    assert lines[0]["file"] == "'=HYPERLINK(1)" and lines[0]["error"] == "'@SUM(1)"
    assert lines[1]["joules_per_image"] == ""
    assert float(lines[1]["total_p50_ms"]) > 0
    assert not any(cell[:1] in tuple("=+@") for line in lines for cell in line.values() if cell)


WRITERS = (text.digits, text.milliseconds, text.duration, text.size, text.percent, text.ratio,
           text.points)  # fmt: skip


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_a_dash(write: Any, value: float | None) -> None:
    assert write(value) == text.DASH


def test_no_interval_and_no_count_of_what_is_no_number() -> None:
    assert text.interval((0.5, math.nan)) == text.DASH
    assert text.count(math.nan) == "unknown"


def test_json_has_no_nan(tmp_path: Path) -> None:
    value = {"a": [math.nan, 1.5, (math.inf, "NaN")], "b": {"c": -math.inf}}
    write_json(tmp_path / "a.json", value)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert read == {"a": [None, 1.5, [None, "NaN"]], "b": {"c": None}}
