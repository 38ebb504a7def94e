"""The metadata_props of an ONNX file, read and written without the onnx package.

A ModelProto may hold its fields in any order, so ours are put before and behind the model as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgeclf.artifact.protobuf import read_fields, write_bytes

_METADATA_FIELD = 14  # ModelProto.metadata_props in onnx.proto


def write_entry(key: bytes, value: bytes) -> bytes:
    """One metadata_props field: StringStringEntryProto {1: key, 2: value}."""
    return write_bytes(_METADATA_FIELD, write_bytes(1, key) + write_bytes(2, value))


def read_entries(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The key and value of every entry.

    Raises:
        ArtifactError: The bytes are no protobuf message.
    """
    for number, start, end in read_fields(content, 0, len(content)):
        if number == _METADATA_FIELD:
            pair = {n: content[a:b] for n, a, b in read_fields(content, start, end)}
            yield pair.get(1, b"").decode(errors="replace"), pair.get(2, b"")


def without_ours(model: bytes, magic: bytes) -> bytes:
    """The model without magic, metadata and seal of an earlier sealing."""
    begin = position = 0
    for number, start, end in read_fields(model, 0, len(model)):
        if number == _METADATA_FIELD:
            pair = {n: model[a:b] for n, a, b in read_fields(model, start, end)}
            if pair.get(1) == magic:
                begin = end
            elif pair.get(1) == b"labels" and begin:
                return model[begin:position]
        position = end
    return model[begin:]
