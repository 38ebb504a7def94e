from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeclf
from edgeclf.artifact import Features, Metadata, load_artifact, save_artifact, seal_artifact
from edgeclf.converters.base import Recipe, Source, TensorFlowGraph
from edgeclf.converters.gate import compare
from edgeclf.errors import (
    ArtifactError,
    ConversionError,
    DataError,
    IntegrityError,
    OptionError,
    QualityGateError,
    VerificationError,
)
from edgeclf.image import ImageSpec
from edgeclf.inference.classifier import Classifier
from edgeclf.trust.certificate import make_certificate

TARGETS = (
    "fp32.tflite",
    "fp16.tflite",
    "dynamic.tflite",
    "int8.tflite",
    "int8-full.tflite",
    "fp32.onnx",
    "fp16.onnx",
    "int8.onnx",
)


@pytest.mark.parametrize("target", TARGETS)
def test_an_artifact_tells_where_it_comes_from(model_folder: Path, target: str) -> None:
    source = load_artifact(model_folder / "mugs.keras")
    metadata = load_artifact(model_folder / f"mugs.{target}").metadata
    assert metadata.labels == ("white", "black", "blue", "transparent")
    assert f"{metadata.precision}.{load_artifact(model_folder / f'mugs.{target}').format}" == target
    assert metadata.training == source.metadata.training
    assert metadata.parameters == source.metadata.parameters
    assert metadata.accuracy is not None and metadata.certificate is not None
    assert metadata.accuracy["source"] == source.metadata.accuracy["source"]  # type: ignore[index]
    assert metadata.accuracy["artifact"]["images"] == 24
    assert 1 <= len(metadata.certificate["images"]) <= 4
    assert (metadata.quantization is None) == (metadata.precision == "fp32")
    if "int8" in target:
        assert metadata.calibration is not None
        assert metadata.calibration["images"] == len(metadata.calibration["files"]) == 48
    else:
        assert metadata.calibration is None


# What the second output moves in a probability: float kernels may be fused otherwise.
MOVED = {"fp32.onnx": 1e-6, "fp16.onnx": 1e-4}


@pytest.mark.parametrize("target", TARGETS)
def test_an_artifact_gives_its_features_beside_the_same_answers(
    model_folder: Path, mugs: Path, target: str
) -> None:
    artifact = load_artifact(model_folder / f"mugs.{target}")
    features = Features.of(artifact.metadata)
    assert features.shape == (6, 6, 192) and features.head is not None
    photos = sorted((mugs / "eval").rglob("*.jpg"))
    with Classifier(artifact) as plain, Classifier(artifact) as tapped:
        probabilities, maps = tapped.features(photos)
        change = np.abs(probabilities - plain.probabilities(photos)).max()
        assert change <= MOVED.get(target, 0.0)
    logits = maps.mean(axis=(1, 2)) @ features.head
    with Classifier(model_folder / "mugs.keras") as source:
        _, expected = source.features(photos)
        head = Features.of(source.artifact.metadata).head
    assert np.corrcoef(maps.ravel(), expected.ravel())[0, 1] > 0.95
    reference = expected.mean(axis=(1, 2)) @ head
    assert np.corrcoef(logits.ravel(), reference.ravel())[0, 1] > 0.99


def test_conversion_report_holds_every_comparison(model_folder: Path) -> None:
    report = json.loads((model_folder / "mugs.conversion.json").read_text())
    assert list(report["results"]) == [f"mugs.{t}" for t in TARGETS]
    for name, result in report["results"].items():
        comparison = result["comparison"]
        assert result["passed"] and result["file"] == name and comparison["images"] == 24
        assert set(comparison["per_class"]) == {"white", "black", "blue", "transparent"}
        assert len(result["worst_images"]) == 6 and result["attempts"][-1]["passed"]
        assert bool(result["layer_errors"]) == ("int8" in name)
    assert report["results"]["mugs.fp32.tflite"]["comparison"]["max_change"] < 1e-4
    page = (model_folder / "mugs.conversion.html").read_text()
    assert "mugs.int8.onnx" in page and (model_folder / "mugs.conversion.md").exists()


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


def test_int8_tflite_normalises_for_nothing(model_folder: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    content = load_artifact(model_folder / "mugs.int8.tflite").content
    names = operators(content)
    assert names[:3] == ["DEQUANTIZE", "QUANTIZE", "CONV_2D"]  # both by XNNPACK, unlike one alone
    assert names[-3:] == ["DEQUANTIZE", "FULLY_CONNECTED", "SOFTMAX"]
    assert not {"CAST", "MUL", "SUB", "DIV"} & set(names)
    interpreter = Interpreter(model_content=content)
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["dtype"] == np.uint8 and given["quantization"] == (1 / 128, 127)
    assert answer["dtype"] == np.float32
    signature = interpreter.get_signature_list()["serving_default"]
    assert signature == {"inputs": ["image"], "outputs": ["probabilities"]}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "dynamic", "int8"])
