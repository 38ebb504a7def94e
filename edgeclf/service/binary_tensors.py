"""The Open Inference Protocol on the wire: JSON, and behind it tensors as plain bytes.

After Triton's extension "binary tensor data". Whatever a client says of a length is checked against
what it sent before anything is made of it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any, Literal

import numpy as np

from edgeclf.service.asgi import Headers, to_json
from edgeclf.service.intake import parse_json
from edgeclf.service.problem import Problem

HEADER_LENGTH = b"inference-header-content-length"
_MOST_DIMENSIONS = 8
_MOST_ALONG_ONE = 2**31 - 1
_LENGTH = struct.Struct("<I")  # before each element of a BYTES tensor


@dataclass(frozen=True)
class Tensor:
    """One input of a request.

    Attributes:
        name: Of the input.
        datatype: As the client says: ``BYTES``, ``UINT8``, and others.
        shape: Non-negative, at most 8 numbers.
        data: Its bytes from behind the JSON, or the list that the JSON holds.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: memoryview | list[Any]

    @property
    def size(self) -> int:
        """How many elements the shape stands for; 1 without dimensions."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Output:
    """One output of an answer.

    Attributes:
        name: Of the output.
        datatype: What the values are.
        shape: Theirs.
        values: In the order of rows: text for ``BYTES``.
        binary: Whether they go behind the JSON.
    """

    name: str
    datatype: Literal["FP32", "BOOL", "BYTES"]
    shape: tuple[int, ...]
    values: Sequence[Any]
    binary: bool


def split_body(body: bytes, header_length: bytes | None) -> tuple[dict[str, Any], memoryview]:
    """Parts a request into its JSON object and the bytes behind it.

    Args:
        body: All of it.
        header_length: The header ``Inference-Header-Content-Length``; None where all is JSON.

    Raises:
        Problem: 400 the length is impossible, or there is no JSON object.
    """
    length = len(body)
    if header_length is not None:
        digits = header_length.isdigit() and len(header_length) <= 12
        length = int(header_length) if digits else 0
        if not 0 < length <= len(body):
            raise _bad(
                f"Inference-Header-Content-Length is {short(header_length.decode('latin-1'))}; "
                f"expected the length of the JSON that the body of {len(body):,} bytes begins with."
            )
    document = parse_json(body[:length])
    if not isinstance(document, dict):
        raise _bad(f"The JSON is {short(document)}; expected an object with 'inputs'.")
    return document, memoryview(body)[length:]


def read_tensors(document: dict[str, Any], rest: memoryview) -> list[Tensor]:
    """The inputs of a request.

    Args:
        document: Its JSON.
        rest: What follows the JSON: the inputs of bytes, in their order, and nothing else.

    Raises:
        Problem: 400 they are not what the protocol says, or their lengths do not fit the body.
    """
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise _bad(f"'inputs' is {short(inputs)}; expected a list of tensors.")
    tensors: list[Tensor] = []
    start = 0
    for entry in inputs:
        if not isinstance(entry, dict):
            raise _bad(f"An input is {short(entry)}; expected an object.")
        name, datatype = (_text(entry, key) for key in ("name", "datatype"))
        size = _binary_size(entry, name)
        if size is None:
            data = entry.get("data")
            if not isinstance(data, list):
                raise _bad(
                    f"The input {short(name)} has as 'data' {short(data)}; expected a list, or "
                    "bytes behind the JSON and their 'binary_data_size'."
                )
            tensors.append(Tensor(name, datatype, _shape(entry, name), data))
            continue
        if "data" in entry:
            raise _bad(f"The input {short(name)} has both 'data' and 'binary_data_size'.")
        if size > len(rest) - start:
            raise _bad(
                f"The input {short(name)} has a binary_data_size of {size}, and {len(rest) - start}"
                " bytes are left behind the JSON (of which Inference-Header-Content-Length gives "
                "the length)."
            )
        tensors.append(Tensor(name, datatype, _shape(entry, name), rest[start : start + size]))
        start += size
    if start != len(rest):
        raise _bad(
            f"{len(rest)} bytes are behind the JSON, and the inputs' binary_data_size add up to "
            f"{start}."
        )
    return tensors


def read_elements(tensor: Tensor) -> list[bytes]:
    """The elements of a ``BYTES`` tensor whose data are bytes: a length of 4 before each.

    Raises:
        Problem: 400 the lengths do not fit data and shape.
    """
    data = tensor.data
    assert isinstance(data, memoryview)
    if tensor.size * _LENGTH.size > len(data):
        raise _bad(
            f"The input {short(tensor.name)} of shape {list(tensor.shape)} has {len(data)} bytes, "
            f"less than the lengths of its {tensor.size} elements take."
        )
    elements: list[bytes] = []
    start = 0
    for index in range(tensor.size):
        begin = start + _LENGTH.size
        length = _LENGTH.unpack_from(data, start)[0] if begin <= len(data) else None
        if length is None or length > len(data) - begin:
            raise _bad(
                f"Element {index} of the input {short(tensor.name)} has a length of "
                f"{length}, and {max(0, len(data) - begin)} bytes are left."
            )
        start = begin + length
        elements.append(bytes(data[begin:start]))
    if start != len(data):
        raise _bad(
            f"The {tensor.size} elements of the input {short(tensor.name)} end after {start} of "
            f"its {len(data)} bytes."
        )
    return elements


def write_answer(document: dict[str, Any], outputs: Sequence[Output]) -> tuple[bytes, Headers]:
    """The body of an answer, and the headers that say how it is to be read.

    Args:
        document: The JSON without its outputs.
        outputs: What to add.
    """
    entries = []
    parts = [b""]
    for output in outputs:
        entry: dict[str, Any] = {
            "name": output.name, "datatype": output.datatype, "shape": list(output.shape),
        }  # fmt: skip
        if output.binary:
            parts.append(_to_bytes(output))
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = list(output.values)
        entries.append(entry)
    parts[0] = to_json({**document, "outputs": entries})
    if len(parts) == 1:
        return parts[0], []
    return b"".join(parts), [(HEADER_LENGTH, str(len(parts[0])).encode())]


def _to_bytes(output: Output) -> bytes:
    if output.datatype == "FP32":
        return np.asarray(output.values, "<f4").tobytes()
    if output.datatype == "BOOL":
        return np.asarray(output.values, np.bool_).tobytes()
    texts = [value.encode("utf-8", "replace") for value in output.values]
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise _bad(f"An input has as '{key}' {short(value)}; expected text.")
    return value


def _shape(entry: dict[str, Any], name: str) -> tuple[int, ...]:
    shape = entry.get("shape")
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS or not all(
        type(size) is int and 0 <= size <= _MOST_ALONG_ONE for size in shape
    ):  # fmt: skip
        raise _bad(
            f"The input {short(name)} has the shape {short(shape)}; expected a list of at most "
            f"{_MOST_DIMENSIONS} whole numbers from 0."
        )
    return tuple(shape)


def _binary_size(entry: dict[str, Any], name: str) -> int | None:
    parameters = entry.get("parameters", {})
    if not isinstance(parameters, dict):
        raise _bad(f"The input {short(name)} has as 'parameters' {short(parameters)}; expected "
                   "an object.")  # fmt: skip
    if "shared_memory_region" in parameters:
        raise _bad(f"The input {short(name)} is in shared memory, which is not read here; send "
                   "its bytes.")  # fmt: skip
    if "binary_data_size" not in parameters:
        return None
    size = parameters["binary_data_size"]
    if type(size) is not int or size < 0:
        raise _bad(f"The input {short(name)} has a binary_data_size of {short(size)}; expected a "
                   "whole number from 0.")  # fmt: skip
    return size


def _bad(message: str) -> Problem:
    return Problem(400, "bad_tensor", message)
