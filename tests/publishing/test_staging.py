"""Signatures that come from several machines: staged here, signed there, merged, and followed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeclf.cli import main
from edgeclf.errors import FleetError, OptionError
from edgeclf.publishing.fleet import Fleet
from edgeclf.publishing.keys import new_key_file, signer_in
from edgeclf.publishing.repository import Repository
from edgeclf.publishing.staging import read_staged, sign_staged
from edgeclf.registry.gates import Asked
from support.fleets import AT_ONCE, NAME, Device, Scene
from support.services import artifact, write


class Machine:
    """One that only signs, with a key that never leaves it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.key = folder, folder / "own.pem"
        self.public = new_key_file(self.key)

    def sign(self, staged: Path) -> Path:
        """Brings a file here, signs it, and gives what is brought back."""
        mine = Path(shutil.copy(staged, self.folder / "staged.json"))
        sign_staged(mine, signer_in(self.key))
        return mine


@pytest.fixture
def second(scene: Scene) -> Machine:
    """Its key counts for ``targets``, of which two must sign."""
    machine = Machine(scene.folder / "second")
    scene.fleet.key("targets", public=machine.public)
    with pytest.raises(FleetError, match=r"needs 2 signatures.*on another machine.*--stage"):
        scene.fleet.key("targets", threshold=2)
    return machine


def staged_in(scene: Scene) -> Path:
    return scene.folder / "fleet" / "staged.json"


def stage(scene: Scene, version: str, **words: Any) -> None:
    file = write(scene.folder, artifact(NAME, version))
    given = {"name": NAME, "group": "canary", "terms": AT_ONCE, **words}
    Fleet(scene.folder / "fleet", stage=True).publish(file, asked=Asked(runtime="fake"), **given)


def merged(scene: Scene, *files: Path) -> dict[str, tuple[int, int]]:
    repository = Repository(scene.folder / "fleet")
    with repository.changing():
        return repository.merge(files).signatures()


@pytest.fixture
def device(scene: Scene) -> Device:
    """One that runs order 1."""
    scene.publish("1")
    made = scene.device()
    made.update()
    return made


@pytest.fixture
def two(scene: Scene, device: Device) -> Machine:
    """Likewise, and the threshold of two holds."""
    machine = Machine(scene.folder / "second")
    scene.fleet.key("targets", public=machine.public)
    Fleet(scene.folder / "fleet", stage=True).key("targets", threshold=2)
    assert merged(scene) == {"root": (1, 1), "targets": (1, 2)} and staged_in(scene).exists()
    merged(scene, machine.sign(staged_in(scene)))
    assert not staged_in(scene).exists()
    assert device.update().kind == "unchanged"
    return machine


def test_a_threshold_that_cannot_be_met_here_changes_nothing(scene: Scene, second: Machine) -> None:
    assert scene.fleet.repository.root().signed.roles["targets"].threshold == 1
    device = scene.device()
    scene.publish("1")  # one of them is enough, still
    assert device.update().kind == "committed"


def test_an_order_is_published_with_the_last_signature(
    scene: Scene, device: Device, two: Machine
) -> None:
    stage(scene, "2")
    assert device.update().kind == "unchanged"
    assert merged(scene) == {"targets": (1, 2)}
    assert merged(scene, two.sign(staged_in(scene))) == {"targets": (2, 2)}
    assert device.update().kind == "committed" and device.runs == "2"
    with pytest.raises(FleetError, match="holds nothing to sign"):
        merged(scene)


def test_a_promotion_and_a_rollback_likewise(scene: Scene, device: Device, two: Machine) -> None:
    other = scene.device("d2", group="stable")
    Fleet(scene.folder / "fleet", stage=True).promote(NAME, to="stable")
    merged(scene, two.sign(staged_in(scene)))
    assert other.update().kind == "committed" and other.runs == "1"
    stage(scene, "2")
    merged(scene, two.sign(staged_in(scene)))
    device.update()
    Fleet(scene.folder / "fleet", stage=True).rollback(NAME, group="canary")
    merged(scene, two.sign(staged_in(scene)))
    assert device.update().kind == "committed" and device.runs == "1"


def test_a_new_root_is_signed_by_the_old_keys_and_its_own(scene: Scene, device: Device) -> None:
    """The root key is in a drawer, on a machine of its own, and is replaced there."""
    old, new = scene.folder / "drawer", Machine(scene.folder / "new")
    (key,) = (scene.folder / "fleet" / "keys").glob("root-*.pem")
    old.mkdir()
    shutil.move(key, old / "root.pem")
    fleet = Fleet(scene.folder / "fleet", stage=True)
    fleet.key("root", public=new.public, remove=key.stem.partition("-")[2])
    signed = new.sign(staged_in(scene))
    assert merged(scene, signed) == {"root": (1, 1)}  # of its own keys; the old one lacks
    assert staged_in(scene).exists()
    sign_staged(signed, signer_in(old / "root.pem"))
    merged(scene, signed)
    assert not staged_in(scene).exists()
    scene.publish("2")
    assert device.update().kind == "committed" and device.runs == "2"


