"""Models from elsewhere become artifacts that keep the contract."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeclf
from edgeclf import SourceSpec
from edgeclf.cli import main
from edgeclf.converters.config import DEFAULT_TARGETS, own_targets
from edgeclf.errors import ArtifactError, ConversionError, OptionError
from edgeclf.image import load_image

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
tf = pytest.importorskip("tensorflow", reason="needs edgeclf[train]")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LABELS = ("white", "black", "blue", "transparent")


@pytest.fixture(scope="module")
def trained(model_folder: Path) -> Any:
    """The student of `run` from normalised floats to logits."""
    from edgeclf.artifact import load_artifact
    from edgeclf.networks.builder import part
    from edgeclf.networks.keras_model import load_model

    return part(load_model(load_artifact(model_folder / "mugs.keras")), "normalize", "logits")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("\n".join(LABELS) + "\n")
    return path


@pytest.fixture
def convert(mugs: Path, tmp_path: Path, labels: Path) -> Callable[..., Any]:
    def call(model: Path, to: list[str], **source: Any) -> Any:
        return edgeclf.convert(
            model, evaluation=mugs / "eval", calibration=mugs / "train", to=to, tolerance=0.5,
            out=tmp_path / "out", source=SourceSpec(**{"labels": labels, **source}),
        )  # fmt: skip

    return call


def zero_to_one(trained: Any, *, softmax: bool = True) -> Any:
    image = keras.Input((96, 96, 3))
    logits = trained(keras.layers.Rescaling(255 / 128, offset=-127 / 128)(image))
    return keras.Model(image, keras.layers.Softmax()(logits) if softmax else logits)


def imagenet_like(trained: Any) -> Any:
    """Expects what torchvision's models expect: 0..1, then mean and std for each channel."""
    image = keras.Input((96, 96, 3))
    scale = [s * 255 / 128 for s in STD]
    offset = [(m * 255 - 127) / 128 for m in MEAN]
    return keras.Model(image, trained(keras.layers.Rescaling(scale, offset)(image)))


def same_answers(artifact: Any, model_folder: Path, mugs: Path, tolerance: float) -> None:
    """The wrapped model answers like edgeclf's own artifact of the same network."""
    photos = sorted((mugs / "eval").rglob("*.jpg"))
    images = np.stack([load_image(p, artifact.metadata.image) for p in photos])
    with (
        edgeclf.Classifier(artifact) as one,
        edgeclf.Classifier(model_folder / "mugs.fp32.onnx") as other,
    ):
        found, expected = one.probabilities(images), other.probabilities(images)
    assert np.abs(found[:, :4] - expected).max() <= tolerance
    assert edgeclf.verify(artifact.path).images >= 1


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_keras_files(
    suffix: str,
    trained: Any,
    convert: Callable[..., Any],
    model_folder: Path,
    mugs: Path,
    tmp_path: Path,
) -> None:
    zero_to_one(trained).save(tmp_path / f"m.{suffix}")
    to = ["fp32.onnx", "int8.tflite"] if suffix == "keras" else ["fp32.tflite"]
    artifacts = convert(tmp_path / f"m.{suffix}", to, input_range=(0, 1))
    assert [a.path.name for a in artifacts] == [f"m.{t}" for t in to]
    same_answers(artifacts[0], model_folder, mugs, 1e-4)
    origin = artifacts[0].metadata.training["origin"]
    assert origin["file"] == f"m.{suffix}" and len(origin["sha256"]) == 64
    assert artifacts[0].metadata.parameters == trained.count_params()