def test_tflite_takes_batches_once_resized(model_folder: Path, precision: str) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        model_content=load_artifact(model_folder / f"mugs.{precision}.tflite").content
    )
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["shape"][0] == 1 and given["shape_signature"][0] == -1
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    interpreter.resize_tensor_input(given["index"], images.shape, strict=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], images)
    interpreter.invoke()
    with Classifier(model_folder / f"mugs.{precision}.tflite") as classifier:
        expected = classifier.probabilities(images)
    assert np.abs(interpreter.get_tensor(answer["index"]) - expected).max() < 1e-4


def test_onnx_has_public_names_and_a_free_batch(model_folder: Path) -> None:
    import onnxruntime

    for target in ("fp32.onnx", "fp16.onnx", "int8.onnx"):
        session = onnxruntime.InferenceSession(
            load_artifact(model_folder / f"mugs.{target}").content,
            providers=["CPUExecutionProvider"],
        )
        (given,), (answer,) = session.get_inputs(), session.get_outputs()
        assert (given.name, given.type, given.shape[1:]) == ("image", "tensor(uint8)", [96, 96, 3])
        assert (answer.name, answer.type) == ("probabilities", "tensor(float)")
        assert not isinstance(given.shape[0], int)


def test_channels_that_answer_with_their_bias_alone_keep_it() -> None:
    """The quantiser wraps such a bias around int32; see `raise_dead_channels`."""
    keras = pytest.importorskip("keras")
    from keras import layers

    from edgeclf.converters.tflite import TFLiteConverter

    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, name="conv")(image)
    x = layers.ReLU(6.0)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(3, name="logits")(x)
    model = keras.Model(image, layers.Softmax()(x))
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.2, (3, 3, 3, 8))
    kernel[..., :4] = rng.normal(0, 1e-18, (3, 3, 3, 4))
    bias = np.array([5, 4, 3, 2, 0, 0, 0, 0.0])
    model.get_layer("conv").set_weights([kernel, bias])
    model.get_layer("logits").set_weights([rng.normal(0, 0.4, (8, 3)), np.zeros(3)])
    images = rng.integers(0, 256, (32, 16, 16, 3), np.uint8)
    converter = TFLiteConverter(keras_source(model, ImageSpec(16, 16), images))
    content = converter.convert(Recipe("int8", "min-max")).content
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    expected = model.predict_on_batch((images.astype(np.float32) - 127) / 128)
    for index in range(8):
        interpreter.set_tensor(given["index"], images[index : index + 1])
        interpreter.invoke()
        assert np.abs(interpreter.get_tensor(answer["index"])[0] - expected[index]).max() < 0.03


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_network_without_a_linear_layer_becomes_int8(kind: str) -> None:
    """Nor has an untrained MobileNetV3 one: its biases are zero and fall out of the ONNX graph."""
    keras = pytest.importorskip("keras")
    from keras import layers

    from edgeclf.converters import find_converter

    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, activation="relu", use_bias=False)(image)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(3, activation="softmax")(x))
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    source = keras_source(model, ImageSpec(16, 16), images)
    content = find_converter(kind)(source).convert(Recipe("int8", "min-max")).content
    expected = model.predict_on_batch((images.astype(np.float32) - 127) / 128)
    with Classifier(seal_artifact(content, source.metadata)) as classifier:
        answers = np.array([classifier.classify(each).probabilities for each in images])
    assert np.abs(answers - expected).max() < 0.03


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
    model_folder: Path, mugs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A converter that swaps the classes' order, the classic silent mistake."""
    from edgeclf.converters import exports
    from edgeclf.converters.tflite import TFLiteConverter

    shutil.copy(model_folder / "mugs.keras", tmp_path)
    shutil.copy(model_folder / "mugs.int8.tflite", tmp_path / "mugs.fp32.tflite")

    class Swapped(TFLiteConverter):
        def __init__(self, source: Source) -> None:
            honest = source.graph.function
            graph = TensorFlowGraph(lambda x: honest(x)[:, ::-1], source.graph.variables)
            super().__init__(dataclasses.replace(source, graph=graph))

    find = exports.find_converter
    monkeypatch.setattr(
        exports, "find_converter", lambda name: Swapped if name == "tflite" else find(name)
    )
    # Without labels, as a model that was barely trained may be right as often with them swapped.
    photos = mugs / "eval" / "blue"
    with pytest.raises(QualityGateError, match=r"mugs\.fp32\.tflite changes .*not written"):
        edgeclf.convert(tmp_path / "mugs.keras", evaluation=photos, to=["fp32.tflite", "fp32.onnx"])
    assert not (tmp_path / "mugs.fp32.tflite").exists()
    assert (tmp_path / "mugs.fp32.onnx").exists()
    report = json.loads((tmp_path / "mugs.conversion.json").read_text())
    assert not report["results"]["mugs.fp32.tflite"]["passed"]
    assert report["results"]["mugs.fp32.onnx"]["passed"]


