from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import edgeclf
from edgeclf.artifact import load_artifact, save_artifact, seal_artifact
from edgeclf.certificate import make_certificate
from edgeclf.classifier import Classifier
from edgeclf.converters.base import Target
from edgeclf.converters.gate import compare
from edgeclf.errors import (
    ArtifactError,
    DataError,
    IntegrityError,
    OptionError,
    QualityGateError,
    VerificationError,
)

TARGETS = ("fp32.tflite", "int8.tflite", "fp32.onnx", "int8.onnx")


@pytest.mark.parametrize("target", TARGETS)
def test_an_artifact_tells_where_it_comes_from(run: Path, target: str) -> None:
    source = load_artifact(run / "mugs.keras")
    metadata = load_artifact(run / f"mugs.{target}").metadata
    assert metadata.labels == ("white", "black", "blue", "transparent")
    assert f"{metadata.precision}.{load_artifact(run / f'mugs.{target}').format}" == target
    assert metadata.training == source.metadata.training
    assert metadata.parameters == source.metadata.parameters
    assert metadata.accuracy is not None and metadata.certificate is not None
    assert metadata.accuracy["source"] == source.metadata.accuracy["source"]  # type: ignore[index]
    assert metadata.accuracy["artifact"]["images"] == 24
    assert 1 <= len(metadata.certificate["images"]) <= 4
    if "int8" in target:
        assert metadata.calibration is not None and metadata.quantization is not None
        assert metadata.calibration["images"] == 48
    else:
        assert metadata.calibration is None and metadata.quantization is None


def test_conversion_report_holds_every_comparison(run: Path) -> None:
    report = json.loads((run / "mugs.conversion.json").read_text())
    assert list(report["results"]) == [f"mugs.{t}" for t in TARGETS]
    for result in report["results"].values():
        assert result["passed"] and result["images"] == 24
        assert set(result["per_class"]) == {"white", "black", "blue", "transparent"}
    assert report["results"]["mugs.fp32.tflite"]["max_change"] < 1e-4


def operators(model: bytes) -> list[str]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=_reference_kernels(),
    )
    return [op["op_name"] for op in interpreter._get_ops_details()]


def _reference_kernels() -> object:
    from ai_edge_litert.interpreter import OpResolverType

    return OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def test_int8_tflite_normalises_for_nothing(run: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    content = load_artifact(run / "mugs.int8.tflite").content
    names = operators(content)
    assert names[0] == "QUANTIZE" and names[-2:] == ["DEQUANTIZE", "SOFTMAX"]
    assert not {"CAST", "MUL", "SUB"} & set(names)
    interpreter = Interpreter(model_content=content)
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["dtype"] == np.uint8 and given["quantization"] == (1 / 128, 127)
    assert answer["dtype"] == np.float32
    signature = interpreter.get_signature_list()["serving_default"]
    assert signature == {"inputs": ["image"], "outputs": ["probabilities"]}


def test_onnx_has_public_names_and_a_free_batch(run: Path) -> None:
    import onnxruntime

    for target in ("fp32.onnx", "int8.onnx"):
        session = onnxruntime.InferenceSession(
            load_artifact(run / f"mugs.{target}").content, providers=["CPUExecutionProvider"]
        )
        (given,), (answer,) = session.get_inputs(), session.get_outputs()
        assert (given.name, given.type, given.shape[1:]) == ("image", "tensor(uint8)", [96, 96, 3])
        assert (answer.name, answer.type) == ("probabilities", "tensor(float)")
        assert not isinstance(given.shape[0], int)


def test_channels_that_answer_with_their_bias_alone_keep_it() -> None:
    """The quantiser wraps such a bias around int32; see `lift_quiet_channels`."""
    keras = pytest.importorskip("keras")
    from keras import layers

    from edgeclf.artifact import Normalization
    from edgeclf.converters.base import Source
    from edgeclf.converters.tflite import convert_tflite

    image = keras.Input((16, 16, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="normalize")(image)
    x = layers.Conv2D(8, 3, name="conv")(x)
    x = layers.ReLU(6.0)(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dense(3, name="logits")(x)
    model = keras.Model(image, layers.Softmax(name="probabilities")(x))
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.2, (3, 3, 3, 8))
    kernel[..., :4] = rng.normal(0, 1e-18, (3, 3, 3, 4))
    bias = np.array([5, 4, 3, 2, 0, 0, 0, 0.0])
    model.get_layer("conv").set_weights([kernel, bias])
    model.get_layer("logits").set_weights([rng.normal(0, 0.4, (8, 3)), np.zeros(3)])
    images = rng.integers(0, 256, (32, 16, 16, 3), np.uint8)
    content = convert_tflite(
        Source(model, Normalization(), images), Target.parse("int8.tflite")
    ).content
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    expected = model.predict_on_batch(images)
    for index in range(8):
        interpreter.set_tensor(given["index"], images[index : index + 1])
        interpreter.invoke()
        assert np.abs(interpreter.get_tensor(answer["index"])[0] - expected[index]).max() < 0.03


def test_the_gate_compares_per_class() -> None:
    targets = np.array([0, 0, 1, 1])
    source = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], np.float32)
    other = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.5, 0.5]], np.float32)
    result = compare(source, other, targets, ["a", "b"])
    assert (result.source_top1, result.artifact_top1, result.drop) == (0.75, 0.5, 0.25)
    assert result.top1_agreement == 0.75
    assert result.max_change == pytest.approx(0.4)
    assert result.per_class == {
        "a": {"source": 1.0, "artifact": 0.5},
        "b": {"source": 0.5, "artifact": 0.5},
    }
    assert result.passes(0.25) and not result.passes(0.24)


