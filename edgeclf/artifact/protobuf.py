"""The wire format of Protocol Buffers, as far as ONNX files need it: reading and writing fields.

After "Encoding" in the Protocol Buffers documentation: a field is a tag (number and wire type),
then a varint, or a length and that many bytes, or 4 or 8 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgeclf.errors import ArtifactError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


def read_fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Walks the fields of one protobuf message: (number, start of payload, end of payload)."""
    while position < end:
        tag, position = _read_varint(data, position, end)
        wire_type = tag & 7
        start = position
        if wire_type == _VARINT:
            _, position = _read_varint(data, position, end)
        elif wire_type == _BYTES:
            length, start = _read_varint(data, position, end)
            position = start + length
        else:
            position += {_FIXED64: 8, _FIXED32: 4}.get(wire_type, end + 1)
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


def write_varint(value: int) -> bytes:
    """A non-negative integer, seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def write_bytes(number: int, payload: bytes) -> bytes:
    """A length-delimited field: text, bytes or a message."""
    return write_varint(number << 3 | _BYTES) + write_varint(len(payload)) + payload


def write_number(number: int, value: int) -> bytes:
    """A field that is a non-negative integer."""
    return write_varint(number << 3 | _VARINT) + write_varint(value)
