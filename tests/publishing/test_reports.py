"""What devices say of themselves, and what a publisher makes of it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edgeclf.cli import main
from edgeclf.errors import EdgeclfError, OptionError, QualityGateError, VerificationError
from edgeclf.publishing.fleet import Proof, Terms
from edgeclf.publishing.overview import as_text, overview
from edgeclf.publishing.reports import Report, read_reports
from support.fleets import NAME, Device, Scene


def broken(*_: Any) -> dict[str, Any]:
    raise VerificationError("other kernels here")


def reports_of(scene: Scene) -> list[Report]:
    return read_reports(scene.folder)[0]


def after(device: Device, *words: Any) -> None:
    with suppress(EdgeclfError):
        device.update(*words)


@pytest.fixture
def three(scene: Scene) -> list[Device]:
    """Three devices of which the last finds order 2 bad."""
    devices = [scene.device(f"d{number}") for number in (1, 2, 3)]
    scene.publish("1")
    for device in devices:
        device.update()
    scene.publish("2")
    for device in devices:
        after(device, *[broken] * (device.path.name == "d3"))
    return devices


def test_it_says_what_runs_and_not_what_was_ordered(scene: Scene, three: list[Device]) -> None:
    reports, strange = read_reports(scene.folder)
    assert strange == []
    text = as_text(overview(reports))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert any(line.startswith("1 of canary run shades order 1") for line in lines)
    assert any(line.startswith("2 of canary run shades order 2") for line in lines)
    assert "1 of canary VerificationError" in lines and "d3: other kernels here" in lines
    assert "silent" not in text


def test_who_says_nothing_for_a_day_is_named(scene: Scene, three: list[Device]) -> None:
    reports, _ = read_reports(scene.folder)
    later = max(report.at for report in reports) + 90_000
    assert "3 silent for a day: d1, d2, d3" in as_text(overview(reports, now=later))


def test_an_order_goes_further_only_where_it_was_good(scene: Scene, three: list[Device]) -> None:
    with pytest.raises(
        QualityGateError, match=r"2 have committed it .* 1 found it bad .* d3: other"
    ):
        scene.fleet.promote(NAME, to="stable", proof=Proof(reports_of(scene), "canary"))
    scene.publish("3")
    for device in three:
        device.update()
    proof = Proof(reports_of(scene), "canary", devices=4)
    with pytest.raises(QualityGateError, match=r"3 have committed it \(asked: 4\)"):
        scene.fleet.promote(NAME, to="stable", proof=proof)
    scene.fleet.promote(NAME, to="stable", proof=Proof(reports_of(scene), "canary", devices=3))


def test_a_trial_is_no_success_yet(scene: Scene) -> None:
    device = scene.device()
    scene.publish("1", terms=Terms(probation_minutes=10))
    device.update()
    with pytest.raises(QualityGateError, match="0 have committed it"):
        scene.fleet.promote(NAME, to="stable", proof=Proof(reports_of(scene), "canary"))


def test_strange_files_are_named_and_do_no_harm(
    scene: Scene, three: list[Device], capsys: pytest.CaptureFixture[str]
) -> None:
    place = scene.folder / "reports"
    place.mkdir()
    good = json.loads((three[0].path / "report.json").read_bytes())
    for name, document in {
        "good": good,
        "no-object": [],
        "other": {"schema": "else"},
        "short": {"schema": good["schema"]},
        "wrong": {**good, "sha256": 3},
        "words": {**good, "device": "\x1b[31mred", "counter": good["counter"] + 9},
    }.items():
        (place / f"{name}.json").write_text(json.dumps(document))
    (place / "half.json").write_text('{"schema"')
    (place / "huge.json").write_bytes(b" " * (1 << 16) + b"{}")
    reports, strange = read_reports(place)
    assert {report.device for report in reports} == {"d1", "\x1b[31mred"}
    assert [Path(line.partition(":")[0]).stem for line in strange] == [
        "half", "huge", "short", "wrong"
    ]  # fmt: skip
    words = ["fleet", "status", str(scene.folder / "fleet"), "--reports"]
    assert main([*words, str(place)]) == 0
    said = capsys.readouterr()
    assert "no report: " in said.err and "\x1b" not in said.out
    assert main([*words, str(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reports"]["devices"] == 2
    with pytest.raises(OptionError, match="is no folder"):
        read_reports(place / "nowhere")


def test_the_two_options_belong_together(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fleet", "promote", str(scene.folder / "fleet"), NAME, "--to", "stable"]
    assert main([*words, "--if-good", "canary"]) == 2
    assert "belong together" in capsys.readouterr().err
