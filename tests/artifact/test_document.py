"""docs/artifact.md says what the code does, and its reader reads what the code writes."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import get_args

import pytest

from edgeclf import image
from edgeclf.artifact import Metadata, Normalization, Precision, save_artifact, seal_artifact
from edgeclf.image import ImageSpec
from edgeclf.trust import certificate
from support import REPOSITORY

DOCUMENT = (REPOSITORY / "docs" / "artifact.md").read_text("utf-8")
METADATA = Metadata("mugs", ("white", "crème brûlée", "c"), ImageSpec(96, 128))


def keras_model() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(1000))
    return buffer.getvalue()


MODELS = {
    "tflite": b"\x1c\x00\x00\x00TFL3" + bytes(range(256)) * 8,
    # A varint, a text, a fixed 64-bit and a fixed 32-bit field, a long graph, a foreign entry.
    "onnx": b"\x08\x88\x08\x12\x04test\x31" + bytes(8) + b"\x35" + bytes(4)
    + b"\x3a\xe8\x07" + bytes(1000) + b"\x72\x0c\x0a\x03key\x12\x05value",
    "keras": keras_model(),
}  # fmt: skip


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (code,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
    path = tmp_path_factory.mktemp("reader") / "reader.py"
    path.write_text(code, encoding="utf-8")
    return path


def run(reader: Path, *models: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "-W", "error", reader, *models],
        capture_output=True, text=True, check=False, encoding="utf-8",
    )  # fmt: skip


def test_the_reader_is_short_and_needs_only_the_standard_library(reader: Path) -> None:
    code = reader.read_text(encoding="utf-8")
    modules = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import)]
    names = {alias.name for node in modules for alias in node.names}
    assert names == {"hashlib", "json", "sys", "zipfile"} and "from " not in code
    assert len([line for line in code.splitlines() if line]) <= 40


@pytest.mark.parametrize("format_", MODELS)
def test_the_reader_prints_the_labels(format_: str, reader: Path, tmp_path: Path) -> None:
    path = tmp_path / "model"
    save_artifact(seal_artifact(MODELS[format_], METADATA), path)
    done = run(reader, path, path)
    assert done.returncode == 0 and done.stderr == ""
    expected = "".join(f"{number} {label}\n" for number, label in enumerate(METADATA.labels))
    assert done.stdout == expected * 2


def test_the_reader_takes_a_file_of_several_blocks(reader: Path, tmp_path: Path) -> None:
    content = seal_artifact(MODELS["tflite"] + bytes(9_000_000), METADATA).content
    path = tmp_path / "model"
    path.write_bytes(content)
    assert run(reader, path).stdout.startswith("0 white\n")
    path.write_bytes(content[:5_000_000] + b"\1" + content[5_000_001:])
    assert run(reader, path).returncode == 1


@pytest.mark.parametrize("format_", MODELS)
def test_the_reader_refuses_what_is_not_intact(format_: str, reader: Path, tmp_path: Path) -> None:
    content = seal_artifact(MODELS[format_], METADATA).content
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    path = tmp_path / "model"
    for bad in (bytes(changed), content[:-1], content[: len(content) // 2], content + b"\n",
                MODELS[format_], b""):  # fmt: skip
        path.write_bytes(bad)
        done = run(reader, path)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr == f"{path} is damaged, or no artifact\n"


def test_the_reader_refuses_a_later_format(
    reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeclf.artifact.metadata.FORMAT_VERSION", 2)
    save_artifact(seal_artifact(MODELS["onnx"], METADATA), tmp_path / "model")
    done = run(reader, tmp_path / "model")
    assert done.returncode == 1 and "in a later format" in done.stderr


@pytest.mark.parametrize("format_", MODELS)
def test_the_seal_is_where_the_document_says(format_: str) -> None:
    content = seal_artifact(MODELS[format_], METADATA).content
    assert content[-84:-64] == b"edgeclf.seal:sha256:"
    block = hashlib.sha256(content[:-64]).digest()  # the only one of so small a file
    assert content[-64:].decode() == hashlib.sha256(block).hexdigest()


def test_a_tflite_file_is_laid_out_as_the_document_says() -> None:
    model = MODELS["tflite"]
    content = seal_artifact(model, METADATA).content
    assert number(content, 0, 4) == number(model, 0, 4) + 16
    assert content[4:24] == b"TFL3edgeclf.artifact"
    end = len(model) + 16  # F
    assert content[24:end] == model[8:]
    assert content[end : end + 4] == b"PK\3\4" and content[end + 30 : end + 42] == b"edgeclf.json"
    check_zip_end(content, members=2)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert min(member.header_offset for member in archive.infolist()) == end
        assert archive.read("labels.txt") == "white\ncrème brûlée\nc\n".encode()


def test_a_keras_file_is_laid_out_as_the_document_says() -> None:
    content = seal_artifact(MODELS["keras"], METADATA).content
    assert content[:4] == b"PK\3\4" and content[30:42] == b"edgeclf.json"
    check_zip_end(content, members=4)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = ["edgeclf.json", "labels.txt", "config.json", "model.weights.h5"]
        assert archive.namelist() == names
        assert {m.compress_type for m in archive.infolist()} == {zipfile.ZIP_STORED}


def check_zip_end(content: bytes, members: int) -> None:
    size = len(content)
    assert content[size - 106 : size - 102] == b"PK\5\6"
    assert number(content, size - 86, 2) == 84
    assert number(content, size - 96, 2) == members
    directory = number(content, size - 90, 4)
    assert content[directory : directory + 4] == b"PK\1\2"


def number(content: bytes, position: int, length: int) -> int:
    return int.from_bytes(content[position : position + length], "little")


def test_an_onnx_file_is_laid_out_as_the_document_says() -> None:
    model = MODELS["onnx"]
    content = seal_artifact(model, METADATA).content
    assert content[:23] == b"\x72\x15\x0a\x10edgeclf.artifact\x12\x01\x31"
    assert content[23:].startswith(model)
    assert content[-102:-84] == b"\x72\x64\x0a\x0cedgeclf.seal\x12\x54"


@pytest.mark.parametrize("described", [Metadata, ImageSpec, Normalization])
def test_every_field_is_documented(described: type) -> None:
    for field in dataclasses.fields(described):
        assert f"`{field.name}`" in DOCUMENT


def test_the_limits_are_those_of_the_code() -> None:
    for precision in get_args(Precision):
        assert f"| `{precision}` | {certificate._TOLERANCES[precision]} |" in DOCUMENT
    assert f"more than {image.MAX_PIXELS:,} pixels" in DOCUMENT
    assert f"within {certificate._LEVELS} of 255 levels" in DOCUMENT
    assert f"`{image.LETTERBOX}`" in DOCUMENT
