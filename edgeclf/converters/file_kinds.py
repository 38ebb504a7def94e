"""What a model's file is, told by its content: names lie, downloads fail, tools differ in suffixes.

What cannot be converted is named for what it is, with the way on.
"""

from __future__ import annotations

import codecs
import io
import re
import zipfile
from pathlib import Path
from typing import Literal

from edgeclf.artifact.protobuf import read_fields
from edgeclf.errors import ArtifactError

Kind = Literal["keras", "h5", "tflite", "onnx", "saved_model"]

_KERAS_SUFFIXES = {"keras": (".keras",), "h5": (".h5", ".hdf5")}  # what Keras goes by
_TORCH = ("is a PyTorch file: weights, or a network that only its own code can run. Export the "
          "network with torch.onnx.export and convert that")  # fmt: skip
_DOWNLOAD = "Download the file itself, and compare its size with the one that the page tells"
_CORE_ML = "is a model of Core ML. Convert the model that it was made from"
_EXPECTED = ".keras, .h5, .tflite, .onnx or the folder of a SavedModel"
_SUFFIXES = (".keras", ".h5", ".hdf5", ".tflite", ".onnx")
_ONNX_FIELDS = frozenset((*range(1, 9), 14, 20, 25, 26))  # of ModelProto in onnx.proto
_ONNX_VERSIONS = frozenset((1, 8))  # of the format and of the operators
_ONNX_GRAPH = 7
_CORE_ML_TYPES = 200  # and above: the kinds of model in Core ML's Model.proto
# What a file begins with, and what it then is.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (rb"version https://git-lfs", "is a Git LFS pointer, which stands for the model. Fetch the "
     "model with 'git lfs pull'"),
    (rb"\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)", f"is an HTML page. {_DOWNLOAD}"),
    (rb"\s*<\?xml[^>]*>\s*<net\b", "is a network of OpenVINO. Convert the model it was made from"),
    (rb"\s*<(\?xml|error)", f"is XML, mostly a server's error message. {_DOWNLOAD}"),
    (rb"\s*\{[^\0]*\"modelTopology\"", "is a model of TensorFlow.js. Convert the Keras model or "
     "SavedModel that it was made from"),
    (rb"\s*\{[^\0]*\"ir_?version\"\s*:", "is an ONNX model written as JSON. Write it as .onnx: "
     "onnx.save(onnx.load(FILE, format='json'), 'model.onnx')"),
    (rb"\s*[\[{]\s*[\"\[{}\]]", f"is JSON. {_DOWNLOAD}"),
    (rb"....ORTM", "is in ONNX Runtime's own format (.ort). Convert the .onnx it was made from"),
    (rb"[fp]trt", "is an engine of TensorRT, made for one GPU. Convert the .onnx it was made from"),
    (rb".{8}\{\"", "holds weights alone (safetensors), without a network. Load them into the "
     "network they belong to, and export that as ONNX, Keras or a SavedModel"),
    (rb"\x80[\x02-\x05]\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", _TORCH),
    (rb"\x80[\x02-\x05]", "is a Python pickle, which runs code when it is opened; it was not "
     "opened. Export the model in it as ONNX"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|.{257}ustar", "is an archive. Unpack it, and convert "
     "the model in it"),
    (rb"\x93NUMPY", "is an array of NumPy, without a network. Convert the model it belongs to"),
    (rb"7767517\s", "is a network of ncnn. Convert the model that it was made from"),
)  # fmt: skip


def kind_of(path: Path) -> Kind:
    """What a model from elsewhere is.

    Args:
        path: A file, or the folder of a SavedModel.

    Raises:
        ArtifactError: It is nothing that can be converted; says what it is and what to do.
    """
    if path.is_dir():
        return _kind_of_folder(path)
    content = path.read_bytes()
    if not content:
        raise ArtifactError(f"{path} is empty. {_DOWNLOAD}.")
    front = _front(content)
    for beginning, words in _BEGINNINGS:
        if re.match(beginning, front, re.DOTALL | re.IGNORECASE):
            raise ArtifactError(f"{path} {words}.")
    if content[4:8] == b"TFL3":
        return "tflite"
    if content.startswith(b"\x89HDF\r\n\x1a\n"):
        return _by_suffix(path, "h5")
    if content.startswith(b"PK"):
        return _kind_of_zip(path, content)
    return _kind_of_message(path, content)


