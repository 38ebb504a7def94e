"""Real metadata that is wrong in one way each, and a server that lies about files."""

from __future__ import annotations

import datetime
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeclf.errors import FleetError
from edgeclf.fleet import http
from edgeclf.fleet.orders import Order
from edgeclf.publishing.repository import Repository
from support.fleets import AT_ONCE, NAME, Device, Scene
from support.services import artifact

NOW = time.time


@pytest.fixture
def device(scene: Scene) -> Device:
    """One that runs order 1, while order 2 is published."""
    made = scene.device()
    scene.publish("1")
    made.update()
    scene.publish("2")
    return made


def refusal(device: Device) -> FleetError:
    """The error of an update, which changes nothing of what runs."""
    before = device.runs
    with pytest.raises(FleetError) as caught:
        device.update()
    assert device.runs == before
    said = json.loads((device.path / "report.json").read_bytes())["outcome"]
    assert (said["kind"], said["reason"]) == ("failed", caught.value.reason)
    return caught.value


def metadata(scene: Scene, name: str) -> Path:
    return scene.web.folder / "metadata" / name


def test_replayed_metadata(scene: Scene, device: Device) -> None:
    old = metadata(scene, "timestamp.json").read_bytes()
    device.update()
    scene.publish("3")
    device.update()
    scene.web.instead["metadata/timestamp.json"] = old
    error = refusal(device)
    assert error.reason == "replayed" and "older than what this device has seen" in str(error)
    assert device.runs == "3"


