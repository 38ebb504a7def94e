"""Lengths that cannot be: each is refused before anything is made of it."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from edgeclf.service.binary_tensors import (
    Output,
    Tensor,
    read_elements,
    read_tensors,
    split_body,
    write_answer,
)
from edgeclf.service.pixel_lists import read_pixels
from edgeclf.service.problem import Problem

HUGE = 10**4000  # as many digits as Python reads of a number


def entry(size: Any = 3, **changed: Any) -> dict[str, Any]:
    whole = {
        "name": "a", "datatype": "UINT8", "shape": [3], "parameters": {"binary_data_size": size},
    }  # fmt: skip
    return {key: value for key, value in {**whole, **changed}.items() if value is not None}


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(Problem) as caught:
        call(*arguments)
    assert caught.value.status == 400
    message = str(caught.value)
    assert len(message) < 400 and "\n" not in message
    return message


@pytest.mark.parametrize(
    "length", [b"-1", b"0", b"14", b"9999999999999", b"9" * 5000, b"", b"1e1", b"+2", "²".encode()]
)
def test_the_length_of_the_json_is_within_the_body(length: bytes) -> None:
    assert "Content-Length" in refused(split_body, b'{"inputs":[]}', length)


def test_what_follows_the_json_is_apart() -> None:
    document, rest = split_body(b'{"inputs": 1}xyz', b"13")
    assert document == {"inputs": 1} and bytes(rest) == b"xyz"


@pytest.mark.parametrize("body", [b"", b"[]", b"3", b"{", b"[" * 10_000, b"\xff"])
def test_the_json_is_an_object(body: bytes) -> None:
    refused(split_body, body, None)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ([entry(-1)], "whole number from 0"),
        ([entry(True)], "whole number from 0"),
        ([entry("3")], "whole number from 0"),
        ([entry(3.0)], "whole number from 0"),
        ([entry(7)], "6 bytes are left"),
        ([entry(HUGE)], None),
        ([entry(3)], "add up to 3"),
        ([entry(3), entry(4)], "3 bytes are left"),
        ([entry(4), entry(4)], "2 bytes are left"),
        ([entry(6, data=[1])], "both"),
        ([entry(parameters=None)], "expected a list"),
        ([entry(parameters=[])], "an object"),
        ([entry(parameters={"shared_memory_region": "x"})], "shared memory"),
        ([entry(6, shape=[-1])], "shape"),
        ([entry(6, shape=[2**31])], "shape"),
        ([entry(6, shape=[HUGE, HUGE])], "shape"),
        ([entry(6, shape=[1] * 9)], "shape"),
        ([entry(6, shape=[True])], "shape"),
        ([entry(6, shape=[3.0])], "shape"),
        ([entry(6, shape="3")], "shape"),
        ([entry(6, shape=None)], "shape"),
        ([entry(6, name=None)], "name"),
        ([entry(6, datatype=3)], "datatype"),
        ([3], "an object"),
        ([], "a list"),
        ({}, "a list"),
        (None, "a list"),
    ],
)
def test_impossible_inputs_are_refused(inputs: Any, says: str | None) -> None:
    if says is None:  # what is as long as this, the message does not repeat
        with pytest.raises(Problem, match="left"):
            read_tensors({"inputs": inputs}, memoryview(b"123456"))
        return
    assert says in refused(read_tensors, {"inputs": inputs}, memoryview(b"123456"))


def test_inputs_share_what_follows_the_json_in_their_order() -> None:
    first, listed, last = read_tensors(
        {"inputs": [entry(2), entry(parameters=None, data=[7]), entry(4)]}, memoryview(b"123456")
    )
    assert bytes(first.data) == b"12" and listed.data == [7] and bytes(last.data) == b"3456"


def elements(data: bytes, *shape: int) -> list[bytes]:
    return read_elements(Tensor("a", "BYTES", shape, memoryview(data)))


def packed(*parts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (packed(b"ab"), (2,)),
        (packed(b"ab", b"c"), (1,)),
        (packed(b"ab")[:-1], (1,)),
        (packed(b"ab") + b"\0", (1,)),
        (b"\xff\xff\xff\xff", (1,)),
        (b"\x02\0\0\0ab\0\0", (2,)),
        (b"", (1,)),
        (packed(b"ab"), (0,)),
        (packed(b"ab"), (2**31 - 1,) * 8),  # more elements than any body holds
    ],
)
def test_the_lengths_of_elements_fit_data_and_shape(data: bytes, shape: tuple[int, ...]) -> None:
    refused(lambda: elements(data, *shape))


def test_elements_are_those_that_were_packed() -> None:
    assert elements(packed(b"", b"ab"), 2, 1) == [b"", b"ab"]
    assert elements(b"", 0) == []


def test_an_answer_has_its_bytes_behind_the_json() -> None:
    outputs = [
        Output("p", "FP32", (1, 2), [0.25, 0.75], True),
        Output("text", "BYTES", (2,), ["ü", ""], True),
        Output("flag", "BOOL", (2,), [True, False], True),
        Output("plain", "FP32", (1,), [0.5], False),
    ]
    body, ((name, length),) = write_answer({"id": "x"}, outputs)
    document, rest = json.loads(body[: int(length)]), body[int(length) :]
    assert name == b"inference-header-content-length" and document["id"] == "x"
    sizes = [o.get("parameters", {}).get("binary_data_size", 0) for o in document["outputs"]]
    assert sizes == [8, 10, 2, 0] and sum(sizes) == len(rest)
    assert np.frombuffer(rest[:8], "<f4").tolist() == [0.25, 0.75]
    assert rest[8:] == packed("ü".encode(), b"") + b"\1\0"
    assert document["outputs"][3]["data"] == [0.5]


def test_pixels_are_whole_numbers_in_lists_of_the_right_lengths() -> None:
    nested = [[[0, 1, 2], [3, 4, 255]]]
    for values in (nested, [0, 1, 2, 3, 4, 255]):
        found = read_pixels(values, (1, 2, 3), "it")
        assert found.dtype == np.uint8 and found.tolist() == nested
    deep: list[Any] = [1]
    for _ in range(900):
        deep = [deep]
    for values, says in (
        ([[[0, 1, 2], [3, 4, 256]]], "above 255"),
        ([[[0, 1, 2], [3, 4, -1]]], "below 0"),
        ([[[0, 1, 2], [3, 4, HUGE]]], "above 255"),
        ([[[0, 1, 2], [3, 4, 5.0]]], "float"),
        ([[[0, 1, 2], [3, 4, "5"]]], "str"),
        ([[[0, 1, 2], [3, 4, None]]], "NoneType"),
        ([[[0, 1, 2], [3, 4]]], "a list of 2"),
        ([[[0, 1, 2], 3]], "no list"),
        ([[[0, 1, 2]]], "a list of 1"),
        ([0, 1, 2], "a list of 3"),
        ([], "a list of 0"),
        (deep, "a list of 1"),
    ):
        assert says in refused(read_pixels, values, (1, 2, 3), "it")
