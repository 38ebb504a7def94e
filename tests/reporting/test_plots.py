"""The plots of a report: what they show, and their colours."""

from __future__ import annotations

import copy
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeclf
from edgeclf.report import report
from edgeclf.reporting.pareto import pareto_front
from support.reports import write

PACKAGE = Path(edgeclf.__file__).parent


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
