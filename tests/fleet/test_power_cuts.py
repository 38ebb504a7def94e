"""kill -9 before every write of an update and a full disk at each: what runs is always whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeclf.publishing.fleet import Terms
from support import REPOSITORY
from support.faults import can_trace
from support.fleets import NAME, Device, Scene
from support.services import artifact

pytestmark = pytest.mark.skipif(can_trace() is not None, reason=str(can_trace()))
TRIAL = Terms(probation_minutes=10)
HASHES = {version: artifact(NAME, version).sha256 for version in ("1", "2")}


def go_through(device: Device, good: tuple[str | None, ...], end: str, **more: Any) -> list[str]:
    """Cuts the power at each write; the calls that it went through."""
    asked = {"folder": str(device.path), "good": [each and HASHES[each] for each in good],
             "end": HASHES[end], "uptime_s": 0, **more}  # fmt: skip
    place = [str(REPOSITORY), str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-W", "error", str(REPOSITORY / "tests/support/power_cuts.py"),
         json.dumps(asked)],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(place), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["problems"] == []
    calls: list[str] = said["calls"]
    return calls


@pytest.fixture
def device(scene: Scene) -> Device:
    """One that runs version 1."""
    scene.publish("1")
    made = scene.device()
    made.update()
    return made


def test_an_update_that_is_reported(scene: Scene, tmp_path: Path) -> None:
    """Of its reports none costs the device its model, nor leaves anything behind."""
    (tmp_path / "reports").mkdir()
    scene.publish("1")
    device = scene.device(report=str(tmp_path / "reports"), sign=True)
    device.update()
    scene.publish("2")
    calls = go_through(device, ("1", "2"), "2")
    assert {"write", "fsync", "rename", "symlink", "unlink"} <= set(calls) and len(calls) > 60


def test_the_first_one(scene: Scene) -> None:
    scene.publish("1")
    go_through(scene.device(), (None, "1"), "1", full_disk=False)


def test_a_commit(scene: Scene, device: Device) -> None:
    scene.publish("2", terms=TRIAL)
    device.update()
    go_through(device, ("2",), "2", uptime_s=601)


def test_a_way_back(scene: Scene, device: Device) -> None:
    scene.publish("2", terms=Terms(probation_minutes=10, confirm=True))
    device.update()
    go_through(device, ("1", "2"), "1", uptime_s=601)


def test_a_rollback_to_the_other_slot(scene: Scene, device: Device) -> None:
    scene.publish("2")
    device.update()
    scene.fleet.rollback(NAME, group="canary")
    go_through(device, ("1", "2"), "1", full_disk=False)


def test_the_harness_sees_a_write_that_is_not_safe(tmp_path: Path) -> None:
    from support.faults import run_until

    target = tmp_path / "file"
    target.write_bytes(b"old")

    def careless() -> None:
        target.write_bytes(b"new")

    calls = run_until(careless).calls
    assert "write" in calls
    seen = set()
    for at in range(len(calls)):
        target.write_bytes(b"old")
        assert run_until(careless, at).code == -9
        seen.add(target.read_bytes())
    assert seen == {b"old", b""}
    assert run_until(careless, calls.index("write"), full=True).code == 1
