"""The report of a conversion: what Markdown and page say about the figures."""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from edgeclf.errors import MissingDependencyError
from edgeclf.reporting.conversion_page import to_html, to_markdown

EVIL = "<b>|evil</b>"
ERROR = "ConversionError: no such\n  <operator> | here"
PNG = "iVBORw0KGgo="


def comparison(artifact_top1: float, agreement: float, max_change: float) -> dict[str, Any]:
    return {
        "images": 200,
        "source_top1": 0.9,
        "artifact_top1": artifact_top1,
        "top1_agreement": agreement,
        "max_change": max_change,
        "mean_change": max_change / 10,
        "per_class": {
            "cat": {"source": 0.8, "artifact": 0.8},
            "dog": {"source": 1.0, "artifact": 2 * artifact_top1 - 0.8},
        },
    }


def attempt(
    recipe: str, passed: bool, drop: float | None, error: str | None = None
) -> dict[str, Any]:
    return {
        "recipe": recipe,
        "passed": passed,
        "error": error,
        "top1_drop": drop,
        "top1_agreement": None if error else 0.975,
        "max_change": None if error else 0.25,
        "mean_change": None if error else 0.025,
        "size_bytes": None if error else 600_000,
        "p50_ms": None if error else 1.25,
        "seconds": 2.5,
    }


def result(
    compared: dict[str, Any] | None, *attempts: dict[str, Any], **more: Any
) -> dict[str, Any]:
    return {
        "passed": any(tried["passed"] for tried in attempts),
        "error": None,
        "size_bytes": 500_000,
        "seconds": 12.5,
        "comparison": compared,
        "quantization": None,
        "arena_bytes": None,
        "attempts": list(attempts),
        "changes": [],
        "worst_images": [],
        "layer_errors": [],
        **more,
    }


@pytest.fixture
def conversion() -> dict[str, Any]:
    """One artifact as good as its source, one by a fallback, one too different and one broken."""
    image = {
        "png": PNG,
        "truth": "cat",
        "source": [["cat", 0.75], ["dog", 0.25]],
        "artifact": [["dog", 0.625], ["cat", 0.375]],
        "change": 0.375,
    }
    return {
        "schema": "edgeclf.conversion/1",
        "source": {
            "name": "pets",
            "file": "pets.keras",
            "format": "keras",
            "sha256": "ab" * 32,
            "size_bytes": 2_000_000,
            "parameters": 500_000,
        },
        "labels": ["cat", "dog"],
        "evaluation": {"kind": "labelled", "images": 200, "sha256": "cd" * 32},
        "calibration": {"images": 100, "seed": 7, "sha256": "ef" * 32, "files": ["a.jpg"]},
        "settings": {"tolerance": 0.01},
        "libraries": {"tensorflow": "2.21.0"},
        "seconds": 61.5,
        "results": {
            "pets.fp32.tflite": result(
                comparison(0.9, 1.0, 1e-6),
                attempt("float", True, 0.0),
                worst_images=[{**image, "change": 1e-6}],
            ),
            "pets.int8.tflite": result(
                comparison(0.895, 0.985, 0.375),
                attempt("plain", False, 0.025),
                attempt("percentile", False, None, "ValueError: no percentile"),
                attempt("two layers in float", True, 0.005),
                quantization={"scheme": "static", "kept_in_float": ["softmax"], "narrow": True},
                arena_bytes=123_000,
                changes=[
                    {"truth": "cat", "source": "cat", "artifact": "dog", "images": 3},
                    {"truth": "dog", "source": "cat", "artifact": "dog", "images": 2},
                    {"truth": "fox", "source": "cat", "artifact": "dog", "images": 1},
                ],
                worst_images=[image],
                layer_errors=[
                    {"tensor": "block_1/relu", "operator": "CONV_2D", "error": 0.5},
                    {"tensor": "block_2/relu", "operator": None, "error": 0.125},
                ],
            ),
            "pets.int8.onnx": result(comparison(0.85, 0.9, 0.5), attempt("plain", False, 0.05)),
            "pets.fp16.onnx": {
                **dict.fromkeys(result(None)), "passed": False, "error": ERROR,
            },
        },
    }  # fmt: skip


def unlabelled(conversion: dict[str, Any]) -> dict[str, Any]:
    conversion = copy.deepcopy(conversion)
    conversion["evaluation"]["kind"] = "unlabelled"
    for entry in conversion["results"].values():
        if entry["comparison"]:
            entry["comparison"].update(source_top1=None, artifact_top1=None, per_class={})
        for tried in entry["attempts"] or []:
            tried["top1_drop"] = None
        for told in [*(entry["changes"] or []), *(entry["worst_images"] or [])]:
            told["truth"] = None
    return conversion


