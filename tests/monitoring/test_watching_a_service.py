"""What a service tells of its answers, and that telling costs no answer."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from edgeclf.errors import OptionError
from edgeclf.monitoring.answer_metrics import MOST_LABELS
from edgeclf.monitoring.line_file import LineFile
from edgeclf.service.config import ServiceConfig
from edgeclf.service.service import Service
from edgeclf.trust.reference import RANGES, histograms
from support.pictures import save
from support.services import artifact, client, run_in, shade, write

CONFIDENCE = {
    "temperature": {"value": 1.0, "floor": 1e-6},
    "novelty": {"score": "confidence", "threshold": 0.5},
    "sets": {"score": "plain", "penalty": 0.0, "levels": []},
}


def watched(**more: Any) -> Any:
    random = np.random.default_rng(0)
    values = {name: random.uniform(*limits, 200) for name, limits in RANGES.items()}
    reference = histograms(values, random.integers(0, 3, 200), 3)
    return artifact(trust={**CONFIDENCE, "reference": reference}, **more)


def figures(http: httpx.Client) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(http.get("/metrics").text)
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def ask(http: httpx.Client, *levels: int) -> None:
    for level in levels:
        assert http.post("/classify", content=shade(level)).status_code == 200


def settled(found: Any, timeout_s: float = 10) -> Any:
    """What a thread of the service's will have done in a moment."""
    end = time.monotonic() + timeout_s
    while not (value := found()) and time.monotonic() < end:
        time.sleep(0.02)
    return value


def test_the_figures_of_answers(tmp_path: Path) -> None:
    with client(write(tmp_path, watched())) as http:
        ask(http, *[20] * 40, 240)
        http.post("/classify", content=save(np.full((9, 9, 3), 128, np.uint8), "PNG"))
        found = figures(http)
        (told,) = http.get("/v1/monitor").json()["versions"]
    assert found["edgeclf_answers_total", "dark", "shades"] == 40
    assert found["edgeclf_answers_total", "bright", "shades"] == 1
    assert found["edgeclf_picture_bytes_count", "JPEG"] == 41
    assert found["edgeclf_picture_bytes_count", "PNG"] == 1
    assert found["edgeclf_confidence_count", "shades"] == 42
    assert found["edgeclf_margin_count", "shades"] == 42
    judged = [
        found.get(("edgeclf_judged_total", *k), 0)
        for k in (("shades", "true"), ("false", "shades"))
    ]
    assert sum(judged) == 42
    assert found["edgeclf_monitor_blind", "1", "shades"] == 0
    assert ("edgeclf_drift_capital_log10", "1", "shades", "unknown") in found
    assert 0 < found["edgeclf_expected_accuracy", "1", "recent", "shades"] <= 1
    assert found["edgeclf_brightness_count", "shades"] >= 1
    assert not any(np.isnan(value) for value in found.values())
    assert (
        told["pictures"] == 42 and told["cannot"] == [] and "meaning" in told["expected_accuracy"]
    )
    assert told["drift"]["confidence"]["pictures"] == 42
    assert told["label_shift"]["log10_factor"] > 3


def test_a_file_without_reference_says_so_and_is_answered(tmp_path: Path) -> None:
    with client(write(tmp_path, artifact())) as http:
        ask(http, 20)
        (told,) = http.get("/v1/monitor").json()["versions"]
        assert len(told["cannot"]) == 2 and told["drift"] is None
        assert figures(http)["edgeclf_monitor_blind", "1", "shades"] == 1


def test_no_monitor_watches_nothing(tmp_path: Path) -> None:
    with client(write(tmp_path, watched()), monitor=False) as http:
        ask(http, 20)
        response = http.get("/v1/monitor")
        assert response.status_code == 404 and response.json()["code"] == "no_monitor"
        assert not any("drift" in name[0] or "answers" in name[0] for name in figures(http))


def test_labels_are_bounded_however_many_classes_are_answered(tmp_path: Path) -> None:
    labels = [f"class {index}" for index in range(120)]
    with client(write(tmp_path, artifact(labels=labels))) as http:
        for level in range(0, 250, 2):
            ask(http, level)
        found = figures(http)
        sizes = {key[1:] for key in found if key[0] == "edgeclf_answers_total"}
    assert ("other", "shades") in sizes and len(sizes) == MOST_LABELS + 1
    assert sum(v for k, v in found.items() if k[0] == "edgeclf_answers_total") == 125


def test_what_is_known_outlives_a_restart(tmp_path: Path) -> None:
    path, state = write(tmp_path / "models", watched()), tmp_path / "state.json"
    for total in (5, 10):
        with client(path, monitor_state=str(state)) as http:
            ask(http, *[128] * 5)
            (told,) = http.get("/v1/monitor").json()["versions"]
            assert told["pictures"] == total == told["expected_accuracy"]["all"]["pictures"]
    state.write_text("{}")
    with client(path, monitor_state=str(state)) as http:
        (told,) = http.get("/v1/monitor").json()["versions"]
        assert told["pictures"] == 0


