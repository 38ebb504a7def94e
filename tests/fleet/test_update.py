"""A device follows orders, and what it finds bad never stays."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

import edgeclf
from edgeclf import fleet
from edgeclf.errors import FleetError, QualityGateError, VerificationError
from edgeclf.fleet import folder as folders
from edgeclf.fleet.folder import Folder
from edgeclf.fleet.orders import ALL
from edgeclf.publishing.fleet import Terms
from support.fleets import NAME, Scene, check_here
from support.services import artifact, lying, shade

MINUTE_S = 60.0


class Boot:
    """The machine's uptime, under the test's control."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.name, self.now_s = "first", 1000.0
        patch.setattr(folders, "boot_time", lambda: (self.name, self.now_s))

    def reboot(self) -> None:
        self.name, self.now_s = f"after {self.name}", 5.0


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Boot:
    return Boot(monkeypatch)


def report(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "report.json").read_bytes())
    return found


def test_the_first_one_is_brought_and_no_news_costs_two_requests(scene: Scene) -> None:
    device = scene.device()
    with pytest.raises(FleetError, match="holds no model that runs"):
        fleet.current(device.path)
    scene.publish("1")
    done = device.update()
    assert (done.kind, device.runs, done.requests) == ("committed", "1", 5)
    assert fleet.current(device.path).name == f"1.{NAME}.fp32.onnx"
    scene.web.asked.clear()
    assert device.update().kind == "unchanged"
    assert [path for path, _ in scene.web.asked] == [
        "metadata/2.root.json", "metadata/timestamp.json"
    ]  # fmt: skip


def test_a_running_program_sees_another_path_after_each_switch(scene: Scene) -> None:
    device, seen = scene.device(), []
    for version in ("1", "2", "3"):
        scene.publish(version)
        device.update()
        seen.append(fleet.current(device.path))
        assert device.runs == version
    assert len(set(seen)) == 3 and seen[0].parent == seen[2].parent  # two slots
    assert not seen[0].exists() and seen[1].exists()  # the one before is kept


def test_a_file_that_fails_its_certificate_here_never_runs(scene: Scene) -> None:
    device = scene.device()
    scene.publish("1")
    device.update()
    order = scene.publish("2").order
    bad = lying(artifact(NAME, "2"))

    def other_kernels(content: bytes, *rest: Any) -> dict[str, Any]:
        return check_here(bad.content, *rest)

    with pytest.raises(VerificationError, match="does not compute the certified model"):
        device.update(other_kernels)
    assert device.runs == "1" and not (device.path / "incoming.part").exists()
    said = report(device.path)
    assert said["outcome"]["kind"] == "failed" and said["file"].startswith("1.")
    assert list(said["bad"]) == [order.sha256]
    scene.web.asked.clear()
    with pytest.raises(FleetError, match="was bad here before") as caught:
        device.update()
    assert caught.value.reason == "bad-before"
    assert len(scene.web.asked) == 2  # it is not brought again
    scene.publish("3")
    assert device.update().kind == "committed" and device.runs == "3"


def test_retry_forgets_what_was_bad(scene: Scene) -> None:
    device = scene.device()
    scene.publish("1")

    def broken(*_: Any) -> dict[str, Any]:
        raise VerificationError("not here")

    with pytest.raises(VerificationError):
        device.update(broken)
    with pytest.raises(FleetError, match="bad here before"):
        edgeclf.update(device.path)
    assert edgeclf.update(device.path, retry=True).kind == "committed"


def test_the_child_says_what_it_found(scene: Scene) -> None:
    device = scene.device()
    scene.publish("1", terms=Terms(max_p99_ms=10_000, max_memory_mb=4_000, probation_minutes=0))
    found = edgeclf.update(device.path).found
    assert found is not None and found["photo"] == "identical" and found["max_change"] < 0.001
    assert 0 < found["p99_ms"] < 10_000 and 10 < found["memory_mb"] < 4_000


