"""What a publisher signs, and what is refused before it is signed."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeclf.cli import main
from edgeclf.errors import (
    ArtifactError,
    FleetError,
    OptionError,
    QualityGateError,
    RegistryError,
    VerificationError,
)
from edgeclf.publishing import fleet as publishing
from edgeclf.publishing.fleet import Fleet, Terms
from edgeclf.publishing.repository import Repository
from edgeclf.registry.gates import Asked
from edgeclf.registry.tags import Entry
from support.fleets import NAME, Scene
from support.services import artifact, lying, write


def asked(**words: Any) -> Asked:
    return Asked(runtime="fake", **words)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_private_keys_are_their_owners_and_never_shown(scene: Scene) -> None:
    keys = list((scene.folder / "fleet" / "keys").iterdir())
    assert len(keys) == 4
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert not list(scene.web.folder.rglob("*.pem"))


def test_a_fleet_is_made_once(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="is a fleet already"):
        Repository.create(scene.folder / "fleet")
    with pytest.raises(FleetError, match="is no fleet"):
        Fleet(tmp_path / "nowhere")
    with pytest.raises(OptionError, match="timestamp of -1 days"):
        Repository.create(tmp_path / "other", -1)


def test_what_does_not_verify_here_is_not_published(scene: Scene) -> None:
    before = scene.fleet.repository.last_counter()
    with pytest.raises(VerificationError, match="does not compute the certified model"):
        scene.publish("1", lying(artifact(NAME, "1")))
    (scene.folder / "cut.onnx").write_bytes(artifact(NAME, "1").content[:-1])
    with pytest.raises(ArtifactError, match="have changed"):
        scene.fleet.publish(scene.folder / "cut.onnx", name=NAME, group="canary")
    assert scene.fleet.repository.last_counter() == before == 0
    assert not list((scene.web.folder / "targets").rglob("*.onnx"))


def test_what_is_worse_than_the_groups_present_model_is_not_published(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf.registry import gates

    for label, level in (("dark", 20), ("middle", 128), ("bright", 240)):
        folder = scene.folder / "eval" / label
        folder.mkdir(parents=True)
        for index in range(3):
            Image.fromarray(np.full((40, 40, 3), level + index, np.uint8)).save(
                folder / f"{index}.png"
            )
    right = gates._right

    def fewer(classifier: Any, photos: Any) -> Any:
        found = right(classifier, photos).copy()
        found[0] = classifier.artifact.metadata.version != "2"
        return found

    monkeypatch.setattr(gates, "_right", fewer)
    data = asked(data=scene.folder / "eval")
    for version, group, fails in (("1", "canary", False), ("2", "other", False)):
        file = write(scene.folder, artifact(NAME, version))
        scene.fleet.publish(file, name=NAME, group=group, asked=data)
        assert not fails
    file = write(scene.folder, artifact("again", "2"))
    with pytest.raises(QualityGateError, match="may lose 1"):
        scene.fleet.publish(file, name=NAME, group="canary", asked=data)


def test_a_file_is_ordered_once(scene: Scene) -> None:
    scene.publish("1")
    with pytest.raises(FleetError, match="is order 1 already"):
        scene.publish("1", group="stable")
    assert scene.fleet.promote(NAME, to="stable").order.counter == 1


def test_counters_only_grow(scene: Scene) -> None:
    assert [scene.publish(version).order.counter for version in ("1", "2")] == [1, 2]
    assert scene.fleet.rollback(NAME, group="canary").order.counter == 3
    assert scene.publish("3").order.counter == 4
    assert scene.publish("1", artifact("other", "1"), name="other").order.counter == 5


def test_a_group_is_never_led_back_by_promoting(scene: Scene) -> None:
    scene.publish("1")
    scene.publish("2", group="stable")
    with pytest.raises(FleetError, match="'stable' has order 2 already") as caught:
        scene.fleet.promote(NAME, to="stable", counter=1)
    assert caught.value.reason == "old-content"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"group": "no group"}, "The group is 'no group'"),
        ({"name": "../up"}, r"The name is '\.\./up'"),
        ({"share": 1.5}, r"The share is 1\.5"),
        ({"terms": Terms(max_p99_ms=0)}, "max_p99_ms is 0"),
        ({"terms": Terms(min_agreement=2)}, "min_agreement is 2"),
        ({"terms": Terms(probation_starts=0)}, "0 starts cannot be"),
    ],
)
def test_words_that_cannot_be(scene: Scene, words: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        scene.publish("1", **words)
    assert scene.fleet.repository.orders() == {}


def test_there_must_be_something_to_return_to(scene: Scene) -> None:
    with pytest.raises(FleetError, match="Nothing of 'shades' is ordered"):
        scene.fleet.rollback(NAME, group="canary")
    scene.publish("1")
    with pytest.raises(FleetError, match="expected one of none"):
        scene.fleet.rollback(NAME, group="canary")
    with pytest.raises(FleetError, match="no order 7"):
        scene.fleet.promote(NAME, to="stable", counter=7)


def test_a_registry_is_a_source(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    made = artifact(NAME, "5")

    class Registry:
        def resolve(self, address: Any) -> Entry:
            if address.alias != "champion":
                raise RegistryError("there is no such alias")
            return Entry("birds", "5", made.sha256, f"artifacts/{NAME}.fp32.onnx")

        def download(self, entry: Entry, target: Path) -> None:
            target.write_bytes(made.content)

    monkeypatch.setattr(publishing, "open_source", lambda uri: Registry())
    done = scene.fleet.publish("models:/birds@champion", name=NAME, group="canary", asked=asked())
    assert (done.order.sha256, done.order.version) == (made.sha256, "5")
    with pytest.raises(RegistryError, match="no such alias"):
        scene.fleet.publish("models:/birds@other", name=NAME, group="canary")
    with pytest.raises(OptionError, match="models:/NAME@ALIAS"):
        scene.fleet.publish("models:/birds", name=NAME, group="canary")


def test_two_publishers_do_not_meet(scene: Scene) -> None:
    with (
        scene.fleet.repository.changing(),
        pytest.raises(FleetError, match="held by another process"),
    ):
        scene.publish("1")


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_devices_follow_a_key_that_was_replaced(scene: Scene, role: str) -> None:
    scene.publish("1")
    device = scene.device()
    device.update()
    (old,) = scene.fleet.repository.root().signed.roles[role].keyids
    scene.fleet.key(role, new=True)
    found = scene.fleet.key(role, remove=old[:8])
    assert old not in found["keys"] and len(found["keys"]) == 1
    for path in (scene.folder / "fleet" / "keys").glob(f"{role}-{old[:8]}.pem"):
        path.unlink()
    scene.publish("2")
    assert device.update().kind == "committed" and device.runs == "2"
    assert scene.device("new").update().kind == "committed"  # from the first root on


def test_a_threshold_needs_its_keys(scene: Scene) -> None:
    with pytest.raises(OptionError, match="would have 1 keys and need 2"):
        scene.fleet.key("targets", threshold=2)
    scene.fleet.key("targets", new=True)
    keys = scene.fleet.key("targets", threshold=2)["keys"]
    scene.publish("1")
    device = scene.device()
    assert device.update().kind == "committed"
    for path in (scene.folder / "fleet" / "keys").glob(f"targets-{keys[1][:8]}.pem"):
        path.rename(path.with_suffix(".away"))
    with pytest.raises(FleetError, match="needs 2 signatures, and 1 of its keys") as caught:
        scene.publish("2")
    assert caught.value.reason == "no-key"
    assert device.update().kind == "unchanged"  # nothing half-signed is shown
    with pytest.raises(OptionError, match="no role 'mirror'"):
        scene.fleet.key("mirror", new=True)
    with pytest.raises(OptionError, match="beginning of 0 keys"):
        scene.fleet.key("targets", remove="zz")


def test_publishing_needs_no_root_key(scene: Scene) -> None:
    for path in (scene.folder / "fleet" / "keys").glob("root-*.pem"):
        path.unlink()
    scene.publish("1")
    assert scene.device().update().kind == "committed"
    with pytest.raises(FleetError, match=r"private key .* cannot be used"):
        scene.fleet.key("targets", new=True)


def test_a_key_that_is_kept_elsewhere(scene: Scene, tmp_path: Path) -> None:
    """ECDSA in a file outside of the fleet, by its URI: any signer of securesystemslib's."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from securesystemslib.signer import CryptoSigner

    signer = CryptoSigner.generate_ecdsa()
    (tmp_path / "usb.pem").write_bytes(signer.private_bytes)
    public = signer._private_key.public_key()
    (tmp_path / "usb.pub").write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (old,) = scene.fleet.repository.root().signed.roles["targets"].keyids
    uri = f"file2:{tmp_path / 'usb.pem'}"
    with pytest.raises(OptionError, match="--public FILE"):
        scene.fleet.key("targets", uri=uri)
    with pytest.raises(OptionError, match="No signer is known by 'ftp:x'"):
        scene.fleet.key("targets", uri="ftp:x", public=tmp_path / "usb.pub")
    with pytest.raises(OptionError, match="Cannot read the public key"):
        scene.fleet.key("targets", uri=uri, public=tmp_path / "usb.pem")
    scene.fleet.key("targets", uri=uri, public=tmp_path / "usb.pub", remove=old)
    scene.publish("1")
    assert scene.device().update().kind == "committed"


