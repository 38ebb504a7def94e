"""Artifacts in readers that are not ours, which know nothing of edgeclf."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgeclf.artifact import load_artifact
from edgeclf.errors import IntegrityError
from edgeclf.image import load_image
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.tflite_micro import arena_bytes

LABELS = ["white", "black", "blue", "transparent"]


@pytest.fixture(scope="module")
def images(model_folder: Path, mugs: Path) -> np.ndarray:
    spec = load_artifact(model_folder / "mugs.int8.tflite").metadata.image
    return np.stack([load_image(path, spec) for path in sorted((mugs / "eval").rglob("*.jpg"))])


def answers(path: Path, images: np.ndarray) -> np.ndarray:
    with Classifier(path) as classifier:
        return classifier.probabilities(images)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "dynamic", "int8"])
def test_mediapipe_reads_labels_and_answers_alike(
    model_folder: Path, images: np.ndarray, precision: str
) -> None:
    mediapipe = pytest.importorskip("mediapipe", reason="needs edgeclf[interop]")
    from mediapipe.tasks.python import BaseOptions, vision

    path = model_folder / f"mugs.{precision}.tflite"
    expected = answers(path, images)
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(path)))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for image, probabilities in zip(images, expected, strict=True):
            frame = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
            (found,) = classifier.classify(frame).classifications
            assert sorted(c.category_name for c in found.categories) == sorted(LABELS)
            assert found.categories[0].category_name == LABELS[probabilities.argmax()]
            for category in found.categories:
                assert category.score == pytest.approx(probabilities[category.index], abs=1e-5)


# OpenVINO's int8 kernels round elsewhere; its floats differ in the order of their sums.
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 5e-3), ("int8", 0.05)]
)
def test_openvino_answers_alike(
    monkeypatch: pytest.MonkeyPatch,
    model_folder: Path,
    images: np.ndarray,
    precision: str,
    tolerance: float,
) -> None:
    # Hidden: it would report the import to its maker.
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
    openvino = pytest.importorskip("openvino", reason="needs edgeclf[interop]")
    path = model_folder / f"mugs.{precision}.onnx"
    core = openvino.Core()
    found = core.compile_model(core.read_model(path), "CPU")(images)[0]
    assert np.abs(found - answers(path, images)).max() <= tolerance


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_onnx_files_are_what_the_standard_says(model_folder: Path, precision: str) -> None:
    onnx = pytest.importorskip("onnx", reason="needs edgeclf[convert]")
    onnx.checker.check_model(onnx.load(model_folder / f"mugs.{precision}.onnx"), full_check=True)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_plain_onnxruntime_reads_labels_and_answers_the_same(
    model_folder: Path, images: np.ndarray, precision: str
) -> None:
    import onnxruntime

    path = model_folder / f"mugs.{precision}.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"image": images})
    assert np.abs(found - answers(path, images)).max() <= 1e-5
    assert session.get_modelmeta().custom_metadata_map["labels"].splitlines() == LABELS


@pytest.mark.filterwarnings("ignore:Input model is already partially quantized")
def test_what_a_quantizer_makes_of_our_file_is_called_rewritten(model_folder: Path) -> None:
    from litert_quantizer import quantizer, recipe

    path = str(model_folder / "mugs.fp32.tflite")
    made = quantizer.Quantizer(path, recipe.dynamic_wi8_afp32()).quantize().quantized_model
    with pytest.raises(IntegrityError, match="another tool has rewritten it"):
        load_artifact(bytes(made))


def test_tflite_micro_answers_like_litert(model_folder: Path, images: np.ndarray) -> None:
    pytest.importorskip("tflite_micro", reason="needs edgeclf[micro]")
    path = model_folder / "mugs.int8-full.tflite"
    with Classifier(path, runtime="tflite-micro") as classifier:
        found = classifier.probabilities(images)
        assert classifier.describe().name == "tflite-micro"
    expected = answers(path, images)
    # Kernels of integers may differ by a step of rounding; the class by no more than such a tie.
    assert np.abs(found - expected).max() <= 0.05
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.95
    artifact = load_artifact(path)
    assert artifact.metadata.quantization is not None
    assert artifact.metadata.quantization["arena_bytes"] == arena_bytes(artifact) > 96 * 96 * 3


def test_int8_full_is_integers_throughout(model_folder: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        model_content=load_artifact(model_folder / "mugs.int8-full.tflite").content
    )
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["dtype"], given["quantization"]) == (np.int8, (1 / 128, -1))
    assert (answer["dtype"], answer["quantization"]) == (np.int8, (1 / 256, -128))
    assert not any(d["dtype"] == np.float32 for d in interpreter.get_tensor_details())
