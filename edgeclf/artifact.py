"""One model file that knows itself: model, labels, preprocessing, provenance, certificate.

The metadata is one JSON document, kept where each format has room for it. A mark near the first
byte says what the file is, also when its end is missing, and every file ends in a seal: a
SHA-256 over all bytes before it. So one comparison, made before any parser sees a byte, tells
whether anything in the file has changed. docs/artifact.md specifies the format.

    NAME.PRECISION.tflite   flatbuffer, its root 16 bytes further on to leave room for the mark,
                            then a zip archive with edgeclf.json and labels.txt;
                            the seal is the archive's comment
    NAME.PRECISION.onnx     the mark as a metadata_props entry, the ModelProto, and metadata_props
                            ``labels``, ``edgeclf`` and ``edgeclf.seal`` (a protobuf message may
                            hold its fields in any order)
    NAME.keras              Keras's own zip, with edgeclf.json, which is the first member and so
                            the mark, and labels.txt; the seal is the archive's comment

Nothing here needs a framework, so a device reads what a workstation wrote.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from edgeclf import files
from edgeclf.archive import read_members, read_stored
from edgeclf.cpu import available_cpus
from edgeclf.errors import ArtifactError, IntegrityError, OptionError
from edgeclf.image import ImageSpec, UInt8Array

FORMAT_VERSION = 1

Format = Literal["tflite", "onnx", "keras"]
Precision = Literal["fp32", "fp16", "dynamic", "int8", "int8-full"]

_JSON_NAME = "edgeclf.json"
_LABELS_NAME = "labels.txt"
_OUR_MEMBERS = (_JSON_NAME, _LABELS_NAME)
_MARK = b"edgeclf.artifact"  # 16 bytes, so that what follows it in a flatbuffer stays aligned
_SEAL_MARK = b"edgeclf.seal:sha256:"
_SEAL_LENGTH = len(_SEAL_MARK) + 64
_BLOCK = 4 * 2**20
_PIECE = 2**18  # of a block, small enough to stay in a cache between reading and hashing
_ONNX_METADATA_FIELD = 14  # ModelProto.metadata_props in onnx.proto


@dataclass(frozen=True)
class Normalization:
    """The first step inside the graph: x -> (x - mean) / std on raw values 0..255.

    The defaults map bytes to multiples of 1/128 in -0.992..1, which an int8 input expresses
    exactly through its own scale and zero point.

    Attributes:
        mean: One number, or one for each of red, green and blue.
        std: Likewise; none of them zero.
    """

    mean: float | tuple[float, float, float] = 127.0
    std: float | tuple[float, float, float] = 128.0

    def __post_init__(self) -> None:
        numbers = (*self.means, *self.stds)
        if not all(isinstance(n, int | float) for n in numbers) or 0 in self.stds:
            raise OptionError(f"Mean and std are {self.mean} and {self.std}; expected numbers, "
                              "and no std of zero.")  # fmt: skip

    @property
    def means(self) -> tuple[float, ...]:
        """One number, or three."""
        return self.mean if isinstance(self.mean, tuple) else (self.mean,)

    @property
    def stds(self) -> tuple[float, ...]:
        """One number, or three."""
        return self.std if isinstance(self.std, tuple) else (self.std,)

    def apply(self, images: UInt8Array) -> npt.NDArray[np.float32]:
        """The same outside of a graph: uint8 [..., 3] to float32 of that shape."""
        return ((images.astype(np.float32) - self.means) / self.stds).astype(np.float32)

    @property
    def is_exact(self) -> bool:
        """Whether scale and zero point of a uint8 tensor say the same without any arithmetic."""
        (*means,), (*stds,) = self.means, self.stds
        return len(means) == len(stds) == 1 and means[0] in range(256) and stds[0] > 0


@dataclass(frozen=True)
class Metadata:
    """What an artifact knows about itself.

    Attributes:
        name: The model's name, for example ``mugs``.
        labels: Class names in the order of the model's output.
        image: How a photo becomes the input uint8 [N, height, width, 3].
        precision: How weights and activations are stored.
        version: The model's version, free text.
        normalization: What the graph does first with the bytes.
        parameters: Number of weights of the source network.
        quantization: Scheme, recipe and tool of anything but fp32; None for fp32.
        calibration: Names, count, seed and hash of the calibration images; None without any.
        training: Where the weights come from: data hash, settings, library versions.
        accuracy: Top-1 of source and artifact, agreement and the largest probability change.
        certificate: Golden images with the answers of source and artifact.
        written_by: The program that wrote the file read; not compared, and replaced on writing.
    """

    name: str
    labels: tuple[str, ...]
    image: ImageSpec
    precision: Precision = "fp32"
    version: str = "1"
    normalization: Normalization = field(default_factory=Normalization)
    parameters: int | None = None
    quantization: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    accuracy: Mapping[str, Any] | None = None
    certificate: Mapping[str, Any] | None = None
    written_by: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise OptionError(
                f"Labels are {list(self.labels)}; expected at least two different names."
            )
        if any(len(label.splitlines()) != 1 or not label.strip() for label in self.labels):
            raise OptionError("A label is empty or spans lines; labels.txt holds one a line.")
        if self.precision not in get_args(Precision):
            raise OptionError(
                f"Precision is {self.precision!r}; expected one of {get_args(Precision)}."
            )

    def to_json(self) -> str:
        """The metadata as one JSON document."""
        header = {"format_version": FORMAT_VERSION, "written_by": f"edgeclf {_own_version()}"}
        return json.dumps({**dataclasses.asdict(self), **header}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Metadata:
        """Reads what `to_json` wrote.

        Raises:
            ArtifactError: The document is not ours, or from a later format version.
        """
        try:
            document = json.loads(text)
            format_version = document["format_version"]
        except (ValueError, KeyError, TypeError) as exc:
            raise ArtifactError(f"The metadata is not edgeclf's JSON: {exc!r}.") from exc
        if format_version != FORMAT_VERSION:
            writer = str(document.get("written_by", "another edgeclf"))
            raise ArtifactError(
                f"The artifact has format version {format_version}, written by {writer}; this is "
                f"edgeclf {_own_version()}, which reads version {FORMAT_VERSION}. Install the "
                f"writer's version: pip install '{writer.replace(' ', '>=')}'"
            )
        _check_types(document)
        # What a later edgeclf adds without a new format version is not needed to read the file.
        known = {entry.name for entry in dataclasses.fields(cls)}
        fields = {key: value for key, value in document.items() if key in known}
        try:
            fields["labels"] = tuple(fields["labels"])
            fields["image"] = ImageSpec(**fields["image"])
            given = fields["normalization"].items()
            fields["normalization"] = Normalization(
                **{key: tuple(v) if isinstance(v, list) else v for key, v in given}
            )
            return cls(**fields)
        except (KeyError, TypeError, OptionError) as exc:
            raise ArtifactError(f"The artifact's metadata is incomplete: {exc}.") from exc


def _check_types(document: Mapping[str, Any]) -> None:
    """Refuses what JSON allows and the format does not."""
    labels = document.get("labels")
    records = ("quantization", "calibration", "training", "accuracy", "certificate")
    wrong = [key for key in ("image", "normalization") if not isinstance(document.get(key), dict)]
    wrong += [key for key in records if not isinstance(document.get(key), dict | None)]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        wrong.append("labels")
    if not isinstance(document.get("parameters"), int | None):
        wrong.append("parameters")
    if wrong:
        raise ArtifactError(f"The artifact's metadata have wrong types: {', '.join(wrong)}.")


@dataclass(frozen=True)
class Artifact:
    """A model file whose seal has been checked.

    Attributes:
        format: The engine format of `content`.
        metadata: What the file knows about itself.
        content: The whole file as the engines take it; each ignores what it does not know.
        path: Where it was read from; None for bytes.
    """

    format: Format
    metadata: Metadata
    content: bytes = field(repr=False)
    path: Path | None = None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, hex: what any tool gives for it."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def seal(self) -> str:
        """The seal's digits, hex: they name the file's content, and cost nothing to read."""
        return self.content[-64:].decode("ascii", errors="replace")

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return len(self.content)

    @property
    def model_content(self) -> bytes:
        """What an engine needs of the file: of ``.tflite`` the flatbuffer without the archive."""
        return _marked_flatbuffer(self.content) if self.format == "tflite" else self.content


def is_artifact(content: bytes) -> bool:
    """Whether a file is, or was before it was damaged, an artifact of edgeclf."""
    front = content[:64]
    return _MARK in front or _JSON_NAME.encode() in front or _SEAL_MARK in content[-_SEAL_LENGTH:]


def load_artifact(source: str | os.PathLike[str] | bytes) -> Artifact:
    """Reads an artifact and checks its seal before anything parses it.

    Args:
        source: A path or the file's bytes.

    Returns:
        The artifact, with the file's bytes.

    Raises:
        ArtifactError: The file is missing, is no artifact, or has a later format version.
        IntegrityError: The file was an artifact and has been changed or cut short.
    """
    path = None if isinstance(source, bytes) else Path(source)
    name = "the bytes given" if path is None else str(path)
    if isinstance(source, bytes):
        content, digest = source, _seal_of(memoryview(source)[:-64])
    else:
        content, digest = _read(Path(source))
    _check_seal(content, digest, name)
    format_ = _detect_format(content)
    if format_ == "onnx":
        document = dict(_onnx_metadata(content)).get("edgeclf")
    else:
        document = _stored_member(content, name)
    if document is None:
        raise ArtifactError(f"{name} is sealed but holds no metadata. Convert the model again.")
    return Artifact(format_, Metadata.from_json(document), content, path)


def seal_artifact(model: bytes, metadata: Metadata) -> Artifact:
    """Joins a model and its metadata into the bytes of one artifact.

    Args:
        model: A TFLite flatbuffer, an ONNX ModelProto or a ``.keras`` archive.
        metadata: What the file shall know about itself.

    Returns:
        The artifact; `Artifact.content` is what to write.
    """
    format_ = _detect_format(model)
    labels = "".join(f"{label}\n" for label in metadata.labels).encode()
    members = {_JSON_NAME: metadata.to_json().encode(), _LABELS_NAME: labels}
    if format_ == "onnx":
        unsealed = (
            _onnx_entry(_MARK, str(FORMAT_VERSION).encode())
            + _onnx_without_ours(model)
            + _onnx_entry(b"labels", labels)
            + _onnx_entry(b"edgeclf", members[_JSON_NAME])
        )
        # The seal's hash is the entry's, and so the file's, last 64 bytes.
        unsealed += _onnx_entry(b"edgeclf.seal", _SEAL_MARK + bytes(64))[:-64]
    else:
        unsealed = _with_zip(format_, model, members)
    return Artifact(format_, metadata, unsealed + _seal_of(unsealed))


def save_artifact(artifact: Artifact, path: str | os.PathLike[str]) -> Artifact:
    """Writes an artifact in one step and returns it with its path."""
    files.write_bytes(Path(path), artifact.content)
    return dataclasses.replace(artifact, path=Path(path))


def _own_version() -> str:
    from importlib.metadata import version  # slow to import, and rarely needed

    return version("edgeclf")


def _read(path: Path) -> tuple[bytes, bytes]:
    """A file's bytes and the seal that fits them; each piece is hashed while a cache holds it."""
    try:
        if not path.is_file():  # a pipe has no size, and a folder or nothing its own error
            content = path.read_bytes()
            return content, _seal_of(memoryview(content)[:-64])
        # Filled in place and handed out without a copy.
        buffer = io.BytesIO(bytes(path.stat().st_size))
        with buffer.getbuffer() as view:
            digest = _digest_of_blocks(lambda a, b: _fill(path, view, a, b), max(0, len(view) - 64))
            _fill(path, view, max(0, len(view) - 64), len(view))
    except OSError as exc:
        raise ArtifactError(f"Cannot read the model {path}: {exc.strerror}.") from exc
    return buffer.getvalue(), digest


