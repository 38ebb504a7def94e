from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import threading
import zipfile
from pathlib import Path

import pytest

from edgeclf.artifact import (
    Artifact,
    Metadata,
    Normalization,
    file,
    is_artifact,
    load_artifact,
    save_artifact,
    seal_artifact,
)
from edgeclf.artifact.protobuf import write_bytes as field
from edgeclf.errors import ArtifactError, IntegrityError, OptionError
from edgeclf.image import ImageSpec

METADATA = Metadata(
    name="mugs",
    labels=("white", "black", "crème brûlée"),
    image=ImageSpec(96, 128, resize="letterbox", kernel="bicubic", scaled_decode=False),
    precision="int8",
    normalization=Normalization(127.5, 127.5),
    parameters=12,
    training={"data_sha256": "ab", "settings": {"seed": 3}},
    accuracy={"source": {"top1": 0.5}},
)
TFLITE = b"\x1c\x00\x00\x00TFL3" + bytes(range(256)) * 8


def onnx_model() -> bytes:
    """A ModelProto with ir_version 8, a producer and one foreign metadata entry."""
    entry = b"\x0a\x03key\x12\x05value"
    return b"\x08\x08\x12\x04test" + b"\x72" + bytes([len(entry)]) + entry


def keras_model() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(1000))
    return buffer.getvalue()


MODELS = {"tflite": TFLITE, "onnx": onnx_model(), "keras": keras_model()}


@pytest.mark.parametrize("name", MODELS)
def test_metadata_survive_the_file(name: str, tmp_path: Path) -> None:
    written = save_artifact(seal_artifact(MODELS[name], METADATA), tmp_path / "model")
    read = load_artifact(tmp_path / "model")
    assert read == written
    assert read.format == name
    assert read.metadata == METADATA
    assert load_artifact(read.content).path is None


def test_tflite_ends_in_a_plain_zip_archive() -> None:
    artifact = seal_artifact(TFLITE, METADATA)
    # The root lies 16 bytes further on, behind the mark; nothing else moved against it.
    assert int.from_bytes(artifact.content[:4], "little") == 0x1C + 16
    assert artifact.content[4:8] == b"TFL3"
    assert artifact.content[8:24] == b"edgeclf.artifact"
    assert artifact.content[24:].startswith(TFLITE[8:])
    with zipfile.ZipFile(io.BytesIO(artifact.content)) as archive:
        assert archive.testzip() is None
        # MediaPipe refuses compressed members.
        assert all(m.compress_type == zipfile.ZIP_STORED for m in archive.infolist())
        assert archive.read("labels.txt").decode().splitlines() == list(METADATA.labels)
        assert json.loads(archive.read("edgeclf.json"))["name"] == "mugs"


def test_keras_keeps_its_members() -> None:
    with zipfile.ZipFile(io.BytesIO(seal_artifact(keras_model(), METADATA).content)) as archive:
        assert archive.testzip() is None
        assert archive.read("config.json") == b"{}"
        assert archive.read("model.weights.h5") == bytes(1000)


def test_onnx_metadata_are_readable_by_onnx() -> None:
    onnx = pytest.importorskip("onnx", reason="needs edgeclf[convert]")
    model = onnx.load_from_string(seal_artifact(onnx_model(), METADATA).content)
    entries = {p.key: p.value for p in model.metadata_props}
    assert entries["key"] == "value"
    assert entries["labels"].splitlines() == list(METADATA.labels)
    assert json.loads(entries["edgeclf"])["parameters"] == 12


EXTERNAL = field(13, field(1, b"location") + field(2, b"w.bin"))  # a TensorProto's
ATTRIBUTE = field(5, field(5, EXTERNAL))  # a node's


@pytest.mark.parametrize(
    "model",
    [
        field(7, field(5, EXTERNAL)),
        field(7, field(1, ATTRIBUTE)),
        field(7, field(1, field(5, field(6, field(5, EXTERNAL))))),
        field(7, field(15, field(1, EXTERNAL))),
        field(25, field(7, ATTRIBUTE)),
    ],
    ids=["initializer", "constant", "subgraph", "sparse", "function"],
)
def test_weights_in_another_file_are_refused(model: bytes) -> None:
    with pytest.raises(ArtifactError, match="keeps weights in another file"):
        seal_artifact(model, METADATA)
    # Sealed by somebody else: the model is put where a whole one of that size had been.
    whole = field(2, b"x" * (len(model) - 2))
    content = seal_artifact(whole, METADATA).content[:-64].replace(whole, model)
    forged = content + file._seal_of(content)
    with pytest.raises(ArtifactError, match="bytes given keeps weights in another file"):
        load_artifact(forged)


def test_a_tensor_may_be_called_location() -> None:
    model = field(7, field(1, field(1, b"location") + field(2, b"y")) + field(5, field(8, b"w")))
    assert load_artifact(seal_artifact(model, METADATA).content).metadata == METADATA


@pytest.mark.parametrize("name", MODELS)
def test_sealing_again_replaces_the_metadata(name: str) -> None:
    once = seal_artifact(MODELS[name], METADATA)
    renamed = dataclasses.replace(METADATA, name="cups")
    assert seal_artifact(once.content, renamed) == seal_artifact(MODELS[name], renamed)


@pytest.mark.parametrize("name", MODELS)
def test_every_flipped_byte_is_refused(name: str) -> None:
    content = seal_artifact(MODELS[name], METADATA).content
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(IntegrityError, match="bytes have changed"):
            load_artifact(bytes(damaged))