def test_a_result_that_answers_differently_is_not_written(
    run: Path, mugs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A converter that swaps the classes' order, the classic silent mistake."""
    from edgeclf.converters import pipeline

    shutil.copy(run / "mugs.keras", tmp_path)
    (tmp_path / "mugs.fp32.tflite").write_bytes(b"from an earlier run")
    honest = pipeline._CONVERTERS["tflite"]

    def swapped(source: object, target: Target) -> object:
        from keras import layers, models

        model = source.model  # type: ignore[attr-defined]
        flipped = layers.Lambda(lambda x: x[:, ::-1])(model.output)
        return honest(dataclasses.replace(source, model=models.Model(model.input, flipped)), target)  # type: ignore[type-var, arg-type]

    monkeypatch.setitem(pipeline._CONVERTERS, "tflite", swapped)
    with pytest.raises(QualityGateError, match=r"mugs\.fp32\.tflite loses .*not written"):
        edgeclf.convert(
            tmp_path / "mugs.keras", evaluation=mugs / "eval", to=["fp32.tflite", "fp32.onnx"]
        )
    assert not (tmp_path / "mugs.fp32.tflite").exists()
    assert (tmp_path / "mugs.fp32.onnx").exists()
    report = json.loads((tmp_path / "mugs.conversion.json").read_text())
    assert not report["results"]["mugs.fp32.tflite"]["passed"]
    assert report["results"]["mugs.fp32.onnx"]["passed"]


def test_unusable_requests(run: Path, mugs: Path) -> None:
    model, evaluation = run / "mugs.keras", mugs / "eval"
    with pytest.raises(OptionError, match="--calibration"):
        edgeclf.convert(model, evaluation=evaluation, to=["int8.tflite"])
    with pytest.raises(OptionError, match=r"'int3\.tflite'; expected one of fp32\.tflite"):
        edgeclf.convert(model, evaluation=evaluation, to=["int3.tflite"])
    with pytest.raises(OptionError, match="tolerance"):
        edgeclf.convert(model, evaluation=evaluation, tolerance=3)
    with pytest.raises(DataError, match="in both sets"):
        edgeclf.convert(model, evaluation=evaluation, calibration=evaluation)
    with pytest.raises(ArtifactError, match=r"expected the \.keras one"):
        edgeclf.convert(run / "mugs.fp32.onnx", evaluation=evaluation, to=["fp32.tflite"])


@pytest.mark.parametrize("target", TARGETS)
def test_verify_repeats_the_certificate(run: Path, target: str) -> None:
    result = edgeclf.verify(run / f"mugs.{target}")
    assert result.images >= 1 and result.max_change <= result.tolerance


def test_verify_notices_another_model(run: Path, tmp_path: Path) -> None:
    artifact = load_artifact(run / "mugs.fp32.onnx")
    certificate = json.loads(json.dumps(artifact.metadata.certificate))
    certificate["images"][0]["artifact"] = certificate["images"][0]["artifact"][::-1]
    changed = dataclasses.replace(artifact.metadata, certificate=certificate)
    save_artifact(seal_artifact(artifact.content, changed), tmp_path / "changed.onnx")
    with pytest.raises(VerificationError, match="golden images"):
        edgeclf.verify(tmp_path / "changed.onnx")


def test_verify_needs_a_certificate_and_an_intact_file(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no certificate"):
        edgeclf.verify(run / "mugs.keras")
    content = bytearray((run / "mugs.int8.tflite").read_bytes())
    content[5000] ^= 4
    (tmp_path / "flipped.tflite").write_bytes(content)
    with pytest.raises(IntegrityError):
        edgeclf.verify(tmp_path / "flipped.tflite")


def test_golden_images_are_lossless_and_few(run: Path, mugs: Path) -> None:
    with Classifier(run / "mugs.int8.tflite") as classifier:
        photos = sorted((mugs / "eval").rglob("*.jpg"))
        from edgeclf.image import load_image

        images = np.stack([load_image(p, classifier.artifact.metadata.image) for p in photos])
        answers = classifier.probabilities(images)
    certificate = make_certificate(images, answers, answers)
    assert len(json.dumps(certificate)) < 150_000
    assert len(certificate["images"]) == len(set(answers.argmax(axis=1)))
