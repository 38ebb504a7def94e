"""Every backbone becomes every precision, with weights at random.

Minutes each for most, so three small ones are taken; ``EDGECLF_TEST_BACKBONES=all`` takes all of
`edgeclf backbones`, and ``EDGECLF_TEST_BACKBONES=resnet50,xception`` those.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeclf import Classifier
from edgeclf.artifact import Metadata, seal_artifact
from edgeclf.converters import find_converter
from edgeclf.errors import ConversionError
from edgeclf.networks.builder import BACKBONES
from support import REPOSITORY

pytest.importorskip("litert_quantizer", reason="needs edgeclf[convert]")
pytest.importorskip("tf2onnx", reason="needs edgeclf[convert]")

SIZE = 64
SMALL = ("student-xs", "mobilenet-v2", "mobilenet-v3-small")
ASKED = os.environ.get("EDGECLF_TEST_BACKBONES", "")
TAKEN = {"all": tuple(BACKBONES), "": SMALL}.get(ASKED) or tuple(ASKED.split(","))
TARGETS = [
    f"{precision}.{format_}"
    for format_ in ("tflite", "onnx")
    for precision in find_converter(format_).precisions
]


def bench() -> ModuleType:
    """The script that converts all of them at their real weights."""
    path = REPOSITORY / "benchmarks" / "all_backbones.py"
    spec = importlib.util.spec_from_file_location("all_backbones", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Conversion:
    """One backbone, opened once for each format."""

    def __init__(self, name: str) -> None:
        self.backbone = BACKBONES[name]
        self.source, self.expected = bench().source_of(self.backbone, None, SIZE)

    @cached_property
    def tflite(self) -> Any:
        return find_converter("tflite")(self.source)

    @cached_property
    def onnx(self) -> Any:
        return find_converter("onnx")(self.source)

    def answers(self, precision: str, format_: str) -> Any:
        """Those of an artifact, to the pictures that the source was asked."""
        converter = getattr(self, format_)
        content = converter.convert(converter.recipes(precision)[0]).content
        said = self.source.metadata
        metadata = Metadata(
            said.name, said.labels, said.image, precision, normalization=said.normalization
        )
        with Classifier(seal_artifact(content, metadata)) as classifier:
            return classifier.probabilities(self.source.calibration)


@pytest.fixture(scope="module", params=list(BACKBONES))
def conversion(request: pytest.FixtureRequest) -> Iterator[Conversion]:
    if request.param not in TAKEN:
        pytest.skip("takes minutes: EDGECLF_TEST_BACKBONES=all asks for it")
    made = Conversion(request.param)
    yield made
    made.__dict__.clear()  # of gigabytes, for the larger ones


def test_what_is_asked_for_exists() -> None:
    assert set(TAKEN) <= set(BACKBONES), f"EDGECLF_TEST_BACKBONES is {ASKED!r}"


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_precision_of_every_backbone(conversion: Conversion, target: str) -> None:
    precision, format_ = target.split(".")
    if precision == "int8-full" and not conversion.backbone.normalization.is_exact:
        with pytest.raises(ConversionError, match="int8-full"):
            conversion.answers(precision, format_)
        return
    expected = conversion.expected
    spread = np.abs(expected - expected.mean(axis=0)).mean()
    assert spread > 0.01  # else one answer to all would do
    moved = np.abs(conversion.answers(precision, format_) - expected)
    if precision == "fp32":
        assert moved.max() < 1e-3
    # The answer to another picture, or the same to all, is as far off as they are from each other.
    assert moved.mean() < spread / 2