def _fill(path: Path, view: memoryview, start: int, end: int) -> bytes:
    """Reads bytes of a file to their places in `view`, and returns their SHA-256."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        while count := file.readinto(view[start : min(start + _PIECE, end)]):
            digest.update(view[start : start + count])
            start += count
    return digest.digest()


def _seal_of(unsealed: bytes | memoryview) -> bytes:
    view = memoryview(unsealed)
    return _digest_of_blocks(lambda a, b: hashlib.sha256(view[a:b]).digest(), len(view))


def _digest_of_blocks(digest_of: Callable[[int, int], bytes], size: int) -> bytes:
    """The seal's digits: the SHA-256 of the SHA-256 of every 4 MiB, so that all CPUs can help.

    Args:
        digest_of: Gives the SHA-256 of the bytes from a first to a last position.
        size: Number of bytes in all.
    """
    starts = range(0, size, _BLOCK)
    ends = [min(start + _BLOCK, size) for start in starts]
    if len(starts) > 1:
        from concurrent.futures import ThreadPoolExecutor  # hashing lets go of the interpreter

        with ThreadPoolExecutor(available_cpus()) as pool:
            digests = list(pool.map(digest_of, starts, ends))
    else:
        digests = [digest_of(start, end) for start, end in zip(starts, ends, strict=True)]
    return hashlib.sha256(b"".join(digests)).hexdigest().encode()


def _check_seal(content: bytes, digest: bytes, name: str) -> None:
    if content[-_SEAL_LENGTH:-64] == _SEAL_MARK and content[-64:] == digest:
        return
    if is_artifact(content):
        raise IntegrityError(
            f"{name} was an edgeclf artifact, but its bytes have changed since it was written: "
            "its seal does not fit. Copy or convert it again."
        )
    raise ArtifactError(
        f"{name} is not an edgeclf artifact: it carries no seal. Expected a .tflite, .onnx or "
        ".keras file written by 'edgeclf convert' or 'edgeclf train'."
    )


def _stored_member(content: bytes, name: str) -> bytes | None:
    """Our JSON in the zip archive; never unpacked, as a small file could unpack to gigabytes."""
    try:
        members = {member.name: member for member in read_members(content, _SEAL_LENGTH)}
        ours = members.get(_JSON_NAME)
        if ours is None:
            return None
        if not ours.stored:
            raise ArtifactError(
                f"{name} holds compressed metadata, which edgeclf never writes. Convert the model "
                "again."
            )
        return read_stored(content, ours)
    except ValueError as exc:
        raise ArtifactError(
            f"{name} is sealed but its archive is damaged: {exc}. Convert the model again."
        ) from exc


def _detect_format(content: bytes) -> Format:
    if content[4:8] == b"TFL3":
        return "tflite"
    if content[:2] == b"PK":
        return "keras"
    return "onnx"


def _with_zip(format_: Format, model: bytes, members: Mapping[str, bytes]) -> bytes:
    """The model with `members` in a zip at its end, up to and without the seal's hash."""
    import zipfile  # a device only reads

    buffer = io.BytesIO()
    kept: dict[str, bytes] = {}
    if format_ == "tflite":
        buffer.write(_marked_flatbuffer(model))
    else:
        with zipfile.ZipFile(io.BytesIO(model)) as source:
            kept = {n: source.read(n) for n in source.namelist() if n not in _OUR_MEMBERS}
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, content in {**members, **kept}.items():
            # A fixed date keeps the same model the same file. Nothing is compressed: MediaPipe
            # refuses a TFLite file with a compressed member.
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)
        archive.comment = _SEAL_MARK + b"0" * 64
    return buffer.getvalue()[:-64]


