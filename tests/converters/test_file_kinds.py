"""Files that are not what their names say."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from edgeclf import SourceSpec
from edgeclf.converters.file_kinds import kind_of
from edgeclf.converters.sources import open_model
from edgeclf.errors import ArtifactError

ONNX = b"\x08\x08\x12\x04test\x3a\x03\x12\x01g\x42\x02\x10\x11"
SAFETENSORS = struct.pack("<Q", 2) + b'{"a":1}'
GRAPH_DEF = b"\x0a\x08\x0a\x01x\x12\x03Add\x22\x02\x08\x03"


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.tflite", b"", "is empty. Download"),
        ("m.tflite", b"\n<!DOCTYPE html><html>", "is an HTML page. Download"),
        ("m.onnx", b"<html><head>", "is an HTML page"),
        ("m.onnx", b"\xef\xbb\xbf<!DOCTYPE html>", "is an HTML page"),
        ("m.onnx", "<html><body>".encode("utf-16"), "is an HTML page"),
        ("m.onnx", b"\xfe\xff" + "<html>".encode("utf-16-be"), "is an HTML page"),
        ("m.onnx", b"<!-- saved -->\n<!-- x -->\n<html>", "is an HTML page"),
        ("m.onnx", b"\n" * 50, "is a text file; expected"),
        ("m.onnx", b"\n\n" + b"x" * 10, "is a text file; expected"),
        ("m.json", b'{"irVersion": "8", "graph": {"node": []}}', "an ONNX model written as JSON"),
        ("m.txt", b"# edgeclf.json\nlabels: cat\n", "is a text file; expected"),
        ("m.onnx", b"<?xml version='1.0'?><Error>", "server's error message"),
        ("m.xml", b'<?xml version="1.0"?>\n<net name="a">', "OpenVINO"),
        ("m.onnx", b'{"error": "gone"}', "is JSON"),
        ("model.json", b'{"format": 1, "modelTopology": {}}', "TensorFlow.js"),
        ("m.h5", b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        ("m.pt", zipped("m/data.pkl", "m/data/0"), r"PyTorch file.*torch\.onnx\.export"),
        ("m.pth", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch file"),
        ("m.joblib", pickle.dumps([1]), "was not opened"),
        ("m.safetensors", SAFETENSORS, "weights alone"),
        ("m.ort", b"\x18\0\0\0ORTM", r"Convert the \.onnx it was made from"),
        ("m.engine", b"ftrt\0\0", "TensorRT"),
        ("m.task", zipped("net.tflite"), r"zip archive with net\.tflite in it. Unpack"),
        ("m.mlpackage.zip", zipped("a/Data/m.mlmodel"), "Core ML"),
        ("m.mlmodel", b"\x08\x04\x12\x00\x9a\x19\x00", "Core ML"),
        ("m.pb", GRAPH_DEF, "frozen graph of TensorFlow 1"),
        ("saved_model.pb", b"\x08\x01\x12\x02\x0a\x00", "Convert the folder that it lies in"),
        ("m.onnx", GRAPH_DEF[:6], "no model of a known kind|text file"),
        ("m.onnx", ONNX[:-6], "ONNX model that is damaged or cut short"),
        ("m.keras", zipped("config.json", "model.weights.h5")[:-9], "zip that is cut short"),
        ("m.KERAS", zipped("config.json", "model.weights.h5"), r"Rename it to m\.keras"),
        ("m.hdf", b"\x89HDF\r\n\x1a\n", r"Rename it to m\.h5"),
        ("m.tar.gz", b"\x1f\x8b\x08", "Unpack it"),
        ("m.bin", bytes(range(128, 256)), "no model of a known kind; expected .keras"),
    ],
)
def test_what_cannot_be_converted_is_named(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=words):
        open_model(tmp_path / name, SourceSpec())


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("m.TFLITE", b"\x1c\0\0\0TFL3", "tflite"),
        ("m.lite", b"\x1c\0\0\0TFL3", "tflite"),
        ("m.keras", b"\x1c\0\0\0TFL3", "tflite"),
        ("m", ONNX, "onnx"),
        ("m", ONNX[2:] + ONNX[:2], "onnx"),  # its version not first
        ("m", ONNX + b"\xfa\x01\x01x", "onnx"),  # with the fields 31 and 201, which tell nothing
        ("m", ONNX + b"\xca\x0c\x01x", "onnx"),
        ("m.h5", b"\x89HDF\r\n\x1a\n", "h5"),
        ("m.hdf5", b"\x89HDF\r\n\x1a\n", "h5"),
        ("m.keras", zipped("config.json", "metadata.json", "model.weights.h5"), "keras"),
    ],
)
def test_content_tells_the_kind(name: str, content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert kind_of(tmp_path / name) == kind


def test_a_folder_is_named_by_what_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"it holds nothing\. Expected the folder of a SavedMod"
    ):
        open_model(tmp_path, SourceSpec())
    (tmp_path / "keras_model.h5").touch()
    with pytest.raises(ArtifactError, match=r"Convert .*keras_model\.h5"):
        open_model(tmp_path, SourceSpec())