def section(markdown: str, title: str) -> str:
    return markdown.split(f"## {title}\n")[1].split("\n## ")[0]


def cells(markdown: str, title: str) -> list[list[str]]:
    """The rows of a section's table, without its rule."""
    lines = [line for line in section(markdown, title).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [rows[0], *rows[2:]]


def test_summary_in_words(conversion: dict[str, Any]) -> None:
    expected = (
        "2 of 4 artifacts passed the gate: compared with pets.keras on 200 labelled photos, with "
        "a tolerance of 1.0 points of top-1. Of those that passed, pets.int8.tflite loses most: "
        "0.5 points (89.5 % against 90.0 %). They give the source's answer to at least 98.5 % of "
        "the images (pets.int8.tflite). pets.int8.tflite needed a fallback: “two layers in float” "
        "passed after 2 other recipes had not. pets.int8.onnx failed: it loses 5.00 points of "
        "top-1, where 1.00 may be lost. pets.fp16.onnx failed: the error is below."
    )
    assert to_markdown(conversion).split("\n\n")[1] == expected
    assert expected in to_html(conversion).replace("\u00a0", " ").replace("&#39;", "'")


def test_summary_when_nothing_is_lost(conversion: dict[str, Any]) -> None:
    for name in ("pets.int8.tflite", "pets.int8.onnx", "pets.fp16.onnx"):
        del conversion["results"][name]
    summary = to_markdown(conversion).split("\n\n")[1]
    assert summary.startswith("The only artifact passed the gate: compared with ")
    assert summary.endswith(
        " pets.fp32.tflite loses no top-1. pets.fp32.tflite gives the source's answer to 100.0 % "
        "of the images."
    )
    assert "fallback" not in summary
    assert "failed" not in summary
    assert "No class changed in pets.fp32.tflite." in to_html(conversion)


def test_main_table_repeats_the_figures(conversion: dict[str, Any]) -> None:
    columns, perfect, fallback, worse, broken = cells(to_markdown(conversion), "Results")
    assert columns == [
        "Artifact", "Verdict", "Recipe taken", "Top-1", "Agreement", "Largest change", "Size",
        "Ratio", "Arena", "Time",
    ]  # fmt: skip
    assert perfect == [
        "pets.fp32.tflite", "passed", "float", "90.0 % → 90.0 % (±0.0 points)", "100.0 %",
        "≤0.0001 (mean ≤0.0001)", "500 kB", "4.00x", "–", "12.5 s",
    ]  # fmt: skip
    assert fallback == [
        "pets.int8.tflite", "passed (fallback recipe 2)", "two layers in float",
        "90.0 % → 89.5 % (−0.5 points)", "98.5 %", "0.3750 (mean 0.0375)", "500 kB", "4.00x",
        "123 kB", "12.5 s",
    ]  # fmt: skip
    assert worse[:5] == ["pets.int8.onnx", "failed", "–", "90.0 % → 85.0 % (−5.0 points)", "90.0 %"]
    assert broken == ["pets.fp16.onnx", "failed", *["–"] * 8]
    html = to_html(conversion)
    for figure in ("90.0 % → 89.5 %<small>−0.5 points<", "98.5 %", "0.3750<small>mean 0.0375<",
                   "500 kB", "4.00x", "123 kB", "12.5 s", "fallback recipe 2"):  # fmt: skip
        assert figure in html


def test_failures_are_shown_with_their_reason(conversion: dict[str, Any]) -> None:
    markdown, html = to_markdown(conversion), to_html(conversion)
    assert (
        "- pets.int8.onnx failed: it loses 5.00 points of top-1, where 1.00 may be lost\n"
        "- pets.fp16.onnx failed: ConversionError: no such <\u2060operator> \\| here"
    ) in section(markdown, "Results")
    assert ">failed</span><small>it loses 5.00 points of top-1, where 1.00 may be lost<" in html
    assert f">failed</span><small>{ERROR.replace('<', '&lt;').replace('>', '&gt;')}<" in html
    assert "- pets.int8.tflite, percentile failed: ValueError: no percentile" in markdown
    assert ">failed</span><small>ValueError: no percentile<" in html


def test_failure_within_the_tolerance_names_the_agreement(conversion: dict[str, Any]) -> None:
    conversion["results"]["pets.int8.onnx"]["comparison"]["artifact_top1"] = 0.9
    reason = "pets.int8.onnx failed: it gives the source&#39;s answer to 90.0 % of the images."
    assert reason in to_html(conversion).replace("\u00a0", " ")


def test_ladder_is_told_where_it_was_climbed_or_failed(conversion: dict[str, Any]) -> None:
    _, *rows = cells(to_markdown(conversion), "Recipes tried")
    assert rows == [
        ["pets.int8.tflite", "plain", "failed", "−2.5", "97.5 %", "0.2500 (mean 0.0250)",
         "600 kB", "1.25", "2.50 s"],
        ["pets.int8.tflite", "percentile", "failed", *["–"] * 5, "2.50 s"],
        ["pets.int8.tflite", "two layers in float", "passed", "−0.5", "97.5 %",
         "0.2500 (mean 0.0250)", "600 kB", "1.25", "2.50 s"],
        ["pets.int8.onnx", "plain", "failed", "−5.0", "97.5 %", "0.2500 (mean 0.0250)",
         "600 kB", "1.25", "2.50 s"],
    ]  # fmt: skip
    assert '<th scope="rowgroup" rowspan="3">pets.int8.tflite</th>' in to_html(conversion)


def test_only_classes_that_changed_are_told(conversion: dict[str, Any]) -> None:
    markdown = to_markdown(conversion)
    assert cells(markdown, "Classes that changed") == [
        ["Class", "Source", "int8.tflite", "int8.onnx"],
        ["dog", "100.0 %", "99.0 % (−1.0)", "90.0 % (−10.0)"],
    ]
    assert "- No class changed in pets.fp32.tflite." in markdown
    assert "99.0 % (−1.0)" in to_html(conversion)


def test_of_many_classes_the_most_changed_are_told(conversion: dict[str, Any]) -> None:
    conversion["results"]["pets.int8.tflite"]["comparison"]["per_class"] = {
        f"class {index}": {"source": 0.5, "artifact": 0.5 + index / 2000} for index in range(1000)
    }
    del conversion["results"]["pets.int8.onnx"]
    markdown = to_markdown(conversion)
    _, *rows = cells(markdown, "Classes that changed")
    assert [row[0] for row in rows] == [f"class {index}" for index in range(999, 969, -1)]
    assert "969 more classes changed" in markdown
    assert "969 more classes changed" in to_html(conversion)


def test_answers_that_changed(conversion: dict[str, Any]) -> None:
    _, *rows = cells(to_markdown(conversion), "Answers that changed")
    assert [row[1:] for row in rows] == [
        ["cat", "cat", "dog", "now wrong", "3"],
        ["dog", "cat", "dog", "now right", "2"],
        ["fox", "cat", "dog", "still wrong", "1"],
    ]
    entry = conversion["results"]["pets.int8.tflite"]
    entry["changes"] = [{**entry["changes"][0], "images": 2} for _ in range(20)]
    markdown = to_markdown(conversion)
    assert len(cells(markdown, "Answers that changed")) == 1 + 12
    assert "16 more answers changed in pets.int8.tflite." in markdown


def test_photos_that_visibly_changed_are_embedded(conversion: dict[str, Any]) -> None:
    html = to_html(conversion)
    assert html.count("<img") == 1
    assert f'src="data:image/png;base64,{PNG}" alt="cat"' in html
    assert "Truth: <strong>cat</strong>; change: 0.3750" in html
    answers = re.findall(r"<td>(\w+) <span class=\"line\">([\d.]+) %</span></td>", html)
    assert answers == [("cat", "75.0"), ("dog", "62.5"), ("dog", "25.0"), ("cat", "37.5")]
    assert "No probability changed by 0.1 points in pets.fp32.tflite." in html


def test_layers_have_bars(conversion: dict[str, Any]) -> None:
    html = to_html(conversion)
    bars = re.findall(r'<span class="figure">([\d.]+)</span>.*?width: ([\d.]+)rem', html)
    assert bars == [("0.500", "8.00"), ("0.125", "2.00")]
    _, *rows = cells(to_markdown(conversion), "Layers that differ most")
    assert [row[1:] for row in rows] == [
        ["block_1/relu", "CONV_2D", "0.500"], ["block_2/relu", "–", "0.125"],
    ]  # fmt: skip


def test_layers_come_last_and_are_few(conversion: dict[str, Any]) -> None:
    long = f"{'a' * 40};{'b' * 40}"
    conversion["results"]["pets.int8.tflite"]["layer_errors"] = [
        {"tensor": long, "operator": "CONV_2D", "error": 1 / n} for n in range(1, 21)
    ]
    page = to_markdown(conversion)
    assert page.index("## Conditions") < page.index("## Layers that differ most")
    _, *rows = cells(page, "Layers that differ most")
    assert len(rows) == 8 and rows[0][1] == f"{'a' * 30}…{'b' * 30}"
    assert page.endswith(
        "- 12 more of pets.int8.tflite are in pets.conversion.json, with all names in full.\n"
    )


def test_conditions(conversion: dict[str, Any]) -> None:
    html = to_html(conversion)
    for name, fact in {
        "Source": f"pets.keras (keras), 2.00 MB, 500 k parameters, SHA-256 {'ab' * 32}",
        "Classes": "2",
        "Evaluation": f"200 labelled photos, SHA-256 {'cd' * 32}",
        "Calibration": f"100 images, seed 7, SHA-256 {'ef' * 32}",
        "pets.int8.tflite": "scheme: static; kept in float: softmax; narrow: yes",
        "Libraries": "tensorflow 2.21.0",
        "Time": "61.5 s",
    }.items():
        assert f"<dt>{name}</dt><dd>{fact}</dd>" in html
        assert f"- {name}: {fact}\n" in to_markdown(conversion)


def test_page_loads_nothing_and_escapes_every_name(conversion: dict[str, Any]) -> None:
    document = json.dumps(conversion)
    for name in ("cat", "block_1", "plain", "pets"):
        document = document.replace(name, name + EVIL)
    conversion = json.loads(document)
    html, markdown = to_html(conversion), to_markdown(conversion)
    assert "<b>" not in html + markdown
    assert html.count("&lt;b&gt;|evil&lt;/b&gt;") > 10
    loads = re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'>\s]+)|url\(([^)]*)\)", html)
    assert loads
    assert all((source or target).startswith("data:") for source, target in loads)
    assert not re.search(r"https?://|@import|<script|<link(?! rel=\"icon\")", html)
    tables = [part.splitlines() for part in markdown.split("\n\n") if part.startswith("|")]
    assert len(tables) == 5
    for lines in tables:
        assert len({len(line) for line in lines}) == 1
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_unlabelled_images_have_no_accuracy(conversion: dict[str, Any]) -> None:
    conversion = unlabelled(conversion)
    html, markdown = to_html(conversion), to_markdown(conversion)
    assert "on 200 photos without labels" in markdown
    assert "loses" not in markdown
    assert "Top-1" not in cells(markdown, "Results")[0]
    assert "Classes that changed" not in html + markdown
    assert cells(markdown, "Answers that changed")[0][1:] == [
        "Source's answer", "Artifact's answer", "Images",
    ]  # fmt: skip
    assert "Truth" not in html


@pytest.mark.parametrize("part", list(result(None))[1:])
def test_a_part_that_is_missing_does_no_harm(part: str, conversion: dict[str, Any]) -> None:
    for entry in conversion["results"].values():
        entry[part] = None
    assert "Results" in to_html(conversion)
    for entry in conversion["results"].values():
        del entry[part]
    assert "## Results" in to_markdown(conversion)


def test_facts_that_are_missing_do_no_harm(conversion: dict[str, Any]) -> None:
    conversion["calibration"] = None
    conversion["source"]["parameters"] = None
    conversion["results"] = {"pets.int8.tflite": {"passed": False}}
    for written in (to_html(conversion), to_markdown(conversion)):
        assert "No artifact passed" in written
        assert "pets.int8.tflite failed: the reason was not recorded" in written
        assert "unknown parameters" in written
    assert "<dt>Calibration</dt><dd>none</dd>" in to_html(conversion)
    conversion["results"] = {}
    assert "No artifact passed" in to_html(conversion)
    assert "No artifact passed" in to_markdown(conversion)


def test_page_needs_jinja2_and_no_matplotlib(
    conversion: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert to_html(conversion)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert to_markdown(conversion)
    with pytest.raises(MissingDependencyError, match=re.escape("edgeclf[report]")):
        to_html(conversion)


def test_the_page_can_be_read(
    conversion: dict[str, Any], check_page: Callable[[str], object]
) -> None:
    conversion["results"]["pets.int8.tflite"]["worst_images"][0]["truth"] = "a-long-name" * 9
    check_page(to_html(conversion))