def test_saved_model_with_965_scores_and_a_csv_of_labels(
    trained: Any, model_folder: Path, mugs: Path, tmp_path: Path
) -> None:
    class Hub(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = trained

        @tf.function(input_signature=[tf.TensorSpec([None, 96, 96, 3], tf.float32)])
        def __call__(self, images: Any) -> Any:
            logits = self.network((images * 255 - 127) / 128, training=False)
            others = tf.fill([tf.shape(logits)[0], 961], -20.0)
            return {"scores": tf.nn.softmax(tf.concat([logits, others], 1))}

    hub = Hub()
    tf.saved_model.save(hub, str(tmp_path / "hub"), signatures={"default": hub.__call__})
    names = [*LABELS, *(f"bird {i}" for i in range(961))]
    rows = [(name, index) for index, name in enumerate(names)]
    np.random.default_rng(0).shuffle(rows)
    with open(tmp_path / "map.csv", "w", newline="") as file:
        csv.writer(file).writerows([("name", "id"), *rows])
    # As docs/conversion.md has it.
    words = f"convert {tmp_path}/hub --labels {tmp_path}/map.csv --input-range 0 1 --tolerance 0.5"
    photos = f"--calibration {mugs}/train --evaluation {mugs}/eval"
    to = "--full-decode --to fp32.tflite int8.onnx"
    assert main([*words.split(), *photos.split(), *to.split()]) == 0
    assert (tmp_path / "hub.int8.onnx").exists()
    artifact = edgeclf.load_artifact(tmp_path / "hub.fp32.tflite")
    assert artifact.metadata.labels == tuple(names)
    assert not artifact.metadata.image.scaled_decode
    same_answers(artifact, model_folder, mugs, 1e-4)


@pytest.mark.parametrize(
    ("tags", "resource"),
    [([[]], False), ([["train"], []], True), ([["train"], ["serve"]], False)],
)
def test_a_module_of_tensorflow_1(tags: list[list[str]], resource: bool, tmp_path: Path) -> None:
    """As TensorFlow Hub's older modules are: bare variables, and a graph to train with."""
    v1, rng = tf.compat.v1, np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)

    def build(rate: float) -> tuple[Any, Any]:
        images = v1.placeholder(tf.float32, [None, 32, 32, 3], "images")
        weights = v1.get_variable(
            "w", kernel.shape, initializer=tf.constant_initializer(kernel), use_resource=resource
        )
        seen = tf.reduce_max(tf.nn.relu(tf.nn.conv2d(images, weights, 2, "SAME")), [1, 2])
        return images, tf.nn.softmax(rate * seen)

    def tensor_info(tensor: Any) -> Any:  # TensorFlow's own warns that it is old
        from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

        kind, shape = tensor.dtype.as_datatype_enum, tensor.shape.as_proto()
        return TensorInfo(name=tensor.name, dtype=kind, tensor_shape=shape)

    builder = v1.saved_model.Builder(str(tmp_path / "m"))
    for index, each in enumerate(tags):
        with tf.Graph().as_default(), v1.Session() as session:
            images, answer = build(0.1 if each == ["train"] else 1.0)
            session.run(v1.global_variables_initializer())
            signature = v1.saved_model.build_signature_def(
                {"images": tensor_info(images)}, {"default": tensor_info(answer)}
            )
            signatures = {"default": signature, "image_classifier": signature}
            if index:
                builder.add_meta_graph(each, signatures)
            else:
                builder.add_meta_graph_and_variables(session, each, signatures)
    builder.save()
    (tmp_path / "map.csv").write_text("id,name\n1,b\n0,a\n3,background\n2,c\n")

    artifacts = edgeclf.convert(
        tmp_path / "m", to=["fp32.tflite", "fp32.onnx"],
        source=SourceSpec(labels=tmp_path / "map.csv", input_range=(0, 1)),
    )  # fmt: skip
    picture = rng.integers(0, 256, (1, 32, 32, 3), np.uint8)
    patches = tf.nn.conv2d(tf.constant(picture / 255, tf.float32), kernel, 2, "SAME")
    expected = tf.nn.softmax(tf.reduce_max(tf.nn.relu(patches), [1, 2])).numpy()
    for artifact in artifacts:
        assert artifact.metadata.labels == ("a", "b", "c", "background")
        assert artifact.metadata.parameters == kernel.size
        with edgeclf.Classifier(artifact) as classifier:
            assert np.abs(classifier.probabilities(picture) - expected).max() < 1e-4


