"""The metadata_props of an ONNX file, read and written without the onnx package, and its weights.

A ModelProto may hold its fields in any order, so ours are put before and behind the model as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeclf.artifact.protobuf import read_fields, write_bytes
from edgeclf.errors import ArtifactError

_METADATA_FIELD = 14  # ModelProto.metadata_props in onnx.proto
_EXTERNAL_FIELD = 13  # TensorProto.external_data
# The fields through which a message of onnx.proto holds tensors.
_TENSOR: dict[int, Any] = {}
_SPARSE = {1: _TENSOR, 2: _TENSOR}
_NODE: dict[int, Any] = {}
_GRAPH = {1: _NODE, 5: _TENSOR, 15: _SPARSE}
_ATTRIBUTE = {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE}
_NODE[5] = _ATTRIBUTE
_MODEL = {7: _GRAPH, 25: {7: _NODE, 11: _ATTRIBUTE}}


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


def check_whole(content: bytes, name: str) -> None:
    """Refuses a model whose weights lie in another file: no seal would cover them.

    Raises:
        ArtifactError: It is one.
    """
    if b"location" in content and _has_external(content, 0, len(content), _MODEL):
        raise ArtifactError(
            f"{name} keeps weights in another file, which no seal covers. 'edgeclf convert' takes "
            "them in."
        )


def _has_external(data: bytes, start: int, end: int, fields: dict[int, Any]) -> bool:
    for number, a, b in read_fields(data, start, end):
        if fields is _TENSOR:
            found = number == _EXTERNAL_FIELD
        else:
            found = number in fields and _has_external(data, a, b, fields[number])
        if found:
            return True
    return False
