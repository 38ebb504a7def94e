"""What a device reports: what runs, after it is committed; and no collector stops an update."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edgeclf
from edgeclf.cli import main
from edgeclf.errors import FleetError, OptionError, VerificationError
from edgeclf.fleet import folder as folders
from edgeclf.fleet import outbox as outboxes
from edgeclf.fleet import reporting
from edgeclf.fleet.folder import Folder
from edgeclf.fleet.outbox import CONTEXT, MOST_BYTES, Outbox
from edgeclf.fleet.provision import provision
from edgeclf.fleet.signing import make_key, public_of, read_seed, sign
from edgeclf.fleet.updating import Run
from edgeclf.monitoring.drift import Drift
from edgeclf.monitoring.state import StateFile
from edgeclf.publishing.fleet import Terms
from edgeclf.publishing.reports import open_report
from support.fleets import NAME, Device, Scene, check_here
from support.services import shade

SEED = b"\7" * 32


class Sink:
    """A collector that answers what it is told to, and keeps what it was sent."""

    def __init__(self) -> None:
        self.status, self.bodies = 202, list[bytes]()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(outer.status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/fleet/report"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def kinds(self) -> list[str]:
        return [open_report(body).report.kind for body in self.bodies]


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


def waiting(device: Device) -> list[Path]:
    return [path for path in (device.path / "outbox").glob("*.json") if path.stem.isdecimal()]


def broken(*_: Any) -> dict[str, Any]:
    raise VerificationError("other kernels here")


def test_success_is_reported_after_commit_only_and_what_runs_by_its_hash(
    scene: Scene, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(folders, "boot_time", lambda: ("boot", now[0]))
    device = scene.device(report=sink.url)
    first = scene.publish("1").order
    device.update()
    second = scene.publish("2", terms=Terms(probation_minutes=10)).order
    device.update()
    now[0] += 601
    device.update()
    assert sink.kinds == ["committed", "trial", "committed"]
    reports = [open_report(body).report for body in sink.bodies]
    assert [each.sha256 for each in reports] == [first.sha256, second.sha256, second.sha256]
    assert [each.on_trial for each in reports] == [False, True, False]
    assert [each.release for each in reports] == [1, 2, 2]
    assert len({each.counter for each in reports}) == 3 and waiting(device) == []


def test_a_failure_is_reported_with_its_reason_and_what_runs_on(scene: Scene, sink: Sink) -> None:
    device = scene.device(report=sink.url)
    first = scene.publish("1").order
    device.update()
    second = scene.publish("2").order
    with pytest.raises(VerificationError):
        device.update(broken)
    report = open_report(sink.bodies[-1]).report
    assert (report.kind, report.reason, report.sha256) == ("failed", "VerificationError",
                                                           first.sha256)  # fmt: skip
    assert report.bad == {second.sha256: "other kernels here"}


def test_no_news_is_said_once_and_then_a_few_times_a_day(
    scene: Scene, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, now = scene.device(report=sink.url), time.time()
    scene.publish("1")
    for _ in range(4):
        device.update()
    assert sink.kinds == ["committed", "unchanged"]
    monkeypatch.setattr(time, "time", lambda: now + 7 * 3600)
    device.update()
    assert sink.kinds == ["committed", "unchanged", "unchanged"]


@pytest.mark.parametrize("status", [0, 403, 429, 503, 302])
def test_a_collector_that_takes_nothing_stops_no_update(
    scene: Scene, sink: Sink, status: int
) -> None:
    device = scene.device(report=sink.url if status else "http://127.0.0.1:1/fleet/report")
    sink.status = status
    for version in ("1", "2"):
        scene.publish(version)
        assert device.update().kind == "committed" and device.runs == version
    assert len(waiting(device)) == 2 and len(sink.bodies) == (2 if status else 0)  # one try a run
    if status:
        sink.status, sink.bodies = 200, []
        assert device.update().kind == "unchanged"
        assert sink.kinds == ["committed", "committed", "unchanged"] and waiting(device) == []


@pytest.mark.parametrize("status", [409, 422])
def test_what_will_never_be_taken_is_dropped(scene: Scene, sink: Sink, status: int) -> None:
    device = scene.device(report=sink.url)
    sink.status = status
    scene.publish("1")
    device.update()
    assert len(sink.bodies) == 1 and waiting(device) == []


def test_what_waits_is_bounded_and_the_newest_stay(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "_HEARTBEAT_S", 0)
    monkeypatch.setattr(outboxes, "_MOST_KEPT", 3)
    device = scene.device(report="http://127.0.0.1:1/")
    scene.publish("1")
    for _ in range(5):
        device.update()
    last = json.loads((device.path / "report.json").read_bytes())["counter"]
    assert sorted(int(path.stem) for path in waiting(device)) == [last - 2, last - 1, last]


def test_counters_only_grow_whatever_clock_and_disk_do(
    scene: Scene, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "_HEARTBEAT_S", 0)
    device, now = scene.device(report=sink.url), time.time()
    scene.publish("1")
    device.update()
    for later_s, lost in ((-3600, ()), (0, ("report.json",)), (0, ("outbox",)),
                          (10, ("report.json", "outbox"))):  # fmt: skip
        monkeypatch.setattr(time, "time", lambda later_s=later_s: now + later_s)
        for name in lost:
            path = device.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        device.update()
    counters = [open_report(body).report.counter for body in sink.bodies]
    assert len(counters) == 5 and counters == sorted(set(counters))


def test_a_full_disk_is_reported_all_the_same(
    scene: Scene, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = scene.device(report=sink.url)
    scene.publish("1")
    device.update()
    scene.publish("2")
    usage = shutil.disk_usage(device.path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for place in (outboxes, reporting):
        monkeypatch.setattr(place, "put_json", full)
    monkeypatch.setattr(outboxes, "put", full)
    with pytest.raises(FleetError, match="Make room"):
        device.update()
    assert sink.kinds == ["committed", "failed"]
    assert open_report(sink.bodies[-1]).report.reason == "no-room"


def test_files_in_a_folder_are_another_way(scene: Scene, tmp_path: Path) -> None:
    place = tmp_path / "reports"
    place.mkdir()
    device = scene.device("../d 1", report=str(place))
    scene.publish("1")
    device.update()
    (file,) = place.iterdir()
    assert file.name == f"{NAME}...%2Fd%201.json"
    assert open_report(file.read_bytes()).report.device == "../d 1"
    shutil.rmtree(place)
    scene.publish("2")
    assert device.update().kind == "committed" and len(waiting(device)) == 1
    place.mkdir()
    device.update()
    assert open_report(file.read_bytes()).report.kind == "unchanged" and waiting(device) == []


def test_where_reports_go_can_be_said_for_one_run(scene: Scene, sink: Sink, tmp_path: Path) -> None:
    device = scene.device()
    scene.publish("1")
    Run(Folder(device.path), check=check_here, to=sink.url).go()
    assert sink.kinds == ["committed"]
    device.update()
    assert len(sink.bodies) == 1
    for place in ("ftp://x/", str(tmp_path / "nowhere"), "http://"):
        with pytest.raises(OptionError, match="Reports cannot go to"):
            edgeclf.update(device.path, report=place)


def test_what_was_found_is_known_as_long_as_the_file_runs(scene: Scene, sink: Sink) -> None:
    device = scene.device(report=sink.url, device_class="board")
    (device.path / "frames").mkdir()
    (device.path / "frames" / "a.jpg").write_bytes(shade(20))
    for version in ("1", "2"):
        scene.publish(version)
        device.update()
    device.update()
    reports = [open_report(body).report for body in sink.bodies]
    assert {each.device_class for each in reports} == {"board"}
    assert [each.agreement for each in reports] == [None, 1.0, 1.0]
    assert all(each.latency_ms is not None and each.latency_ms > 0 for each in reports)


def test_histograms_of_a_service_on_the_device_are_told(scene: Scene, sink: Sink) -> None:
    device = scene.device(report=sink.url)
    sha256 = scene.publish("1").order.sha256
    path = device.path / "monitor.json"
    drift = Drift({"brightness": {"low": 0.0, "high": 255.0, "counts": [3, 1]}})
    for value in (1.0, 200.0, 200.0):
        drift.add({"brightness": value})
    state = StateFile(path)  # as the service writes it
    state.write(state.encode({sha256: {"drift": drift.state()}}))
    device.update()
    for models in ({}, {sha256: {}}, []):
        path.write_text(json.dumps({"format": 1, "models": models}))
        (device.path / "outbox" / "last.json").unlink()
        device.update()
    told = [open_report(body).report.drift for body in sink.bodies]
    assert told[0] == {"brightness": {"reference": [3, 1], "counts": [1, 2], "alarm": False}}
    assert told[1:] == [None] * 3


# -- the key


def test_a_key_is_the_owners_alone_and_stays(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    assert make_key(tmp_path) == key and len(key) == 64
    assert (tmp_path / "device.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "device.key").write_text("zz")
    with pytest.raises(FleetError, match="is no key"):
        read_seed(tmp_path)
    (tmp_path / "device.key").write_text("ab")
    with pytest.raises(FleetError, match="has 1 bytes"):
        read_seed(tmp_path)


@pytest.mark.parametrize("compiled", [True, False])
def test_signatures_are_ed25519_with_and_without_compiled_code(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first vector of RFC 8032, 7.1, and what the other implementation says of a report."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not compiled:
        monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert public_of(seed).hex() == (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    )
    assert sign(seed, b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
        "b46bd25bf5f0595bbe24655141438e7a100b"
    )
    signature = sign(SEED, CONTEXT + b"x" * 20_000)
    Ed25519PublicKey.from_public_bytes(public_of(SEED)).verify(signature, CONTEXT + b"x" * 20_000)


def test_a_signed_report_says_by_which_key(
    scene: Scene, sink: Sink, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.publish("1")
    root = scene.web.folder / "metadata" / "1.root.json"
    path = scene.folder / "signs"
    words = ["update", str(path), "--url", scene.web.url, "--root", str(root), "--name", NAME,
             "--group", "canary", "--device", "d9", "--runtime", "fake"]  # fmt: skip
    assert main([*words, "--sign", "--report", sink.url, "--device-class", "board"]) == 0
    seed = read_seed(path)
    assert seed is not None
    sent = open_report(sink.bodies[0])
    assert f"by the key {public_of(seed).hex()}" in capsys.readouterr().out
    assert sent.key == public_of(seed).hex() and sent.report.device_class == "board"
    assert sent.signature == sign(seed, CONTEXT + sent.text.encode()).hex()


def test_a_key_that_is_damaged_stops_no_update(scene: Scene, sink: Sink) -> None:
    device = scene.device(report=sink.url, sign=True)
    (device.path / "device.key").write_text("zz")
    scene.publish("1")
    assert device.update().kind == "committed" and sink.bodies == []


def test_the_longest_report_fits(scene: Scene, sink: Sink) -> None:
    device = scene.device("d" * 100, report=sink.url, sign=True)
    with Folder(device.path).changing() as state:
        state.bad = {os.urandom(32).hex(): '"' * 3000 for _ in range(64)}
    signal = {"reference": [10**9] * 20, "counts": [2 * 10**9] * 20, "alarm": None}
    sha256 = scene.publish("1").order.sha256
    signals = {"drift": {"signals": dict.fromkeys("abcdefg", signal)}}
    (device.path / "monitor.json").write_text(json.dumps({"models": {sha256: signals}}))
    device.update()
    (body,) = sink.bodies
    assert len(body) < MOST_BYTES / 1.5 and open_report(body).report.drift is not None


def test_a_device_has_a_name(scene: Scene) -> None:
    root = scene.web.folder / "metadata" / "1.root.json"
    for name in ("", "x" * 101, "a\nb"):
        with pytest.raises(OptionError, match="The device is called"):
            provision(
                scene.folder / "x", url=scene.web.url, root=root, name=NAME, group="a", device=name
            )


def test_two_runs_do_not_send_the_same(scene: Scene, sink: Sink) -> None:
    """Who finds that others send lets them."""
    from edgeclf.fleet.disk import locked

    device = scene.device(report=sink.url)
    scene.publish("1")
    with locked(device.path / "report.lock"):
        device.update()
    assert sink.bodies == [] and len(waiting(device)) == 1
    Outbox(device.path).deliver(sink.url, "x", reporting.post)
    assert sink.kinds == ["committed"]
