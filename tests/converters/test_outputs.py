"""What a conversion would write over is looked at before the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import edgeclf
from edgeclf import SourceSpec
from edgeclf.artifact import Metadata, save_artifact, seal_artifact
from edgeclf.converters import _CONVERTERS, pipeline
from edgeclf.converters.base import Source, Target
from edgeclf.converters.config import ConversionConfig
from edgeclf.converters.outputs import check_outputs, file_name
from edgeclf.errors import ConversionError, OptionError
from edgeclf.image import ImageSpec
from support.onnx_models import SIZE, model, nodes, tensor, weights

INT8 = [Target.parse("int8.tflite")]


class Foreign:
    """A converter of another package, from before there were quantised sources."""

    format: ClassVar[str] = "onnx"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8")

    def __init__(self, source: Source) -> None:
        raise AssertionError(f"it was given {source.quantized}")


@pytest.fixture(autouse=True)
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    built_in = {**_CONVERTERS._built_in, "foreign": f"{__name__}:Foreign"}
    monkeypatch.setattr(_CONVERTERS, "_built_in", built_in)


def test_the_name_says_the_format_where_the_converter_is_called_otherwise() -> None:
    assert file_name("m", Target.parse("int8.tflite")) == "m.int8.tflite"
    assert file_name("m", Target.parse("int8.foreign")) == "m.int8.foreign.onnx"


@pytest.mark.parametrize("name", ["m.int8.tflite", "m.fp16.tflite"])  # the latter by a fallback
def test_somebody_elses_file_is_not_written_over(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x1c\0\0\0TFL3, of somebody else")
    with pytest.raises(OptionError, match=rf"{name} is no artifact of edgeclf.*--out"):
        check_outputs(tmp_path, "m", INT8, ConversionConfig())
    check_outputs(tmp_path, "m", [Target.parse("fp32.tflite")], ConversionConfig())


def test_an_artifact_is_written_over_and_a_folder_is_not(tmp_path: Path) -> None:
    own = seal_artifact(b"", Metadata("m", ("a", "b"), ImageSpec(8, 8)))
    save_artifact(own, tmp_path / "m.int8.tflite")
    check_outputs(tmp_path, "m", INT8, ConversionConfig())
    (tmp_path / "m.fp16.tflite").mkdir()
    with pytest.raises(OptionError, match=r"m\.fp16\.tflite.*it is no file"):
        check_outputs(tmp_path, "m", INT8, ConversionConfig())


def test_it_is_looked_at_before_the_model_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    onnx.save(model(), tmp_path / "m.onnx")
    (tmp_path / "m.fp16.onnx").write_text("mine")
    monkeypatch.setattr(pipeline, "open_evaluation", lambda *_: pytest.fail("worked first"))
    spec = SourceSpec(labels=tmp_path / "labels.txt", layout="nchw")
    with pytest.raises(OptionError, match=r"m\.fp16\.onnx is no artifact"):
        edgeclf.convert(tmp_path / "m.onnx", to=["fp16.onnx"], source=spec)
    assert (tmp_path / "m.fp16.onnx").read_text() == "mine"


def test_a_quantised_source_is_for_converters_that_say_they_take_it(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    onnx.save(quantized(), tmp_path / "m.onnx")
    spec = SourceSpec(labels=tmp_path / "labels.txt", layout="nchw")
    message = r"m\.onnx is quantised already: static, QDQ.*converter foreign takes only"
    with pytest.raises(ConversionError, match=message):
        edgeclf.convert(tmp_path / "m.onnx", to=["int8.foreign"], source=spec)
    (artifact,) = edgeclf.convert(tmp_path / "m.onnx", to=["int8.onnx"], source=spec)
    assert artifact.metadata.precision == "int8"


def quantized() -> Any:
    """The plain model with its input in the steps of a byte."""
    scale = numpy_helper.from_array(np.float32(1), "scale")
    zero = numpy_helper.from_array(np.uint8(0), "zero")
    steps = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
    ]
    return model(
        [*steps, *nodes("d")],
        inputs=[tensor("x", ["N", 3, SIZE, SIZE])],
        initializers=[*weights(), scale, zero],
    )