def test_a_replay_to_a_device_whose_disk_lost_the_metadata(
    scene: Scene, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TUF alone would take it: it knows what it has seen from these files."""
    old = metadata(scene, "timestamp.json").read_bytes()
    monkeypatch.setattr(time, "time", lambda: NOW() + 60)
    scene.publish("3")
    device.update()
    shutil.rmtree(device.path / "metadata")
    scene.web.instead["metadata/timestamp.json"] = old
    error = refusal(device)
    assert error.reason == "replayed" and device.runs == "3"
    scene.web.instead.clear()
    shutil.rmtree(device.path / "metadata")
    assert device.update().kind == "unchanged"


def test_a_publishers_clock_that_went_back_is_no_replay(
    scene: Scene, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.update()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: NOW() - 3600)
        scene.publish("3")
    assert device.update().kind == "committed"


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "root"])
def test_expired_metadata_stops_updates_and_no_answers(
    scene: Scene, device: Device, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = scene.fleet.repository._settings["expiry_days"]
    monkeypatch.setattr(Repository, "_days", lambda self, each: -1 if each == role else days[each])
    if role == "root":
        scene.fleet.key("root", new=True)
    else:
        scene.publish("3")
    error = refusal(device)
    assert error.reason == "expired" and "edgeclf fleet renew" in str(error)
    monkeypatch.undo()
    if role == "root":
        scene.fleet.key("root", new=True)
    else:
        scene.publish("4")
    assert device.update().kind == "committed"


def test_a_clock_that_runs_ahead_stops_updates(
    scene: Scene, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuf.ngclient._internal import trusted_metadata_set as tuf

    ahead = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=29)

    class Ahead(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return ahead

    with monkeypatch.context() as patch:
        patch.setattr(tuf.datetime, "datetime", Ahead)
        assert refusal(device).reason == "expired"
    assert device.update().kind == "committed"  # it was not poisoned by its own clock


def test_a_clock_before_what_was_signed_stops_updates(
    scene: Scene, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: NOW() - 3 * 86_400)
        error = refusal(device)
    assert error.reason == "clock" and "Set it" in str(error)
    assert device.update().kind == "committed"


def place(order: Order) -> str:
    return f"targets/{NAME}/{order.sha256}.{order.file_name}"


def test_a_swapped_target(scene: Scene, device: Device) -> None:
    order = scene.fleet.repository.orders(NAME)[2]
    other = bytearray(artifact(NAME, "2").content)
    other[100] ^= 1
    scene.web.instead[place(order)] = bytes(other)
    error = refusal(device)
    assert error.reason == "swapped" and "its SHA-256 differs" in str(error)
    scene.web.instead.clear()
    assert device.update().kind == "committed"


def test_a_longer_target(scene: Scene, device: Device) -> None:
    order = scene.fleet.repository.orders(NAME)[2]
    scene.web.instead[place(order)] = artifact(NAME, "2").content + bytes(10_000_000)
    error = refusal(device)
    assert error.reason == "swapped" and "longer" in str(error)
    assert not (device.path / "incoming.part").exists()


def test_a_truncated_target_goes_on_where_it_stopped(scene: Scene, device: Device) -> None:
    order = scene.fleet.repository.orders(NAME)[2]
    scene.web.cut[place(order)] = 1000
    error = refusal(device)
    assert error.reason == "truncated" and "after 1,000 of" in str(error)
    scene.web.asked.clear()
    done = device.update()
    assert done.kind == "committed" and (place(order), "bytes=1000-") in scene.web.asked
    assert done.received_bytes < order.size_bytes - 1000 + 600  # and the timestamp


def test_a_server_without_ranges_starts_again(scene: Scene, device: Device) -> None:
    order = scene.fleet.repository.orders(NAME)[2]
    scene.web.cut[place(order)], scene.web.ranges = 1000, False
    assert refusal(device).reason == "truncated"
    assert device.update().kind == "committed"


def test_a_file_that_is_short_on_the_server(scene: Scene, device: Device) -> None:
    order = scene.fleet.repository.orders(NAME)[2]
    scene.web.instead[place(order)] = artifact(NAME, "2").content[:2000]
    assert [refusal(device).reason for _ in range(3)] == ["truncated"] * 3
    scene.web.instead.clear()
    assert device.update().kind == "committed"


def test_what_came_of_another_order_is_not_gone_on_from(scene: Scene, device: Device) -> None:
    order = scene.fleet.repository.orders(NAME)[2]
    scene.web.cut[place(order)] = 1000
    refusal(device)
    third = scene.publish("3").order
    assert device.update().kind == "committed" and device.runs == "3"
    assert (place(third), None) in scene.web.asked


@pytest.mark.parametrize("role", ["timestamp", "3.snapshot", "3.targets"])
def test_oversized_metadata(scene: Scene, device: Device, role: str) -> None:
    scene.web.instead[f"metadata/{role}.json"] = b"x" * 6_000_000
    error = refusal(device)
    assert error.reason == "oversized", error
    scene.web.instead.clear()
    assert device.update().kind == "committed"


@pytest.mark.parametrize(
    ("role", "reason"), [("timestamp", "damaged"), ("3.snapshot", "mixed"), ("3.targets", "mixed")]
)
def test_truncated_metadata(scene: Scene, device: Device, role: str, reason: str) -> None:
    path = metadata(scene, f"{role}.json")
    scene.web.instead[f"metadata/{role}.json"] = path.read_bytes()[:-20]
    assert refusal(device).reason == reason
    scene.web.instead.clear()
    assert device.update().kind == "committed"


def test_a_file_larger_than_the_device_takes(scene: Scene) -> None:
    scene.publish("1")
    device = scene.device("small", max_bytes=1000)
    with pytest.raises(FleetError, match="takes 1,000 at most") as caught:
        device.update()
    assert caught.value.reason == "oversized"
    assert not any(path.startswith("targets") for path, _ in scene.web.asked)


def test_no_room(scene: Scene, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(device.path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=8 << 20))
    error = refusal(device)
    assert error.reason == "no-room" and "Make room" in str(error)
    assert not any(path.startswith(f"targets/{NAME}/2") for path, _ in scene.web.asked)


def publish_elsewhere(scene: Scene, change: Callable[[Repository], None]) -> None:
    """Signs order 3 in a copy of the fleet that was changed, and shows that."""
    scene.web.folder = scene.folder / "copy" / "public"
    shutil.copytree(scene.folder / "fleet", scene.folder / "copy")
    copy = Scene(scene.folder / "copy", scene.web)
    (copy.folder / "fleet").symlink_to(copy.folder)
    change(copy.fleet.repository)
    copy.publish("3")


def keys_of_somebody_else(role: str) -> Callable[[Repository], None]:
    def change(repository: Repository) -> None:
        root_path = repository.public / "metadata" / "1.root.json"
        document = json.loads(root_path.read_bytes())
        (keyid,) = document["signed"]["roles"][role]["keyids"]
        key, uri = repository.new_key(role)
        document["signed"]["keys"][keyid]["keyval"] = key.keyval
        root_path.write_text(json.dumps(document))  # which the device never fetches
        settings = json.loads((repository.path / "fleet.json").read_bytes())
        settings["signers"][keyid] = uri
        (repository.path / "fleet.json").write_text(json.dumps(settings))

    return change


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_wrong_key(scene: Scene, device: Device, role: str) -> None:
    publish_elsewhere(scene, keys_of_somebody_else(role))
    error = refusal(device)
    assert error.reason == "wrong-key" and "0/1 keys" in str(error)


def test_a_threshold_short_by_one(scene: Scene) -> None:
    scene.fleet.key("targets", new=True)
    scene.fleet.key("targets", threshold=2)
    device = scene.device()
    scene.publish("1")
    assert device.update().kind == "committed"

    def one_signs(repository: Repository) -> None:
        signers = type(repository)._signers

        def fewer(self: Repository, role: str, root: object) -> list[object]:
            found = signers(self, role, root)
            return found[:1] if role == "targets" else found

        patch.setattr(Repository, "_signers", fewer)

    with pytest.MonkeyPatch.context() as patch:
        publish_elsewhere(scene, one_signs)
    error = refusal(device)
    assert error.reason == "threshold" and "1/2 keys" in str(error)


def test_old_content_under_new_metadata(scene: Scene, device: Device) -> None:
    """TUF takes it: what is signed is new. The file is not."""
    device.update()
    repository = scene.fleet.repository
    first = repository.orders(NAME)[1]
    again = Order(f"{NAME}/9.{NAME}.fp32.onnx", first.sha256, first.size_bytes, NAME, 9, "1",
                  {"canary": 10_000}, {}, AT_ONCE.probation())  # fmt: skip
    with repository.changing():
        repository.write_orders(again, content=repository.file_of(first).read_bytes())
    error = refusal(device)
    assert error.reason == "old-content" and "file of order 1 again" in str(error)


def test_metadata_that_forgets_the_newest_order(scene: Scene, device: Device) -> None:
    device.update()
    repository = scene.fleet.repository
    targets = repository.load("targets")
    del targets.signed.targets[repository.orders(NAME)[2].path]
    with repository.changing():
        repository._write(targets, repository.load("snapshot"), repository.load("timestamp"))
    error = refusal(device)
    assert error.reason == "old-content" and "Release 2 runs" in str(error)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_mixed_versions(scene: Scene, device: Device, role: str) -> None:
    """A server that shows parts of two publications, each of them signed."""
    scene.publish("3")
    scene.web.instead[f"metadata/4.{role}.json"] = metadata(scene, f"3.{role}.json").read_bytes()
    error = refusal(device)
    assert error.reason == "mixed" and "not of one publication" in str(error)
    scene.web.instead.clear()
    assert device.update().kind == "committed" and device.runs == "3"


def test_a_publication_that_is_not_there_yet(scene: Scene, device: Device) -> None:
    path = metadata(scene, "3.snapshot.json")
    path.rename(path.with_suffix(".away"))
    assert refusal(device).reason == "away"
    path.with_suffix(".away").rename(path)
    assert device.update().kind == "committed"


def test_a_server_that_is_away(
    scene: Scene, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_TIMEOUT_S", 2.0)
    document = json.loads((device.path / "device.json").read_bytes())
    (device.path / "device.json").write_text(json.dumps({**document, "url": "http://127.0.0.1:1"}))
    error = refusal(device)
    assert error.reason == "away" and "the next run tries again" in str(error)


@pytest.mark.parametrize("role", ["timestamp", "3.snapshot", "3.targets"])
def test_metadata_that_is_cut_off_on_the_way(scene: Scene, device: Device, role: str) -> None:
    scene.web.cut[f"metadata/{role}.json"] = 100
    assert refusal(device).reason == "away"
    assert device.update().kind == "committed"


def test_a_server_that_drips(scene: Scene, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(http, "_SLOWEST_BYTES_PER_S", 1e12)
    error = refusal(device)
    assert error.reason == "away" and "bytes a second" in str(error)