def _by_suffix(path: Path, kind: Literal["keras", "h5"]) -> Kind:
    if path.suffix not in _KERAS_SUFFIXES[kind]:
        name = path.with_suffix(_KERAS_SUFFIXES[kind][0]).name
        raise ArtifactError(
            f"{path} is a Keras model, which Keras only reads by another name. Rename it to {name}."
        )
    return kind


def _kind_of_folder(path: Path) -> Kind:
    if (path / "saved_model.pb").is_file():
        return "saved_model"
    inside = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
    models = [name for name in inside if name.lower().endswith(_SUFFIXES)]
    shown = ", ".join(inside[:5]) + (", …" if len(inside) > 5 else "")
    advice = f"Convert {path / models[0]}" if models else "Expected the folder of a SavedModel"
    raise ArtifactError(f"{path} is a folder without saved_model.pb; it holds "
                        f"{shown or 'nothing'}. {advice}.")  # fmt: skip


def _kind_of_zip(path: Path, content: bytes) -> Kind:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError):
        raise ArtifactError(f"{path} is a zip that is cut short. {_DOWNLOAD}.") from None
    bare = {name.rpartition("/")[2] for name in names}
    if {"config.json", "model.weights.h5"} <= set(names):
        return _by_suffix(path, "keras")
    if "data.pkl" in bare:
        raise ArtifactError(f"{path} {_TORCH}.")
    if any(name.endswith(".mlmodel") for name in bare):
        raise ArtifactError(f"{path} {_CORE_ML}.")
    models = [name for name in names if name.endswith((*_SUFFIXES, "saved_model.pb"))]
    inside = f" with {', '.join(models[:3])} in it" if models else ""
    raise ArtifactError(f"{path} is a zip archive{inside}. Unpack it, and convert the model in it.")


def _kind_of_message(path: Path, content: bytes) -> Kind:
    """Tells ONNX from the other protobuf messages that hold models, by the fields they have."""
    fields, whole = _fields(content, 0, len(content))
    has = fields.keys()
    has_graph = _ONNX_GRAPH in has and _fields(content, *fields[_ONNX_GRAPH])[1]
    if whole and has_graph and has & _ONNX_VERSIONS:
        return "onnx"
    like_onnx = content[:1] == b"\x08" and has <= _ONNX_FIELDS
    if content[:2] == b"\x08\x01" and whole and has == {1, 2}:
        raise ArtifactError(
            f"{path} is a part of a SavedModel. Convert the folder that it lies in: {path.parent}."
        )
    if (
        not _is_text(content)
        and content[:1] == b"\x0a"
        and content[slice(*fields.get(1, (0, 0)))][:1] == b"\x0a"
        and has <= {1, 2, 3, 4}
    ):
        raise ArtifactError(
            f"{path} is a frozen graph of TensorFlow 1. Convert the SavedModel or Keras model that "
            "it was made from."
        )
    if whole and any(number >= _CORE_ML_TYPES for number in has):
        raise ArtifactError(f"{path} {_CORE_ML}.")
    if like_onnx and 1 in has:
        raise ArtifactError(f"{path} is an ONNX model that is damaged or cut short. {_DOWNLOAD}.")
    known = "a text file" if _is_text(content) else "no model of a known kind"
    raise ArtifactError(f"{path} is {known}; expected {_EXPECTED}.")


def _front(content: bytes) -> bytes:
    """The beginning of a file; of a text without its byte order mark, in UTF-8."""
    front = content[:65536]
    if front.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return front.decode("utf-16", errors="replace").encode(errors="replace")
    return front.removeprefix(codecs.BOM_UTF8)


def _fields(content: bytes, start: int, end: int) -> tuple[dict[int, tuple[int, int]], bool]:
    """Where the first field of each number lies in a message, and whether it is one to its end."""
    found: dict[int, tuple[int, int]] = {}
    try:
        for number, *place in read_fields(content, start, end):
            found.setdefault(number, (place[0], place[1]))
    except ArtifactError:
        return found, False
    return found, True


def _is_text(content: bytes) -> bool:
    """Whether it is UTF-8 without control characters; the last letter may be cut."""
    front = _front(content)[:4096]
    try:
        codecs.getincrementaldecoder("utf-8")().decode(front)
    except UnicodeDecodeError:
        return False
    return not re.search(rb"[\0-\x08\x0e-\x1f]", front)