def test_unusable_requests(model_folder: Path, mugs: Path, tmp_path: Path) -> None:
    # In a folder of its own, as one that is refused late leaves a report.
    model, onnx = (
        Path(shutil.copy(model_folder / f"mugs.{ending}", tmp_path))
        for ending in ("keras", "fp32.onnx")
    )
    evaluation = mugs / "eval"
    with pytest.raises(OptionError, match="--calibration"):
        edgeclf.convert(model, evaluation=evaluation, to=["int8.tflite"])
    with pytest.raises(OptionError, match=r"'int3\.tflite'; expected PRECISION"):
        edgeclf.convert(model, evaluation=evaluation, to=["int3.tflite"])
    with pytest.raises(OptionError, match="tolerance"):
        edgeclf.convert(model, evaluation=evaluation, tolerance=3)
    with pytest.raises(DataError, match="in both sets"):
        edgeclf.convert(model, evaluation=evaluation, calibration=evaluation)
    with pytest.raises(OptionError, match=r"no converter 'coreml'; expected one of onnx, tflite"):
        edgeclf.convert(model, evaluation=evaluation, to=["fp32.coreml"])
    with pytest.raises(ConversionError, match="onnx writes fp32, fp16, int8, not dynamic"):
        edgeclf.convert(model, evaluation=evaluation, to=["dynamic.onnx"])
    with pytest.raises(ArtifactError, match=r"is an artifact already, in onnx"):
        edgeclf.convert(onnx, evaluation=evaluation, to=["fp32.tflite"])


@pytest.mark.parametrize("target", TARGETS)
def test_verify_repeats_the_certificate(model_folder: Path, target: str) -> None:
    result = edgeclf.verify(model_folder / f"mugs.{target}")
    assert result.images >= 1 and result.max_change <= result.tolerance


def test_verify_measures_the_accuracy(model_folder: Path, mugs: Path, tmp_path: Path) -> None:
    result = edgeclf.verify(model_folder / "mugs.int8.onnx", data=mugs / "eval")
    accuracy = load_artifact(model_folder / "mugs.int8.onnx").metadata.accuracy
    assert accuracy is not None and result.accuracy is not None
    assert result.accuracy["certified_top1"] == accuracy["artifact"]["top1"]
    assert result.accuracy["top1"] == pytest.approx(accuracy["artifact"]["top1"], abs=0.01)
    other = edgeclf.verify(model_folder / "mugs.int8.onnx", data=mugs / "train").accuracy
    assert other is not None and "certified_top1" not in other and other["images"] == 48

    artifact = load_artifact(model_folder / "mugs.int8.onnx")
    boast = json.loads(json.dumps(accuracy))
    boast["artifact"]["top1"] += 0.05
    metadata = dataclasses.replace(artifact.metadata, accuracy=boast)
    save_artifact(seal_artifact(artifact.content, metadata), tmp_path / "boast.onnx")
    with pytest.raises(VerificationError, match="photos it was certified on"):
        edgeclf.verify(tmp_path / "boast.onnx", data=mugs / "eval")


def test_verify_notices_another_model(model_folder: Path, tmp_path: Path) -> None:
    artifact = load_artifact(model_folder / "mugs.fp32.onnx")
    certificate = json.loads(json.dumps(artifact.metadata.certificate))
    certificate["images"][0]["artifact"] = certificate["images"][0]["artifact"][::-1]
    changed = dataclasses.replace(artifact.metadata, certificate=certificate)
    save_artifact(seal_artifact(artifact.content, changed), tmp_path / "changed.onnx")
    with pytest.raises(VerificationError, match="golden images"):
        edgeclf.verify(tmp_path / "changed.onnx")