def test_renewing_signs_the_timestamp_alone_while_the_rest_is_good(scene: Scene) -> None:
    scene.publish("1")
    device = scene.device()
    device.update()
    before = names(scene.web.folder / "metadata")
    expiry = scene.fleet.repository.expiries()["timestamp"]
    assert main(["fleet", "renew", str(scene.folder / "fleet")]) == 0
    assert names(scene.web.folder / "metadata") == before
    assert scene.fleet.repository.expiries()["timestamp"] >= expiry
    done = device.update()
    assert (done.kind, done.requests) == ("unchanged", 2)


def test_renewing_ends_a_change_of_keys_that_was_cut_off(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.publish("1")
    (old,) = scene.fleet.repository.root().signed.roles["targets"].keyids
    with monkeypatch.context() as patch:
        patch.setattr(Repository, "_write", lambda *_: None)
        scene.fleet.key("targets", new=True, remove=old)
    device = scene.device()
    with pytest.raises(FleetError) as caught:
        device.update()
    assert caught.value.reason == "wrong-key"
    assert main(["fleet", "renew", str(scene.folder / "fleet")]) == 0
    assert device.update().kind == "committed"


@pytest.mark.parametrize("package", ["tuf", "securesystemslib", "cryptography"])
def test_a_package_that_is_missing_is_named(
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["fleet", "init", str(tmp_path / "fleet")]) == 2
    said = capsys.readouterr().err
    assert f"needs the package '{package}'" in said and "edgeclf[publish]" in said
    assert not (tmp_path / "fleet").exists()


def test_the_verb_tells_the_story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "fleet")
    file = str(write(tmp_path, artifact(NAME, "1")))
    second = str(write(tmp_path, artifact(NAME, "2")))

    def fleet(*words: str) -> str:
        assert main(["fleet", *words]) == 0
        return capsys.readouterr().out

    assert "1.root.json" in fleet("init", place)
    usual = ["--name", NAME, "--runtime", "fake"]
    said = fleet("publish", place, file, "--group", "canary", *usual)
    assert said.startswith("Order 1: 1.shades.fp32.onnx") and "3 golden images" in said
    assert "10.00% of stable" in fleet("promote", place, NAME, "--to", "stable", "--share", "0.1")
    fleet("publish", place, second, "--group", "canary", *usual)
    assert "back from 2 to 1" in fleet("rollback", place, NAME, "--group", "canary")
    assert "timestamp: 1 of" in fleet("key", place, "timestamp")
    said = fleet("status", place)
    assert "(back to 1)" in said and "signed until" in said
    document = json.loads(fleet("status", place, "--json"))
    assert [order["counter"] for order in document["orders"]] == [1, 2, 3]
    bad = str(write(tmp_path, lying(artifact(NAME, "9"))))
    assert main(["fleet", "publish", place, bad, "--group", "canary", *usual]) == 1
    assert main(["fleet", "publish", str(tmp_path), bad, "--group", "canary", *usual]) == 2
