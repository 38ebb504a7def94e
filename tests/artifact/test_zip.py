"""The zip at an artifact's end, against Python's own `zipfile`, and against strangers."""

from __future__ import annotations

import io
import random
import zipfile

import pytest

from edgeclf.artifact import Metadata, load_artifact, seal_artifact
from edgeclf.artifact.file import _seal_of
from edgeclf.artifact.zip import read_members, read_stored
from edgeclf.errors import ArtifactError
from edgeclf.image import ImageSpec

COMMENT = b"made for a test"
FILES = {"edgeclf.json": b"{}", "a/labels.txt": b"cup\nmug\n" * 50, "empty": b"", "ü": b"\xff"}


def archive(compression: int = zipfile.ZIP_STORED, before: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    buffer.write(before)
    with zipfile.ZipFile(buffer, "a", compression) as file:
        for name, content in FILES.items():
            file.writestr(name, content)
        file.comment = COMMENT
    return buffer.getvalue()


@pytest.mark.parametrize("before", [b"", b"a model" * 99])
def test_members_are_those_that_zipfile_finds(before: bytes) -> None:
    content = archive(before=before)
    members = read_members(content, len(COMMENT))
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        assert [(m.name, m.position) for m in members] == [
            (info.filename, info.header_offset) for info in file.infolist()
        ]
    assert {m.name: read_stored(content, m) for m in members} == FILES
    assert all(m.stored for m in members)


def test_a_compressed_member_is_not_called_stored() -> None:
    content = archive(zipfile.ZIP_DEFLATED)
    assert not any(m.stored for m in read_members(content, len(COMMENT)))


@pytest.mark.parametrize("size", [0, len(COMMENT) - 1, len(COMMENT) + 1, 10_000])
def test_another_place_of_the_end_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"its end is not where it should be|cut short"):
        read_members(archive(), size)


def test_a_stranger_who_can_seal_gets_an_artifact_error_at_worst() -> None:
    sealed = seal_artifact(
        b"\x10\0\0\0TFL3" + bytes(64), Metadata("m", ("a", "b"), ImageSpec(8, 8))
    )
    unsealed, chance = sealed.content[:-64], random.Random(0)
    outcomes = set()
    for _ in range(2_000):
        changed = bytearray(unsealed)
        for _ in range(chance.randint(1, 3)):  # in the directory and the end, where positions are
            changed[-chance.randint(20, 230)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        try:
            load_artifact(bytes(changed) + _seal_of(bytes(changed)))
            outcomes.add("loaded")
        except ArtifactError as exc:
            outcomes.add(str(exc).split(":")[0])
    damaged = "the bytes given is sealed but its archive is damaged"
    assert "loaded" in outcomes and damaged in outcomes, outcomes


def test_of_two_members_of_one_name_the_last_counts_as_for_zipfile() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file, pytest.warns(UserWarning, match="Duplicate name"):
        for label in ("first", "last"):
            file.writestr("edgeclf.json", Metadata(label, ("a", "b"), ImageSpec(8, 8)).to_json())
        file.comment = b"edgeclf.seal:sha256:" + b"0" * 64
    unsealed = buffer.getvalue()[:-64]
    assert load_artifact(unsealed + _seal_of(unsealed)).metadata.name == "last"
