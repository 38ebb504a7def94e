"""A model with its features as a second output: edited in memory, while the file stays sealed.

The layouts are those of FlatBuffers' "Internals" and of the schemas of TFLite and ONNX; the numbers
below are positions of fields there. docs/artifact.md says what is edited.
"""

from __future__ import annotations

from struct import pack, unpack_from

from edgeclf.artifact import Artifact
from edgeclf.artifact.protobuf import read_fields, write_bytes
from edgeclf.errors import ArtifactError, mapped

_OUTPUT_NAME = b"features"


def with_features_output(artifact: Artifact) -> bytes:
    """The model of a ``.tflite`` or ``.onnx`` artifact with its features as second output.

    Raises:
        ArtifactError: The file does not say where its features are, or its graph has no tensor of
            that name.
    """
    features = artifact.features
    edit = tflite_with_output if artifact.format == "tflite" else onnx_with_output
    with mapped(ArtifactError, "The model cannot be edited to give its features"):
        model = edit(artifact.model_content, features.tensor.encode())
    if model is None:
        raise no_such_tensor(artifact)
    return model


def no_such_tensor(artifact: Artifact) -> ArtifactError:
    """What to raise where the graph has no tensor, or layer, of the name in the metadata."""
    tensor = artifact.features.tensor
    return ArtifactError(
        f"The file of {artifact.metadata.name} says that its features are in {tensor!r}, but there "
        "is no such tensor in its graph: the model was changed. Convert it again."
    )


def onnx_with_output(model: bytes, name: bytes) -> bytes | None:
    """An ONNX model with a tensor as one more output; None if no node gives one of that name."""
    outputs = (
        model[start:end]
        for number, *graph in read_fields(model, 0, len(model)) if number == 7
        for number, *node in read_fields(model, *graph) if number == 1
        for number, start, end in read_fields(model, *node) if number == 2
    )  # fmt: skip
    if name not in outputs:
        return None
    # Of a field that occurs twice, a reader merges the messages: here the lists of outputs.
    return model + write_bytes(7, write_bytes(12, write_bytes(1, name)))


def tflite_with_output(model: bytes, name: bytes) -> bytes | None:
    """A flatbuffer with a tensor as one more output; None if its first graph has none so named."""
    data = bytearray(model)
    root = _target(data, 0)
    graph = _target(data, _vector(data, _field(data, root, 2))[0])
    tensors = _vector(data, _field(data, graph, 0))
    names = [_text(data, _field(data, _target(data, place), 3)) for place in tensors]
    if name not in names:
        return None
    index, outputs = names.index(name), _field(data, graph, 2)
    indices = [_number(data, place) for place in _vector(data, outputs)] + [index]
    _point(data, outputs, pack(f"<{len(indices) + 1}I", len(indices), *indices))
    if signatures := _field(data, root, 7):
        signature = _target(data, _vector(data, signatures)[0])
        outputs = _field(data, signature, 1)
        maps = [_target(data, place) for place in _vector(data, outputs)]
        named = [
            (_text(data, _field(data, table, 0)), _number(data, _field(data, table, 1)))
            for table in maps
        ]
        _point(data, outputs, _tensor_maps([*named, (_OUTPUT_NAME, index)]))
    return bytes(data)


def _tensor_maps(named: list[tuple[bytes, int]]) -> bytes:
    """A vector of the tables that name a signature's tensors, which it holds by index.

    In this order: the vector, the table of fields that all tables share, the tables, the names.
    """
    count = len(named)
    fields = 4 + 4 * count
    tables, names = fields + 8, fields + 8 + 12 * count
    starts = [tables + 12 * number for number in range(count)]
    head = pack(f"<{count + 1}I", count, *(s - 4 * (n + 1) for n, s in enumerate(starts)))
    head += pack("<4H", 8, 12, 4, 8)
    texts = b""
    for start, (name, index) in zip(starts, named, strict=True):
        head += pack("<iII", start - fields, names + len(texts) - (start + 4), index)
        texts += _aligned(pack("<I", len(name)) + name + b"\0")
    return head + texts


def _number(data: bytearray, position: int) -> int:
    value: int = unpack_from("<I", data, position)[0]
    return value


def _target(data: bytearray, position: int) -> int:
    """Where an offset leads."""
    return position + _number(data, position)


def _field(data: bytearray, table: int, number: int) -> int:
    """Where a field of a table is; 0 for one left out."""
    fields = table - unpack_from("<i", data, table)[0]
    size, place = unpack_from("<H", data, fields)[0], 4 + 2 * number
    offset: int = unpack_from("<H", data, fields + place)[0] if place < size else 0
    return table + offset if offset else 0


def _vector(data: bytearray, field: int) -> range:
    """The positions of the elements, of 4 bytes each."""
    start = _target(data, field)
    return range(start + 4, start + 4 + 4 * _number(data, start), 4)


def _text(data: bytearray, field: int) -> bytes:
    start = _target(data, field)
    return bytes(data[start + 4 : start + 4 + _number(data, start)]) if field else b""


def _point(data: bytearray, field: int, content: bytes) -> None:
    """Appends what a field points to from now on."""
    data += bytes(-len(data) % 4)
    data[field : field + 4] = pack("<I", len(data) - field)
    data += content


def _aligned(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
