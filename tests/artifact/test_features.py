"""The metadata's member `features`: what is read from it, and what is refused."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import numpy as np
import pytest

from edgeclf.artifact import Features, Metadata, seal_artifact
from edgeclf.errors import ArtifactError
from edgeclf.image import ImageSpec

HEAD = {
    "kind": "dense",
    "weights": base64.b64encode(bytes([127, 0x81, 2, 3, 4, 5])).decode(),
    "scale": base64.b64encode(np.array([0.5, 2], "<f4").tobytes()).decode(),
}
STORED = {"kind": "stored", "position": 4, "type": "int8", "by_class": True,
          "scale": HEAD["scale"]}  # fmt: skip
RECORD = {
    "tensor": "relu", "layout": "nchw", "shape": [6, 5, 3], "pooling": "mean", "head": HEAD
}  # fmt: skip


def metadata(**changes: Any) -> Metadata:
    return Metadata("mugs", ("a", "b"), ImageSpec(8, 8), features={**RECORD, **changes})


def test_the_member_is_read_and_survives_the_file() -> None:
    written = metadata()
    assert Metadata.from_json(written.to_json()) == written
    features = Features.of(written)
    assert features == Features("relu", "nchw", (6, 5, 3))
    assert features.head is not None and features.head.dtype == np.float32
    assert features.head.tolist() == [[63.5, -254.0], [1.0, 6.0], [2.0, 10.0]]


def test_an_artifact_reads_the_member_once() -> None:
    artifact = seal_artifact(b"", metadata())
    assert artifact.features == Features.of(metadata())
    assert artifact.features is artifact.features


def test_a_head_may_be_where_the_graph_has_it() -> None:
    content = bytes(4) + bytes([127, 1, 2, 0x81, 3, 5]) + bytes(2)
    head = Features.of(metadata(head=STORED), content).head
    assert head is not None and head.dtype == np.float32
    assert head.tolist() == [[63.5, -254.0], [0.5, 6.0], [1.0, 10.0]]
    whole = {**STORED, "type": "float16", "by_class": False, "position": 2,
             "scale": base64.b64encode(np.ones(1, "<f4").tobytes()).decode()}  # fmt: skip
    values = np.arange(6, dtype="<f2")
    head = Features.of(metadata(head=whole), b"xx" + values.tobytes()).head
    assert head is not None and head.dtype == np.float32
    assert head.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_head_may_be_left_out() -> None:
    assert Features.of(metadata(head=None)).head is None


def test_a_file_without_features_says_so() -> None:
    with pytest.raises(ArtifactError, match=r"of mugs does not say where .* Convert the model"):
        Features.of(dataclasses.replace(metadata(), features=None))


@pytest.mark.parametrize(
    "changes",
    [
        {"tensor": 3},
        {"layout": "hwc"},
        {"shape": [6, 5]},
        {"shape": [6, 0, 3]},
        {"shape": "six"},
        {"pooling": "max"},
        {"head": {**HEAD, "kind": "perceptron"}},
        {"head": {**HEAD, "weights": "no base64!"}},
        {"head": {**HEAD, "weights": HEAD["weights"][:4]}},
        {"head": {**HEAD, "scale": base64.b64encode(bytes(12)).decode()}},
        {"head": {**HEAD, "scale": base64.b64encode(np.array([1, np.nan], "<f4")).decode()}},
        {"head": {"kind": "dense"}},
        {"head": {**STORED, "position": 10}},
        {"head": {**STORED, "position": -1}},
        {"head": {**STORED, "position": "4"}},
        {"head": {**STORED, "type": "int4"}},  # a type of numpy's where ml_dtypes is imported
        {"head": {**STORED, "type": "int16"}},
        {"head": "dense"},
    ],
)
def test_what_the_format_does_not_say_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=r"of mugs says of its features what cannot be read"):
        Features.of(metadata(**changes), bytes(12))


@pytest.mark.parametrize("name", RECORD)
def test_every_entry_is_needed(name: str) -> None:
    features = {key: value for key, value in RECORD.items() if key != name}
    with pytest.raises(ArtifactError, match=name):
        Features.of(dataclasses.replace(metadata(), features=features))


def test_features_that_are_no_object_are_refused_on_reading() -> None:
    text = metadata().to_json().replace('"features": {', '"features": 3, "kept": {')
    with pytest.raises(ArtifactError, match="wrong types: features"):
        Metadata.from_json(text)
