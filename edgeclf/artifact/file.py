"""One model file that knows itself: model, labels, preprocessing, provenance, certificate.

The metadata is one JSON document, kept where each format has room for it. A magic number near the
first byte says what the file is, also when its end is missing, and every file ends in a seal: a
SHA-256 over all bytes before it. So one comparison, made before any parser sees a byte, tells
whether anything in the file has changed. docs/artifact.md specifies the format.

    NAME.PRECISION.tflite   flatbuffer, its root 16 bytes further on to leave room for the magic,
                            then a zip archive with edgeclf.json and labels.txt;
                            the seal is the archive's comment
    NAME.PRECISION.onnx     the magic as a metadata_props entry, the ModelProto, and metadata_props
                            ``labels``, ``edgeclf`` and ``edgeclf.seal`` (a protobuf message may
                            hold its fields in any order)
    NAME.keras              Keras's own zip, with edgeclf.json, which is the first member and so
                            the magic, and labels.txt; the seal is the archive's comment

Nothing here needs a framework, so a device reads what a workstation wrote.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from edgeclf.artifact.features import Features
from edgeclf.artifact.metadata import FORMAT_VERSION, Format, Metadata
from edgeclf.artifact.onnx_metadata import check_whole, read_entries, without_ours, write_entry
from edgeclf.artifact.zip import read_members, read_stored
from edgeclf.errors import ArtifactError, IntegrityError
from edgeclf.system import files
from edgeclf.system.cpu import available_cpus

_JSON_NAME = "edgeclf.json"
_LABELS_NAME = "labels.txt"
_OUR_MEMBERS = (_JSON_NAME, _LABELS_NAME)
MAGIC = b"edgeclf.artifact"  # 16 bytes, so that what follows it in a flatbuffer stays aligned
TFLITE_MARK = b"written by edgeclf"  # in the standard metadata, which tools keep
_REWRITERS = {  # by what their files hold and ours do not
    b"com.microsoft.nchwc": "ONNX Runtime", b"<net name=": "OpenVINO", b"onnxsim.": "onnxsim",
}  # fmt: skip
_SEAL_MAGIC = b"edgeclf.seal:sha256:"
_SEAL_LENGTH = len(_SEAL_MAGIC) + 64
_BLOCK = 4 * 2**20
_PIECE = 2**18  # of a block, small enough to stay in a cache between reading and hashing


@dataclass(frozen=True)
class Artifact:
    """A model file whose seal has been checked.

    Attributes:
        format: The engine format of `content`.
        metadata: What the file knows about itself.
        content: The whole file as the engines take it; each ignores what it does not know.
        path: Where it was read from; None for bytes.

    Examples:
        >>> from edgeclf import ImageSpec, Metadata
        >>> from edgeclf.artifact import seal_artifact
        >>> empty = b""  # an ONNX model without any nodes
        >>> artifact = seal_artifact(empty, Metadata("mugs", ("black", "white"), ImageSpec(96, 96)))
        >>> artifact.format, artifact.metadata.labels, len(artifact.sha256)
        ('onnx', ('black', 'white'), 64)
    """

    format: Format
    metadata: Metadata
    content: bytes = field(repr=False)
    path: Path | None = None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, hex: what any tool gives for it."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def features(self) -> Features:
        """The member `Metadata.features`, read once.

        Raises:
            ArtifactError: The file has none, or it is not what the format says.
        """
        return Features.of(self.metadata, self.content)

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
    marked = MAGIC in front or _JSON_NAME.encode() in front
    is_text = not re.search(rb"[\0-\x08\x0e-\x1f]", front)  # which may tell of one
    return (marked and not is_text) or _SEAL_MAGIC in content[-_SEAL_LENGTH:]


def load_artifact(source: str | os.PathLike[str] | bytes) -> Artifact:
    """Reads an artifact and checks its seal before anything parses it.

    Args:
        source: A path or the file's bytes.

    Returns:
        The artifact, with the file's bytes.

    Raises:
        ArtifactError: The file is missing, is no artifact, has a later format version, or keeps
            weights in another file.
        IntegrityError: The file was an artifact and has been changed or cut short.

    Examples:
        >>> from edgeclf import ImageSpec, IntegrityError, Metadata, load_artifact
        >>> from edgeclf.artifact import save_artifact, seal_artifact
        >>> sealed = seal_artifact(b"", Metadata("mugs", ("black", "white"), ImageSpec(96, 96)))
        >>> artifact = load_artifact(save_artifact(sealed, "mugs.onnx").path)
        >>> artifact.metadata.image.width
        96
        >>> try:
        ...     load_artifact(artifact.content.replace(b"white", b"green"))
        ... except IntegrityError:
        ...     print("changed")
        changed
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
        check_whole(content, name)
        document = dict(read_entries(content)).get("edgeclf")
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

    Raises:
        ArtifactError: The model is not whole: it keeps weights in another file.
    """
    format_ = _detect_format(model)
    labels = "".join(f"{label}\n" for label in metadata.labels).encode()
    members = {_JSON_NAME: metadata.to_json().encode(), _LABELS_NAME: labels}
    if format_ == "onnx":
        check_whole(model, "The ONNX model")
        unsealed = (
            write_entry(MAGIC, str(FORMAT_VERSION).encode())
            + without_ours(model, MAGIC)
            + write_entry(b"labels", labels)
            + write_entry(b"edgeclf", members[_JSON_NAME])
        )
        # The seal's hash is the entry's, and so the file's, last 64 bytes.
        unsealed += write_entry(b"edgeclf.seal", _SEAL_MAGIC + bytes(64))[:-64]
    else:
        unsealed = _with_zip(format_, model, members)
    return Artifact(format_, metadata, unsealed + _seal_of(unsealed))


def save_artifact(artifact: Artifact, path: str | os.PathLike[str]) -> Artifact:
    """Writes an artifact in one step and returns it with its path."""
    files.write_bytes(Path(path), artifact.content)
    return dataclasses.replace(artifact, path=Path(path))


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
    if content[-_SEAL_LENGTH:-64] == _SEAL_MAGIC and content[-64:] == digest:
        return
    damaged = is_artifact(content)
    # Protobuf's own writers put our entries elsewhere; no damage could.
    if content.find(MAGIC, 64) > 0 or (not damaged and TFLITE_MARK in content):
        tool = next((t for mark, t in _REWRITERS.items() if mark in content), "another tool")
        raise IntegrityError(
            f"{name} was an edgeclf artifact, and {tool} has rewritten it: its certificate is not "
            "for this file. Take the file from before, or convert the model again."
        )
    if damaged:
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
        archive.comment = _SEAL_MAGIC + b"0" * 64
    return buffer.getvalue()[:-64]


def _marked_flatbuffer(model: bytes) -> bytes:
    """The flatbuffer with the magic after its header; all its offsets but the root's are relative.

    Buffers outside the flatbuffer, which are found by absolute offsets, must have been taken in.
    """
    if model[8:24] == MAGIC:  # sealed before: the flatbuffer ends where the zip begins
        try:
            return model[: min(member.position for member in read_members(model, _SEAL_LENGTH))]
        except ValueError as exc:
            raise ArtifactError(f"The sealed model's archive is damaged: {exc}.") from exc
    root = int.from_bytes(model[:4], "little") + len(MAGIC)
    return root.to_bytes(4, "little") + model[4:8] + MAGIC + model[8:]