def test_signatures_may_come_one_by_one(scene: Scene, device: Device) -> None:
    machines = [Machine(scene.folder / f"m{number}") for number in range(3)]
    for machine in machines:
        scene.fleet.key("targets", public=machine.public)
    Fleet(scene.folder / "fleet", stage=True).key("targets", threshold=3)
    first, second, third = (machine.sign(staged_in(scene)) for machine in machines)
    assert merged(scene, first)["targets"] == (2, 3)
    assert merged(scene, first)["targets"] == (2, 3)  # the same again counts once
    assert merged(scene, second)["targets"] == (3, 3)
    assert device.update().kind == "unchanged"
    with pytest.raises(FleetError, match="holds nothing to sign"):
        merged(scene, third)


def test_what_was_signed_is_what_is_published(scene: Scene, device: Device, two: Machine) -> None:
    stage(scene, "2")
    signed = two.sign(staged_in(scene))
    for change in (
        lambda d: d["targets"]["signed"]["targets"].popitem(),
        lambda d: d["targets"]["signed"].update(expires="2030-01-01T00:00:00Z"),
        lambda d: d.pop("targets"),
    ):
        document = json.loads(signed.read_bytes())
        change(document)
        other = scene.folder / "other.json"
        other.write_text(json.dumps(document))
        with pytest.raises(FleetError, match="is not what is staged here") as caught:
            merged(scene, other)
        assert caught.value.reason == "mixed"
    assert device.update().kind == "unchanged"


def test_a_signature_that_is_none_does_not_count(
    scene: Scene, device: Device, two: Machine
) -> None:
    stage(scene, "2")
    signed = two.sign(staged_in(scene))
    document = json.loads(signed.read_bytes())
    for each in document["targets"]["signatures"]:
        each["sig"] = "00" * 64
    signed.write_text(json.dumps(document))
    assert merged(scene, signed) == {"targets": (1, 2)}
    assert device.update().kind == "unchanged"


def test_what_was_overtaken_is_not_published(scene: Scene, device: Device) -> None:
    stage(scene, "2")
    with pytest.raises(FleetError, match="waits for signatures already"):
        stage(scene, "3")
    scene.publish("3")
    with pytest.raises(FleetError, match="was published meanwhile"):
        merged(scene)
    assert Repository(scene.folder / "fleet").drop()
    assert not Repository(scene.folder / "fleet").drop()
    assert device.update().kind == "committed" and device.runs == "3"


def test_a_merge_that_was_cut_off_is_ended_by_the_next(
    scene: Scene, device: Device, two: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    Fleet(scene.folder / "fleet", stage=True).key("targets", new=True)
    signed = two.sign(staged_in(scene))

    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "_show", cut)
        with pytest.raises(KeyboardInterrupt):
            merged(scene, signed)
    merged(scene, signed)
    assert not staged_in(scene).exists() and device.update().kind == "unchanged"
    assert len(scene.fleet.repository.root().signed.roles["targets"].keyids) == 3


def test_a_key_that_counts_for_nothing(scene: Scene, device: Device) -> None:
    stage(scene, "2")
    stranger = Machine(scene.folder / "stranger")
    with pytest.raises(OptionError, match="counts for none of targets"):
        stranger.sign(staged_in(scene))
    for content in (b"", b"{}", b"[]", b'{"schema": "edgeclf.fleet.staged/1"}'):
        (scene.folder / "x.json").write_bytes(content)
        with pytest.raises(FleetError, match="holds nothing to sign"):
            read_staged(scene.folder / "x.json")
    with pytest.raises(OptionError, match="Cannot read the private key"):
        signer_in(stranger.public)
    with pytest.raises(OptionError, match="is there already"):
        new_key_file(stranger.key)


def test_the_commands(
    scene: Scene, device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, key = str(scene.folder / "fleet"), str(tmp_path / "b.pem")
    assert main(["fleet", "new-key", key]) == 0
    assert main(["fleet", "key", fleet, "targets", "--public", f"{key}.pub"]) == 0
    assert main(["fleet", "key", fleet, "targets", "--threshold", "2", "--stage"]) == 0
    staged = str(staged_in(scene))
    capsys.readouterr()
    assert main(["fleet", "merge", fleet]) == 1
    assert "It waits for more signatures" in capsys.readouterr().out
    assert main(["fleet", "sign", staged, "--key", key]) == 0
    out = capsys.readouterr().out
    assert "targets: 2 of 2 signatures" in out and artifact(NAME, "1").sha256 in out
    assert main(["fleet", "merge", fleet]) == 0
    assert "It is published" in capsys.readouterr().out
    assert main(["fleet", "promote", fleet, NAME, "--to", "stable", "--stage"]) == 0
    assert "Nothing is published yet" in capsys.readouterr().out
    words = ["fleet", "sign", staged, "--uri"]
    assert main([*words, f"file2:{key}"]) == 2
    assert main([*words, f"file2:{key}", "--public", f"{key}.pub"]) == 0
    assert main(["fleet", "merge", fleet, "--drop"]) == 0
    assert device.update().kind == "unchanged"