def test_existing_tflite_with_logits_and_imagenet_normalisation(
    trained: Any, convert: Callable[..., Any], model_folder: Path, mugs: Path, tmp_path: Path
) -> None:
    model = imagenet_like(trained)
    content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    (tmp_path / "m.tflite").write_bytes(content)
    given = {"input_range": (0, 1), "mean": MEAN, "std": STD, "scores": "logits"}
    to = ["fp32.tflite", "fp16.tflite", "dynamic.tflite", "int8.tflite"]
    artifacts = convert(tmp_path / "m.tflite", to, **given)
    same_answers(artifacts[0], model_folder, mugs, 1e-4)
    with pytest.raises(ConversionError, match="int8-full has no float operation to normalise"):
        convert(tmp_path / "m.tflite", ["int8-full.tflite"], **given)
    with pytest.raises(ConversionError, match=r"A \.tflite model cannot become ONNX"):
        convert(tmp_path / "m.tflite", ["fp32.onnx"], **given)
    with pytest.raises(OptionError, match=r"no probabilities.*add --scores logits"):
        convert(tmp_path / "m.tflite", ["fp32.tflite"], **{**given, "scores": "probabilities"})


def test_what_a_file_cannot_become_is_not_among_its_default_targets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert own_targets("tflite", DEFAULT_TARGETS) == ["fp32.tflite", "int8.tflite"]
    assert "becomes fp32.tflite and int8.tflite" in capsys.readouterr().err
    assert own_targets("keras", DEFAULT_TARGETS) == DEFAULT_TARGETS
    assert own_targets("tflite", ["fp32.onnx"]) == ["fp32.onnx"]  # which is then refused


def test_a_model_no_better_than_chance_is_remarked(
    trained: Any, convert: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imagenet_like(trained).save(tmp_path / "m.keras")
    convert(tmp_path / "m.keras", ["fp32.tflite"], input_range=(-90, -80), scores="logits")
    assert "of 24 photos right, no better than always the same" in capsys.readouterr().err


def test_existing_onnx_with_channels_first_and_a_fixed_batch(
    trained: Any,
    convert: Callable[..., Any],
    labels: Path,
    model_folder: Path,
    mugs: Path,
    tmp_path: Path,
) -> None:
    tf2onnx = pytest.importorskip("tf2onnx", reason="needs edgeclf[convert]")
    image = keras.Input((3, 96, 96))
    flipped = keras.Model(image, imagenet_like(trained)(keras.layers.Permute((2, 3, 1))(image)))
    tf2onnx.convert.from_function(
        tf.function(lambda x: {"y": flipped(x)}),
        [tf.TensorSpec([1, 3, 96, 96], tf.float32, name="x")],
        opset=18, output_path=str(tmp_path / "m.onnx"),
    )  # fmt: skip
    # As docs/conversion.md has it.
    words = f"convert {tmp_path}/m.onnx --labels {labels} --layout nchw --scores logits"
    range_ = "--input-range 0 1 --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225"
    assert main([*words.split(), *range_.split(), "--to", "fp32.onnx"]) == 0
    same_answers(edgeclf.load_artifact(tmp_path / "m.fp32.onnx"), model_folder, mugs, 1e-4)
    given = {"input_range": (0, 1), "mean": MEAN, "std": STD, "scores": "logits"}
    (artifact,) = convert(tmp_path / "m.onnx", ["int8.onnx"], layout="nchw", **given)
    assert artifact.metadata.precision == "int8"
    with pytest.raises(ConversionError, match=r"\(1, 3, 96, 96\).*add --layout nchw"):
        convert(tmp_path / "m.onnx", ["fp32.onnx"], **given)


def test_code_in_a_file_runs_only_when_trusted(
    trained: Any, convert: Callable[..., Any], tmp_path: Path
) -> None:
    model = zero_to_one(trained)
    code = keras.layers.Lambda(lambda x: x)(model.output)
    keras.Model(model.input, code).save(tmp_path / "code.keras")
    with pytest.raises(ConversionError, match=r"holds code .*--trust"):
        convert(tmp_path / "code.keras", ["fp32.tflite"], input_range=(0, 1))
    (artifact,) = convert(tmp_path / "code.keras", ["fp32.tflite"], input_range=(0, 1), trust=True)
    assert artifact.path.exists()


def test_a_saved_model_that_reads_files_is_refused(
    convert: Callable[..., Any], tmp_path: Path
) -> None:
    class Reader(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 96, 96, 3], tf.float32)])
        def __call__(self, images: Any) -> Any:
            size = tf.strings.length(tf.io.read_file("/etc/hostname"))
            return {"scores": tf.ones([1, 4]) / 4 + tf.cast(size, tf.float32) * 0}

    reader = Reader()
    tf.saved_model.save(reader, str(tmp_path / "reader"), signatures=reader.__call__)
    with pytest.raises(ConversionError, match=r"ReadFile.*--trust"):
        convert(tmp_path / "reader", ["fp32.tflite"])


