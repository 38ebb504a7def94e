"""Results of several devices, and of several runs on one, in one report."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

from edgeclf.measurement.matrix.recommendation import Limits
from edgeclf.report import report
from edgeclf.reporting.devices import group_by_device
from edgeclf.reporting.summary import summarize
from support.reports import markdown_of, table_lines


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