def test_verify_needs_a_certificate_and_an_intact_file(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no complete certificate"):
        edgeclf.verify(model_folder / "mugs.keras")
    content = bytearray((model_folder / "mugs.int8.tflite").read_bytes())
    content[5000] ^= 4
    (tmp_path / "flipped.tflite").write_bytes(content)
    with pytest.raises(IntegrityError):
        edgeclf.verify(tmp_path / "flipped.tflite")


def test_a_certificate_is_small_and_says_where_it_differs(
    model_folder: Path, tmp_path: Path
) -> None:
    artifact = load_artifact(model_folder / "mugs.int8.tflite")
    certificate = artifact.metadata.certificate
    assert certificate is not None and len(json.dumps(certificate)) <= 150_000
    assert edgeclf.verify(model_folder / "mugs.int8.tflite").photo == "identical"

    def verify_with(stage: str) -> None:
        changed = json.loads(json.dumps(certificate))
        changed["photo"][stage]["means"] = [m + 2 for m in changed["photo"][stage]["means"]]
        metadata = dataclasses.replace(artifact.metadata, certificate=changed)
        save_artifact(seal_artifact(artifact.content, metadata), tmp_path / "m.tflite")
        edgeclf.verify(tmp_path / "m.tflite")

    with pytest.raises(VerificationError, match=r"in the decoder, by 2\.0 of 255 levels"):
        verify_with("decoded")
    with pytest.raises(VerificationError, match=r"the preprocessing, by 2\.0 of 255 levels"):
        verify_with("tensor")


def test_the_certificates_photo_tests_every_step_of_the_preprocessing(model_folder: Path) -> None:
    """Dropping the EXIF orientation, the resize policy or the scaled decode is noticed."""
    import base64
    import io

    from PIL import Image

    from edgeclf.image import decode_image

    metadata = load_artifact(model_folder / "mugs.int8.tflite").metadata
    assert metadata.certificate is not None
    photo = metadata.certificate["photo"]
    jpeg = base64.b64decode(photo["jpeg"])
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.getexif()[0x0112] == 8
        assert image.height > image.width  # turned: upright it is wider than high
    decoded = decode_image(jpeg, metadata.image)
    assert decoded.size[0] > decoded.size[1]
    assert decoded.size < (image.height, image.width)  # decoded at half the size
    assert photo["decoded"]["shape"] == [decoded.height, decoded.width, 3]


@pytest.mark.parametrize("size", [96, 224, 331])
def test_a_certificate_stays_small_at_any_input_size(size: int) -> None:
    from edgeclf.runtimes.fake import fake_artifact

    rng = np.random.default_rng(0)
    # Neighbouring pixels differ more than in any photo; even numbers are darker.
    coarse = rng.integers(0, 256, (8, size // 2, size // 2, 3), np.uint8)
    images = coarse.repeat(2, axis=1).repeat(2, axis=2)
    images[::2] //= 3
    artifact = fake_artifact(["dark", "bright"])
    spec = ImageSpec(*images.shape[1:3])
    artifact = dataclasses.replace(
        artifact, metadata=dataclasses.replace(artifact.metadata, image=spec)
    )
    with Classifier(artifact, runtime="fake") as classifier:
        answers = classifier.probabilities(images)
        certificate = make_certificate(
            classifier, classifier.probabilities, images, (answers, answers)
        )
    assert len(json.dumps(certificate)) <= 150_000
    assert 1 <= len(certificate["images"]) <= 2


def keras_source(model: Any, spec: ImageSpec, images: np.ndarray) -> Source:
    """A Keras model from normalised floats to probabilities as a source."""
    labels = tuple(f"class {i}" for i in range(model.output_shape[-1]))
    graph = TensorFlowGraph(lambda x: model(x, training=False), [v.value for v in model.variables])
    return Source(graph, Metadata("model", labels, spec), images)


def test_firmware_gets_the_flatbuffer_as_c_source(model_folder: Path) -> None:
    artifact = load_artifact(model_folder / "mugs.int8-full.tflite")
    header, source = ((model_folder / f"mugs.int8-full.{kind}").read_text() for kind in ("h", "c"))
    array = bytes(int(word, 16) for word in re.findall(r"0x([0-9a-f]{2}),", source))
    assert array == artifact.model_content
    assert artifact.content.startswith(array) and len(array) < artifact.size_bytes
    assert f"#define EDGECLF_MUGS_LENGTH {len(array)}" in header
    assert artifact.sha256 in header
    if shutil.which("cc"):
        subprocess.run(
            ["cc", "-std=c11", "-Wall", "-Werror", "-c", "mugs.int8-full.c", "-o", "/dev/null"],
            cwd=model_folder, check=True,
        )  # fmt: skip


def test_a_converter_of_another_distribution_is_asked_for_by_its_name(
    model_folder: Path, mugs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import EntryPoint

    from edgeclf.system import plugins

    entry = EntryPoint("theirs", "edgeclf.converters.onnx:OnnxConverter", "edgeclf.converters")
    monkeypatch.setattr(plugins.Plugins, "_registered", lambda self: [entry])
    (artifact,) = edgeclf.convert(
        model_folder / "mugs.keras", evaluation=mugs / "eval", to=["fp32.theirs"], out=tmp_path
    )
    assert artifact.path == tmp_path / "mugs.fp32.theirs.onnx"
    assert edgeclf.verify(artifact.path).max_change < 1e-3