def test_floats_need_no_photos(trained: Any, labels: Path, tmp_path: Path) -> None:
    zero_to_one(trained).save(tmp_path / "m.keras")
    given = SourceSpec(labels=labels, input_range=(0, 1))
    (artifact,) = edgeclf.convert(tmp_path / "m.keras", to=["fp32.tflite"], source=given)
    assert artifact.metadata.accuracy is not None
    assert artifact.metadata.accuracy["evaluation"] == "generated"
    assert "source" not in artifact.metadata.accuracy
    assert edgeclf.verify(artifact.path).images >= 1
    with pytest.raises(OptionError, match=r"ranges of int8\.tflite.*--calibration"):
        edgeclf.convert(tmp_path / "m.keras", to=["int8.tflite"], source=given)


def test_photos_without_labels_tell_how_many_answers_change(
    model_folder: Path, mugs: Path, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, photo in enumerate(sorted((mugs / "eval").rglob("*.jpg"))):
        (flat / f"{index}.jpg").write_bytes(photo.read_bytes())
    (artifact,) = edgeclf.convert(
        model_folder / "mugs.keras", evaluation=flat, to=["fp32.onnx"], out=tmp_path / "out"
    )
    accuracy = artifact.metadata.accuracy
    assert accuracy is not None and accuracy["evaluation"] == "unlabelled"
    assert accuracy["images"] == 24 and accuracy["top1_agreement"] == 1


def test_what_does_not_fit_is_said(
    trained: Any, convert: Callable[..., Any], labels: Path, tmp_path: Path
) -> None:
    zero_to_one(trained).save(tmp_path / "m.keras")
    with pytest.raises(OptionError, match=r"Add --labels labels\.txt"):
        convert(tmp_path / "m.keras", ["fp32.tflite"], labels=None)
    (tmp_path / "two.txt").write_text("a\nb\n")
    with pytest.raises(OptionError, match=r"shape \(1, 4\), but there are 2 labels"):
        convert(tmp_path / "m.keras", ["fp32.tflite"], labels=tmp_path / "two.txt")
    with pytest.raises(ArtifactError, match="There is no model"):
        convert(tmp_path / "gone.keras", ["fp32.tflite"])
    with pytest.raises(ArtifactError, match=r"expected \.keras, \.h5, \.tflite"):
        convert(labels, ["fp32.tflite"])
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match=r"bad\.onnx is a text file"):
        convert(tmp_path / "bad.onnx", ["fp32.onnx"])
    with pytest.raises(OptionError, match="low < high"):
        SourceSpec(input_range=(1, 0))