def test_a_flip_in_any_block_of_a_large_file_is_refused() -> None:
    content = seal_artifact(TFLITE + bytes(13 * 2**20), METADATA).content
    assert load_artifact(content).metadata == METADATA
    for position in range(100, len(content), 2**20):
        damaged = bytearray(content)
        damaged[position] ^= 1
        with pytest.raises(IntegrityError):
            load_artifact(bytes(damaged))


def test_a_large_file_is_checked_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.tflite"
    large = save_artifact(seal_artifact(TFLITE + bytes(range(256)) * 40_000, METADATA), path)
    assert load_artifact(path) == large
    for position in (30, 5_000_000, 9_999_999, large.size_bytes - 1):
        with open(path, "r+b") as file:
            file.seek(position)
            file.write(bytes([large.content[position] ^ 1]))
        with pytest.raises(IntegrityError):
            load_artifact(path)
        path.write_bytes(large.content)
    path.write_bytes(large.content[:-1])
    with pytest.raises(IntegrityError):
        load_artifact(path)


def test_compressed_metadata_are_refused() -> None:
    """A few kilobytes of it could unpack to gigabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("edgeclf.json", METADATA.to_json() + " " * 1_000_000)
        archive.comment = b"edgeclf.seal:sha256:" + b"0" * 64
    unsealed = buffer.getvalue()[:-64]
    block = hashlib.sha256(unsealed).digest()
    seal = hashlib.sha256(block).hexdigest().encode()
    with pytest.raises(ArtifactError, match="compressed metadata"):
        load_artifact(unsealed + seal)


def test_a_pipe_can_be_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    written = seal_artifact(TFLITE, METADATA)
    writer = threading.Thread(target=pipe.write_bytes, args=(written.content,))
    writer.start()
    assert load_artifact(pipe).content == written.content
    writer.join()


@pytest.mark.parametrize("name", MODELS)
def test_a_truncated_file_is_refused(name: str) -> None:
    content = seal_artifact(MODELS[name], METADATA).content
    for percent in range(3, 100):  # these are so small that the mark ends at 3 %
        with pytest.raises(IntegrityError, match="bytes have changed"):
            load_artifact(content[: len(content) * percent // 100])


@pytest.mark.parametrize("content", [b"", b"hello", TFLITE, onnx_model(), keras_model()])
def test_a_foreign_file_is_no_artifact(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="carries no seal"):
        load_artifact(content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"gone\.tflite.*No such file"):
        load_artifact(tmp_path / "gone.tflite")


def test_a_later_format_version_names_the_version_to_install() -> None:
    document = json.loads(METADATA.to_json())
    document |= {"format_version": 2, "written_by": "edgeclf 7.1.0"}
    with pytest.raises(ArtifactError, match=r"format version 2.*pip install 'edgeclf>=7\.1\.0'"):
        Metadata.from_json(json.dumps(document))


def test_what_a_later_version_adds_is_passed_over() -> None:
    document = json.loads(METADATA.to_json()) | {"colour": "green"}
    assert Metadata.from_json(json.dumps(document)) == METADATA


def test_a_file_without_what_was_added_later_is_read() -> None:
    added = ("description", "license", "origin_url", "paper")
    document = json.loads(METADATA.to_json())
    assert all(document[name] is None for name in added)
    for name in added:
        del document[name]
    assert Metadata.from_json(json.dumps(document)) == METADATA


def test_where_a_model_comes_from_is_kept() -> None:
    metadata = dataclasses.replace(
        METADATA,
        description="Tells mugs from bowls.\nTrained on Sundays.",
        license="Apache-2.0 OR MIT",
        origin_url="https://example.org/mugs",
        paper="http://example.org/paper.pdf",
    )
    assert load_artifact(seal_artifact(keras_model(), metadata).content).metadata == metadata


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("description", " "), ("license", ""), ("license", "MIT\nand more"),
        ("origin_url", "example.org"), ("origin_url", "file:///etc/passwd"), ("origin_url", ""),
        ("paper", "https://"), ("paper", "https://a b"), ("paper", "see javascript:alert(1)"),
    ],
)  # fmt: skip
def test_an_unusable_origin_is_refused(name: str, value: str) -> None:
    with pytest.raises(OptionError, match=f"The {name} "):
        dataclasses.replace(METADATA, **{name: value})
    document = json.loads(METADATA.to_json()) | {name: value}
    with pytest.raises(ArtifactError, match=f"The {name} "):
        Metadata.from_json(json.dumps(document))
    with pytest.raises(ArtifactError, match=f"wrong types: {name}"):
        Metadata.from_json(json.dumps(document | {name: 3}))


@pytest.mark.parametrize("labels", [(), ("one",), ("a", "a"), ("a", ""), ("a", "b\nc")])
def test_unusable_labels_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(OptionError):
        Metadata("mugs", labels, ImageSpec(8, 8))


def test_the_same_model_gives_the_same_file() -> None:
    first: Artifact = seal_artifact(keras_model(), METADATA)
    assert first.sha256 == seal_artifact(keras_model(), METADATA).sha256


@pytest.mark.parametrize("letter", [*"\0\x1b\x07\x7f\x9b\ud800"])
def test_no_label_steers_a_terminal(letter: str) -> None:
    with pytest.raises(OptionError, match="a control character or half a letter") as told:
        Metadata("mugs", ("cat", f"dog{letter}"), ImageSpec(8, 8))
    assert repr(letter) in str(told.value)


@pytest.mark.parametrize(
    "text", [b"# edgeclf.json\nlabels: cat\n", b"import edgeclf.artifact\n", b"edgeclf.json"]
)
def test_a_text_that_tells_of_artifacts_is_none(text: bytes) -> None:
    assert not is_artifact(text + b"x" * 100)
    with pytest.raises(ArtifactError) as told:
        load_artifact(text + b"x" * 100)
    assert not isinstance(told.value, IntegrityError)
