"""Reports in a database: what is replayed, late, or not the device's own changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgeclf.cli import main
from edgeclf.errors import FleetError, MissingDependencyError, OptionError, QualityGateError
from edgeclf.fleet.outbox import REPORT, enveloped
from edgeclf.fleet.signing import public_of
from edgeclf.publishing import collector as collectors
from edgeclf.publishing.collector import Collector
from edgeclf.publishing.fleet import Proof
from edgeclf.publishing.overview import SILENT_S, as_text, overview, seen_of
from edgeclf.publishing.overview_page import to_page
from support import postgres
from support.fleets import NAME, Scene

pytest.importorskip("sqlalchemy", reason="needs sqlalchemy, which is not installed here")
SEED, OTHER = b"\1" * 32, b"\2" * 32
SHA256 = "ab" * 32


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A real server."""
    if (reason := postgres.reason_to_skip()) is not None:
        pytest.skip(reason)
    pytest.importorskip("psycopg", reason="needs psycopg, which is not installed here")
    with postgres.server() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Collector]]:
    """Opens a collector, whose database is empty at first."""
    made = []

    def start(**words: Any) -> Collector:
        made.append(Collector(place, **words))
        return made[-1]

    if request.param == "sqlite":
        place = str(tmp_path / "reports.db")
    else:
        place = request.getfixturevalue("database")
        first = start()
        first._table.metadata.drop_all(first._engine)
    yield start
    for each in made:
        each.close()


def said(counter: int = 1, device: str = "d1", **words: Any) -> dict[str, Any]:
    release = {"name": "birds", "counter": 3, "sha256": SHA256, "file": "slots/a/x"}
    return {
        "schema": REPORT, "device": device, "group": "canary", "name": "birds", "class": "board",
        "counter": counter, "at": 1_000_000,
        "outcome": {"kind": "committed", "reason": "", "text": "Committed.", "running": release,
                    "requests": 5, "received_bytes": 100},
        "found": {"latency_ms": 4.0, "agreement": 1.0}, "file": "3.birds.tflite",
        "sha256": SHA256, "on_trial": False, "bad": {}, "drift": None, **words,
    }  # fmt: skip


def sent(counter: int = 1, seed: bytes | None = None, **words: Any) -> bytes:
    return enveloped(said(counter, **words), seed)


def refusal(collector: Collector, content: bytes) -> str:
    before = collector.reports()
    with pytest.raises(FleetError) as caught:
        collector.take(content)
    assert collector.reports() == before
    return caught.value.reason


def test_what_is_new_is_taken_and_what_is_old_is_not(opened: Callable[..., Collector]) -> None:
    collector = opened()
    collector.enroll("birds", "d1")
    assert collector.take(sent(5), now=10.0) is True
    assert collector.take(sent(5), now=20.0) is False  # sent again, as its answer was lost
    assert collector.reports()[0].at == 10.0
    assert refusal(collector, sent(5, group="stable")) == "replayed"
    assert refusal(collector, sent(4)) == "replayed"
    assert collector.take(sent(6, group="stable")) is True
    (report,) = opened().reports()  # by another process, say
    assert (report.counter, report.group, report.release) == (6, "stable", 3)
    assert (report.latency_ms, report.agreement, report.signed) == (4.0, 1.0, False)


def test_a_device_that_nobody_has_enrolled_is_refused(opened: Callable[..., Collector]) -> None:
    assert refusal(opened(), sent()) == "unknown-device"
    collector = opened(open_enrolment=True)
    assert collector.take(sent()) is True
    assert collector.forget("birds", "d1") and not collector.forget("birds", "d1")
    assert collector.reports() == []


def test_a_signed_device_is_believed_by_its_signature_alone(
    opened: Callable[..., Collector],
) -> None:
    collector = opened()
    collector.enroll("birds", "d1", public_of(SEED).hex())
    assert refusal(collector, sent(1)) == "signature"
    assert refusal(collector, sent(1, OTHER)) == "signature"
    changed = json.loads(sent(1, SEED))
    changed["report"] = changed["report"].replace("canary", "stable")
    assert refusal(collector, json.dumps(changed).encode()) == "signature"
    assert refusal(collector, json.dumps({**changed, "signature": "zz"}).encode()) == "signature"
    assert collector.take(sent(1, SEED)) is True
    assert refusal(collector, sent(1, SEED, group="stable")) == "replayed"
    assert collector.reports()[0].signed
    collector.enroll("birds", "d1", public_of(OTHER).hex())  # a new key: what it said stays
    assert refusal(collector, sent(2, SEED)) == "signature"
    assert collector.take(sent(2, OTHER)) is True


def test_open_enrolment_keeps_the_first_key(opened: Callable[..., Collector]) -> None:
    collector = opened(open_enrolment=True)
    forged = {**json.loads(sent(1, SEED)), "key": public_of(OTHER).hex()}
    assert refusal(collector, json.dumps(forged).encode()) == "signature"
    assert collector.take(sent(1, SEED)) is True
    assert refusal(collector, sent(2, OTHER)) == "signature"
    assert refusal(collector, sent(2)) == "signature"