def test_a_state_that_cannot_be_written_costs_no_answer(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("")
    with client(write(tmp_path, watched()), monitor_state=str(folder / "state.json")) as http:
        ask(http, 20)
        run_in(http, http.service._save())  # type: ignore[attr-defined]
        assert figures(http)["edgeclf_monitor_state_failures_total",] == 1
        ask(http, 20)


def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client(write(tmp_path, watched()), monitor_state=str(tmp_path / "s.json")) as http:
        ask(http, 20)
        for now in (-1e9, 0.0, 4e12):
            monkeypatch.setattr(time, "time", lambda now=now: now)
            ask(http, 20)
        (told,) = http.get("/v1/monitor").json()["versions"]
        assert told["pictures"] == 4
        monkeypatch.undo()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_request_is_a_line_of_the_log(tmp_path: Path) -> None:
    path, made = tmp_path / "log.jsonl", watched()
    with client(write(tmp_path, made), log=str(path)) as http:
        answer = http.post("/classify", content=shade(20)).json()
        http.post("/classify", content=b"no picture")
        http.get("/nothing")
        http.get("/healthz/live")
        http.get("/metrics")
    good, bad, nothing = lines(path)
    assert good["id"] == answer["request_id"] and good["status"] == 200
    assert (good["route"], bad["status"], nothing["route"]) == ("/classify", 422, "other")
    (entry,) = good["answers"]
    assert entry["sha256"] == made.sha256 and entry["label"] == "dark"
    assert entry["confidence"] == answer["confidence"] and entry["inference_ms"] >= 0
    assert bad["answers"][0]["error"] == "ImageError" and nothing["answers"] == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_loses_lines_and_counts_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with client(write(tmp_path, artifact()), log="/dev/full") as http:
        ask(http, 20, 20, 20)
        assert settled(lambda: figures(http)["edgeclf_log_lines_lost_total",] == 3)
    assert capsys.readouterr().err.count("No space left") == 1


def test_a_log_that_was_moved_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LineFile(str(path))
    file.add(b"one")
    assert settled(lambda: path.read_bytes()) == b"one\n"
    path.rename(tmp_path / "old")
    file.add(b"two")
    file.close()
    assert (path.read_bytes(), (tmp_path / "old").read_bytes()) == (b"two\n", b"one\n")
    assert file.lost_lines == 0


def test_a_log_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="Give another --log"):
        Service(ServiceConfig(log=str(tmp_path)))


def photo() -> bytes:
    picture = Image.new("RGB", (40, 30), (128, 128, 128))
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    from io import BytesIO

    stream = BytesIO()
    picture.save(stream, "JPEG", exif=exif, comment=b"a secret")
    return stream.getvalue()


def test_samples_hold_no_metadata_and_have_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeclf.monitoring.samples.random", lambda: 0.0)
    folder = tmp_path / "samples"
    config = {"sample_to": str(folder), "sample_files": 4}
    assert b"a secret" in photo()
    with client(write(tmp_path, artifact()), **config) as http:
        for _ in range(5):
            assert http.post("/classify", content=photo()).status_code == 200
            time.sleep(0.05)
        assert settled(lambda: figures(http)["edgeclf_samples_total", "random"] == 2)
    pictures = sorted(folder.glob("*.jpg"))
    assert len(pictures) == 2 and len(list(folder.iterdir())) == 4
    for path in pictures:
        assert b"secret" not in path.read_bytes()
        with Image.open(path) as kept:
            assert kept.size == (40, 30) and not kept.getexif()
        about = json.loads(path.with_suffix(".json").read_bytes())
        assert about["label"] == "middle" and about["why"] == "random"


def test_samples_have_an_end_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeclf.monitoring.samples.random", lambda: 0.0)
    config = {"sample_to": str(tmp_path / "samples"), "sample_mb": 0.001}
    random = np.random.default_rng(0)
    noise = save(random.integers(0, 256, (60, 60, 3), dtype=np.uint8), "PNG")
    with client(write(tmp_path, artifact()), **config) as http:
        http.post("/classify", content=noise)
    assert list((tmp_path / "samples").iterdir()) == []


def test_hard_pictures_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeclf.monitoring.samples.random", lambda: 0.05)
    hard = {**CONFIDENCE, "novelty": {"score": "confidence", "threshold": 1e-9}}
    with client(write(tmp_path, artifact(trust=hard)), sample_to=str(tmp_path / "s")) as http:
        http.post("/classify", content=photo())
    (path,) = (tmp_path / "s").glob("*.jpg")
    assert path.name.startswith("hard-")


def test_nothing_is_kept_unless_it_is_asked_for(tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with client(write(tmp_path / "models", watched())) as http:
        ask(http, *[20] * 5)
    assert sorted(tmp_path.iterdir()) == [*before, tmp_path / "models"]