def _marked_flatbuffer(model: bytes) -> bytes:
    """The flatbuffer with the mark after its header; all its offsets but the root's are relative.

    Buffers outside the flatbuffer, which are found by absolute offsets, must have been taken in.
    """
    if model[8:24] == _MARK:  # sealed before: the flatbuffer ends where the zip begins
        try:
            return model[: min(member.position for member in read_members(model, _SEAL_LENGTH))]
        except ValueError as exc:
            raise ArtifactError(f"The sealed model's archive is damaged: {exc}.") from exc
    root = int.from_bytes(model[:4], "little") + len(_MARK)
    return root.to_bytes(4, "little") + model[4:8] + _MARK + model[8:]


def _onnx_entry(key: bytes, value: bytes) -> bytes:
    """One metadata_props field: StringStringEntryProto {1: key, 2: value} in wire format."""
    pair = b"\x0a" + _varint(len(key)) + key + b"\x12" + _varint(len(value)) + value
    return _varint(_ONNX_METADATA_FIELD << 3 | 2) + _varint(len(pair)) + pair


def _onnx_metadata(content: bytes) -> Iterator[tuple[str, bytes]]:
    for number, start, end in _protobuf_fields(content, 0, len(content)):
        if number == _ONNX_METADATA_FIELD:
            pair = {n: content[a:b] for n, a, b in _protobuf_fields(content, start, end)}
            yield pair.get(1, b"").decode(errors="replace"), pair.get(2, b"")


def _onnx_without_ours(model: bytes) -> bytes:
    """The model without mark, metadata and seal of an earlier sealing."""
    begin = position = 0
    for number, start, end in _protobuf_fields(model, 0, len(model)):
        if number == _ONNX_METADATA_FIELD:
            pair = {n: model[a:b] for n, a, b in _protobuf_fields(model, start, end)}
            if pair.get(1) == _MARK:
                begin = end
            elif pair.get(1) == b"labels" and begin:
                return model[begin:position]
        position = end
    return model[begin:]


def _protobuf_fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Walks the fields of one protobuf message: (number, start of payload, end of payload)."""
    while position < end:
        tag, position = _read_varint(data, position, end)
        wire_type = tag & 7
        start = position
        if wire_type == 0:
            _, position = _read_varint(data, position, end)
        elif wire_type == 2:
            length, start = _read_varint(data, position, end)
            position = start + length
        else:
            position += {1: 8, 5: 4}.get(wire_type, end + 1)
        if position > end:
            raise ArtifactError("The file is neither TFLite, Keras nor ONNX, or is cut short.")
        yield tag >> 3, start, position


def _read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 64:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise ArtifactError("The file is neither TFLite, Keras nor ONNX, or is cut short.")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