@pytest.mark.parametrize(
    ("terms", "words"),
    [({"max_p99_ms": 0.001}, "too slow here"), ({"max_memory_mb": 1.0}, "too much memory here")],
)
def test_limits_of_the_order_are_the_devices(
    scene: Scene, terms: dict[str, float], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeclf.fleet.check._SAMPLES", 1000)
    device = scene.device()
    scene.publish("1")
    device.update()
    scene.publish("2", terms=Terms(probation_minutes=0, **terms))  # type: ignore[arg-type]
    with pytest.raises(QualityGateError, match=words):
        device.update()
    assert device.runs == "1"


def test_kept_frames_are_a_shadow_run(scene: Scene) -> None:
    device = scene.device()
    scene.publish("1")
    device.update()
    (device.path / "frames").mkdir()
    for level in (20, 128, 240):
        (device.path / "frames" / f"{level}.jpg").write_bytes(shade(level))
    (device.path / "frames" / "no.jpg").write_bytes(b"no picture")
    terms = Terms(probation_minutes=0, min_agreement=1.0)
    scene.publish("2", terms=terms)
    done = device.update()
    assert done.found is not None and (done.found["agreement"], done.found["frames"]) == (1.0, 3)
    other = artifact(NAME, "3", labels=("night", "middle", "bright"))
    scene.publish("3", other, terms=terms)
    with pytest.raises(QualityGateError, match=r"answers 66\.7% of 3 kept frames"):
        device.update()
    assert device.runs == "2"


def on_trial(scene: Scene, **terms: Any) -> Any:
    device = scene.device()
    scene.publish("1")
    device.update()
    scene.publish("2", terms=Terms(**terms))
    assert device.update().kind == "trial" and device.runs == "2"
    return device


def test_success_is_reported_after_the_trial_only(scene: Scene, boot: Boot) -> None:
    device = on_trial(scene, probation_minutes=10)
    assert report(device.path)["outcome"]["kind"] == "trial"
    boot.now_s += 9 * MINUTE_S
    assert device.update().kind == "trial"
    boot.now_s += MINUTE_S
    assert device.update().kind == "committed" and device.runs == "2"
    assert report(device.path)["outcome"]["kind"] == "committed"


def test_a_trial_counts_no_clock_that_can_be_set_and_goes_on_after_a_reboot(
    scene: Scene, boot: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = on_trial(scene, probation_minutes=10)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86_400 * 5)
    boot.now_s += 6 * MINUTE_S
    assert device.update().kind == "trial"
    boot.reboot()
    assert device.update().kind == "trial"
    boot.now_s += 4 * MINUTE_S
    assert device.update().kind == "committed"


def test_a_crash_loop_goes_back_without_a_network(scene: Scene) -> None:
    device = on_trial(scene, probation_minutes=10, probation_starts=2)
    shutil.rmtree(scene.web.folder)
    before = fleet.current(device.path)
    assert fleet.started(device.path) == fleet.started(device.path) == before
    assert fleet.started(device.path).name.startswith("1.")
    assert device.runs == "1"
    state = Folder(device.path).read()
    assert state.trial is None and "3 starts on trial" in next(iter(state.bad.values()))


def test_who_must_confirm_and_does_not_goes_back(scene: Scene, boot: Boot) -> None:
    device = on_trial(scene, probation_minutes=10, confirm=True)
    boot.now_s += 11 * MINUTE_S
    done = device.update()
    assert done.kind == "back" and "nobody confirmed it within 10 minutes" in done.text
    assert device.runs == "1" and report(device.path)["outcome"]["running"]["counter"] == 1


def test_a_confirmed_one_is_committed_before_its_time(scene: Scene, boot: Boot) -> None:
    device = on_trial(scene, probation_minutes=10, confirm=True)
    fleet.confirm(device.path)
    assert device.update().kind == "committed" and device.runs == "2"


def test_a_file_that_broke_on_trial_is_not_committed(scene: Scene, boot: Boot) -> None:
    device = on_trial(scene, probation_minutes=1)
    path = fleet.current(device.path)
    path.write_bytes(path.read_bytes()[:-1])
    boot.now_s += 2 * MINUTE_S
    done = device.update()
    assert done.kind == "back" and "its bytes have changed" in done.text
    assert device.runs == "1"
    with pytest.raises(FleetError, match="bad here before"):
        device.update()


def test_a_later_order_ends_a_trial(scene: Scene, boot: Boot) -> None:
    device = on_trial(scene, probation_minutes=10)
    scene.publish("3")
    assert device.update().kind == "committed" and device.runs == "3"


def test_a_rollback_is_a_statement_of_its_own(scene: Scene) -> None:
    device = scene.device()
    for version in ("1", "2"):
        scene.publish(version)
        device.update()
    done = scene.fleet.rollback(NAME, group="canary", reason="customers")
    assert done.order.rollback == {"from": 2, "to": 1, "reason": "customers"}
    scene.web.asked.clear()
    assert device.update().kind == "committed" and device.runs == "1"
    assert not any(path.startswith("targets") for path, _ in scene.web.asked)  # it is here still
    assert fleet.current(device.path).name.startswith("3.")


def test_a_rollback_during_a_trial_returns_to_what_is_committed(scene: Scene, boot: Boot) -> None:
    device = on_trial(scene, probation_minutes=10)
    scene.fleet.rollback(NAME, group="canary")
    assert device.update().kind == "committed" and device.runs == "1"
    state = Folder(device.path).read()
    assert state.committed is not None and state.committed.counter == 3 and not state.bad


def test_a_rollback_to_what_is_no_longer_here_is_brought(scene: Scene) -> None:
    device = scene.device()
    for version in ("1", "2", "3"):
        scene.publish(version)
        device.update()
    scene.fleet.rollback(NAME, group="canary", to=1)
    assert device.update().kind == "committed" and device.runs == "1"


def test_a_share_is_drawn_by_names_and_only_grows(scene: Scene) -> None:
    order = scene.publish("1", share=0.1).order
    names = [f"device-{number}" for number in range(3000)]
    first = {name for name in names if order.is_for("canary", name)}
    assert 240 < len(first) < 360
    wider = scene.fleet.promote(NAME, to="canary", share=0.3).order
    assert first < {name for name in names if wider.is_for("canary", name)}
    assert not any(wider.is_for("stable", name) for name in names)
    second = scene.publish("2", share=0.1).order  # which begins with others
    assert {name for name in names if second.is_for("canary", name)} != first


def test_devices_outside_of_a_share_stay(scene: Scene) -> None:
    scene.publish("1", group="stable")
    device = scene.device(group="stable")
    device.update()
    scene.publish("2")
    assert device.update().kind == "unchanged"
    scene.fleet.promote(NAME, to="stable", share=0.0)
    assert device.update().kind == "unchanged" and device.runs == "1"
    scene.fleet.promote(NAME, to="stable")
    assert device.update().kind == "committed" and device.runs == "2"


def test_a_halted_rollout_leaves_those_who_have_it(scene: Scene) -> None:
    device = scene.device()
    for version in ("1", "2"):
        scene.publish(version)
        device.update()
    scene.fleet.promote(NAME, to="canary", share=0.0)
    done = device.update()
    assert done.kind == "kept" and "stays until a later order" in done.text


def test_what_ran_before_provisioning_stays_until_an_order(scene: Scene) -> None:
    scene.publish("1", group="stable")
    device = scene.device(model=scene.folder / f"{NAME}.1.fp32.onnx")
    assert device.runs == "1" and device.update().kind == "unchanged"
    scene.publish("2")
    assert device.update().kind == "committed" and device.runs == "2"


def test_a_lost_state_is_made_again_from_what_runs(scene: Scene) -> None:
    device = scene.device()
    scene.publish("1")
    device.update()
    for content in (b"", b"{}", b"\xff"):
        (device.path / "state.json").write_bytes(content)
        assert device.update().kind == "unchanged" and device.runs == "1"
    (device.path / "state.json").unlink()
    scene.publish("2")
    assert device.update().kind == "committed" and device.runs == "2"


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_file_that_the_disk_lost_is_brought_again(scene: Scene, damage: str) -> None:
    device = scene.device()
    for version in ("1", "2"):
        scene.publish(version)
        device.update()
    path = fleet.current(device.path)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    assert device.update().kind == "committed" and device.runs == "2"
    assert device.update().kind == "unchanged"


def test_a_full_disk_or_a_foreign_folder_is_no_reason_not_to_start(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = on_trial(scene, probation_minutes=10)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders, "put_json", full)
    assert fleet.started(device.path).name.startswith("2.")


def test_two_updaters_do_not_meet(scene: Scene) -> None:
    device = scene.device()
    scene.publish("1")
    busy = []

    def meanwhile(*words: Any) -> dict[str, Any]:
        with pytest.raises(FleetError, match="held by another process") as caught:
            edgeclf.update(device.path)
        busy.append(caught.value.reason)
        return check_here(*words)

    assert device.update(meanwhile).kind == "committed" and busy == ["busy"]


def test_an_order_of_a_later_format_is_refused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf.fleet.orders import Order

    custom = Order.custom
    monkeypatch.setattr(Order, "custom", lambda self: {**custom(self), "colour": "blue"})
    device = scene.device()
    scene.publish("1")
    with pytest.raises(FleetError, match="Update edgeclf on the device") as caught:
        device.update()
    assert caught.value.reason == "order"


def test_a_device_must_be_provisioned(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="Provision it") as caught:
        edgeclf.update(tmp_path)
    assert caught.value.reason == "not-provisioned"


def test_another_root_of_trust_is_refused(scene: Scene, tmp_path: Path) -> None:
    device = scene.device()
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(FleetError, match="another root of trust"):
        fleet_provision(device.path, scene.web.url, tmp_path / "other.json")


def fleet_provision(path: Path, url: str, root: Path) -> None:
    from edgeclf.fleet.provision import provision

    provision(path, url=url, root=root, name=NAME, group="canary")


def test_shares_are_counted_in_whole_numbers() -> None:
    assert ALL == 10_000  # canonical JSON has no fractions
