"""Devices report to a service, which lets admins see what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeclf.cli import main
from edgeclf.errors import FleetError
from edgeclf.fleet.outbox import MOST_BYTES, REPORT, enveloped
from edgeclf.fleet.signing import public_of
from edgeclf.publishing.collector import Collector
from edgeclf.service import fleet_routes
from edgeclf.service.keys import add_key
from support.fleets import scene
from support.services import artifact, client, listening, write

pytest.importorskip("sqlalchemy", reason="needs sqlalchemy, which is not installed here")
SEED = b"\1" * 32
PLACE = "/fleet/report"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path, artifact())


def sent(counter: int = 1, seed: bytes | None = None, **words: Any) -> bytes:
    said = {
        "schema": REPORT, "device": "d1", "group": "canary", "name": "birds", "class": "board",
        "counter": counter, "at": 1_000_000, "found": None, "file": None, "sha256": None,
        "outcome": {"kind": "unchanged", "reason": "", "text": "", "running": None},
        "on_trial": False, "bad": {}, "drift": None, **words,
    }  # fmt: skip
    return enveloped(said, seed)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_report_is_taken_once_and_shown(model: Path, tmp_path: Path) -> None:
    with client(model, fleet=str(tmp_path / "reports.db"), fleet_open=True) as http:
        assert http.post(PLACE, content=sent(2)).status_code == 202
        assert http.post(PLACE, content=sent(2)).status_code == 200
        assert code(http.post(PLACE, content=sent(1))) == (409, "replayed")
        assert code(http.post(PLACE, content=b"{}")) == (422, "report")
        assert code(http.post(PLACE, content=b" " * (MOST_BYTES + 1))) == (413, "body_too_large")
        assert http.get("/fleet/status").json()["devices"] == 1
        page = http.get("/fleet")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "1 device reported" in page.text
        assert http.get("/docs").status_code == 200
        assert PLACE in http.get("/openapi.json").json()["paths"]
    with client(model, fleet=str(tmp_path / "reports.db")) as http:  # it is kept
        assert http.get("/fleet/status").json()["devices"] == 1
        assert code(http.post(PLACE, content=sent(device="d2"))) == (403, "unknown_device")


def test_who_takes_none_says_so(model: Path) -> None:
    with client(model) as http:
        for answer in (http.post(PLACE, content=sent()), http.get("/fleet")):
            assert code(answer) == (409, "no_fleet")


def test_a_device_needs_its_own_key_and_not_the_services(model: Path, tmp_path: Path) -> None:
    keys, database = tmp_path / "keys", tmp_path / "reports.db"
    admin, other = add_key(keys, "boss", "admin"), add_key(keys, "app")
    collector = Collector(database)
    collector.enroll("birds", "d1", public_of(SEED).hex())
    collector.close()
    with client(model, keys=str(keys), fleet=str(database)) as http:
        assert code(http.post(PLACE, content=sent())) == (403, "signature")
        assert http.post(PLACE, content=sent(1, SEED)).status_code == 202
        for path in ("/fleet", "/fleet/status"):
            assert code(http.get(path)) == (401, "no_key")
            assert code(http.get(path, headers={"X-API-Key": other})) == (403, "not_admin")
            assert http.get(path, headers={"X-API-Key": admin}).status_code == 200


def test_a_web_sites_page_sees_nothing(model: Path, tmp_path: Path) -> None:
    with client(model, fleet=str(tmp_path / "reports.db")) as http:
        answer = http.get("/fleet", headers={"Origin": "https://elsewhere.example"})
        assert code(answer) == (403, "not_admin")


def test_load_on_the_database_is_bounded_and_its_failure_is_no_end(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise FleetError("The database is away.", "store")

    with client(model, fleet=str(tmp_path / "reports.db"), fleet_open=True) as http:
        with monkeypatch.context() as patch:
            patch.setattr(fleet_routes, "_MOST_WAITING", 0)
            answer = http.post(PLACE, content=sent())
            assert code(answer) == (503, "busy") and answer.headers["retry-after"]
        with monkeypatch.context() as patch:
            patch.setattr(Collector, "take", away)
            assert code(http.post(PLACE, content=sent())) == (503, "store")
        assert http.post(PLACE, content=sent()).status_code == 202


def test_a_device_reports_to_a_real_service(model: Path, tmp_path: Path) -> None:
    with (
        scene(tmp_path) as place,
        listening(model, fleet=str(tmp_path / "reports.db"), fleet_open=True) as service,
    ):
        device = place.device(report=f"{service.url}{PLACE}", sign=True)
        order = place.publish("1").order
        device.update()
        found = httpx.get(f"{service.url}/fleet/status").json()
    (row,) = found["running"]
    assert (row["sha256"], row["release"], row["devices"]) == (order.sha256, 1, 1)
    assert found["signed"] == 1


def test_a_service_that_cannot_keep_reports_does_not_start(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["serve", str(model), "--runtime", "fake", "--port", "0", "--fleet"]
    assert main([*words, str(tmp_path / "nowhere" / "reports.db")]) == 2
    assert "cannot be used" in capsys.readouterr().err
    assert main([*words[:-1], "--fleet-open"]) == 2
    assert "has no effect without fleet" in capsys.readouterr().err