def test_open_enrolment_has_an_end(
    opened: Callable[..., Collector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collectors, "_MOST_DEVICES", 2)
    collector = opened(open_enrolment=True)
    assert all(collector.take(sent(device=name)) for name in ("d1", "d2"))
    assert refusal(collector, sent(device="d3")) == "full"
    assert collector.take(sent(2, device="d1")) is True


def test_one_report_wins_where_many_come_at_once(opened: Callable[..., Collector]) -> None:
    collector = opened(open_enrolment=True)

    def take(counter: int) -> bool | str:
        try:
            return collector.take(sent(counter))
        except FleetError as exc:
            return exc.reason

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(take, [*range(1, 21), *range(20, 0, -1)]))
    assert set(found) <= {True, False, "replayed"} and found.count(True) >= 1
    assert collector.reports()[0].counter == 20


@pytest.mark.parametrize(
    "changed",
    [
        {"counter": -1}, {"counter": 1.5}, {"counter": True}, {"counter": 2**60}, {"device": ""},
        {"device": "x" * 101}, {"device": "a\0b"}, {"device": "\ud800"}, {"device": 3},
        {"sha256": "ab"}, {"sha256": "AB" * 32}, {"on_trial": 1}, {"bad": {"x": 3}}, {"bad": []},
        {"outcome": {}}, {"found": {"latency_ms": -1}}, {"found": {"agreement": 2}},
        {"found": {"latency_ms": "4"}}, {"at": float("nan")}, {"schema": "edgeclf.fleet.report/9"},
        {"drift": {"x": {"reference": [1], "counts": [1, 2], "alarm": False}}},
        {"drift": {"x": {"reference": [-1], "counts": [1], "alarm": False}}},
        {"drift": {"x": {"reference": [1] * 65, "counts": [1] * 65, "alarm": False}}},
        {"drift": {str(n): {} for n in range(17)}}, {"bad": {"x": "y" * 70_000}},
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    collector = Collector(tmp_path / "reports.db", open_enrolment=True)
    content = json.dumps({**said(), **changed}).encode()
    assert refusal(collector, content) == "report"
    for content in (
        b"",
        b"[]",
        b"\xff",
        b"{",
        b"[" * 60_000,
        b'{"schema": "edgeclf.fleet.signed/1"}',
    ):
        assert refusal(collector, content) == "report"
    collector.close()


def test_words_from_a_device_stay_words(opened: Callable[..., Collector]) -> None:
    collector = opened(open_enrolment=True)
    name = "'; drop table edgeclf_devices; -- <script>alert(1)</script> \x1b[31m"
    outcome = {**said()["outcome"], "kind": "failed", "reason": name, "text": name}
    assert collector.take(sent(device=name, outcome=outcome, group="g" + name[:40]))
    document = overview(collector.reports(), [("birds", name)])
    page = to_page(document)
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "\x1b" not in as_text(document)


def test_a_folder_is_taken_in_and_again_changes_nothing(
    opened: Callable[..., Collector], tmp_path: Path
) -> None:
    for number in range(3):
        (tmp_path / f"birds.d{number}.json").write_bytes(sent(1, device=f"d{number}"))
    (tmp_path / "half.json").write_bytes(sent(1)[:-5])
    collector = opened()
    collector.enroll("birds", "d0")
    done = collector.take_folder(tmp_path)
    assert (done.taken, done.known, len(done.refused)) == (1, 0, 3)
    done = opened(open_enrolment=True).take_folder(tmp_path)
    assert (done.taken, done.known, len(done.refused)) == (2, 1, 1)


def test_a_database_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="needs psycopg, which is not installed here")
    with pytest.raises(FleetError, match="cannot be used") as caught:
        Collector(f"postgresql://me:secret@/x?host={tmp_path}")
    assert caught.value.reason == "store" and "secret" not in str(caught.value)
    with pytest.raises(FleetError, match="cannot be used"):
        Collector(tmp_path / "nowhere" / "reports.db")


@pytest.mark.parametrize("place", ["x://", "nosuch://host/db"])
def test_an_address_that_is_none(place: str) -> None:
    with pytest.raises((OptionError, MissingDependencyError)):
        Collector(place)


# -- what they say together


def drift(*counts: int, alarm: bool = False) -> dict[str, Any]:
    return {"brightness": {"reference": [5, 5], "counts": list(counts), "alarm": alarm}}


def test_the_overview_tells_what_runs_how_well_what_failed_and_who_is_silent(
    tmp_path: Path,
) -> None:
    collector = Collector(tmp_path / "reports.db", open_enrolment=True)
    now = 2_000_000.0
    failed = {**said()["outcome"], "kind": "failed", "reason": "away", "text": "No server."}
    for counter, (device, words) in enumerate({
        "a": {"found": {"latency_ms": 2.0}, "drift": drift(1, 9, alarm=True)},
        "b": {"found": {"latency_ms": 6.0, "agreement": 0.5}, "drift": drift(3, 7)},
        "c": {"class": "other board", "outcome": failed, "bad": {"cd" * 32: "too slow"}},
        "d": {"on_trial": True},
    }.items(), 1):  # fmt: skip
        collector.take(sent(counter, device=device, **words), now - SILENT_S * (device == "d") - 1)
    collector.enroll("birds", "e")
    document = overview(collector.reports(), collector.unheard(), now)
    assert [(r["devices"], r["on_trial"]) for r in document["running"]] == [(3, False), (1, True)]
    board = next(row for row in document["classes"] if row["class"] == "board")
    assert board["latency_ms"] == {"devices": 3, "median": 4.0, "least": 2.0, "most": 6.0}
    assert board["agreement"] == {"devices": 2, "mean": 0.75, "least": 0.5}
    (failure,) = document["failures"]
    assert (failure["reason"], failure["examples"][0]["device"]) == ("away", "c")
    assert [(row["devices"], row["reason"]) for row in document["bad"]] == [(1, "too slow")]
    (merged,) = document["drift"]
    assert (merged["counts"], merged["devices"], merged["alarms"]) == ([4, 16], 2, 1)
    assert [each["device"] for each in document["silent"]] == ["d"]
    assert document["unheard"] == [{"name": "birds", "device": "e"}]
    text, page = as_text(document), to_page(document)
    for word in ("order 3", "takes 4 ms", "away", "c: No server.", "too slow", "another brightness",
                 "silent for a day: d", "never heard: e"):  # fmt: skip
        assert word in text, word
    for word in ("4 devices reported", "on trial", "2 to 6 ms", "75.0% on 2", "No server.",
                 "20 pictures of 2 devices"):  # fmt: skip
        assert word in page, word
    assert "http" not in page and "<script" not in page
    collector.close()


def test_pictures_of_another_reference_are_not_mixed() -> None:
    other = {"brightness": {"reference": [9, 1], "counts": [2, 2], "alarm": False}}
    reports = [collectors.open_report(sent(device=name, drift=each)).report
               for name, each in {"a": drift(1, 1), "b": other}.items()]  # fmt: skip
    assert [row["counts"] for row in overview(reports)["drift"]] == [[1, 1], [2, 2]]


# -- what an order has to show


def test_an_order_waits_for_devices_that_fell_silent_on_trial(scene: Scene, tmp_path: Path) -> None:
    order = scene.publish("1").order
    collector = Collector(tmp_path / "reports.db", open_enrolment=True)
    same = {"name": NAME, "sha256": order.sha256}
    collector.take(sent(device="good", **same), now=100.0)
    collector.take(sent(device="gone", on_trial=True, **same), now=100.0)
    seen = seen_of(order, "canary", collector.reports(), now=200.0)
    assert (seen.devices, seen.running, list(seen.lost)) == (2, 1, [])
    reports = collector.reports()
    with pytest.raises(QualityGateError, match=r"1 fell silent on trial\. Silent on trial: gone"):
        Proof(reports, "canary").check(order)
    collector.take(sent(2, device="gone", **same), now=200.0)
    Proof(collector.reports(), "canary", devices=2).check(order)
    with pytest.raises(QualityGateError, match=r"0 have committed it \(asked: 1 that sign\)"):
        Proof(collector.reports(), "canary", signed=True).check(order)
    collector.close()


def test_the_commands(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene.publish("1")
    reports, database = tmp_path / "reports", str(tmp_path / "reports.db")
    reports.mkdir()
    device = scene.device("d1", report=str(reports), sign=True)
    device.update()
    key = public_of(bytes.fromhex((device.path / "device.key").read_text())).hex()
    fleet = str(scene.folder / "fleet")
    assert main(["fleet", "collect", database, str(reports)]) == 1
    assert "Nobody has enrolled the device 'd1'" in capsys.readouterr().err
    assert main(["fleet", "enroll", database, NAME, f"d1={key}", "d2"]) == 0
    assert main(["fleet", "collect", database, str(reports)]) == 0
    words = ["--if-good", "canary", "--reports", database]
    assert main(["fleet", "promote", fleet, NAME, "--to", "stable", "--signed", *words]) == 0
    assert main(["fleet", "promote", fleet, NAME, "--to", "stable", "--devices", "2", *words]) == 1
    page = tmp_path / "fleet.html"
    assert main(["fleet", "status", fleet, "--reports", database, "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert "1 of canary" in out and "never heard: d2" in out
    assert "1 of them signed" in page.read_text()
    assert main(["fleet", "forget", database, NAME, "d2"]) == 0
    assert main(["fleet", "forget", database, NAME, "d2"]) == 1
    assert main(["fleet", "status", fleet, "--reports", str(tmp_path / "nowhere")]) == 2
    assert main(["fleet", "status", fleet, "--html", str(page)]) == 2
    assert main(["fleet", "enroll", database, NAME, "d3=zz"]) == 2
