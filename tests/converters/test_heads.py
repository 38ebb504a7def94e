"""Heads and inputs that people have: one score, many labels, grey and blue-first images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeclf
from edgeclf import SourceSpec
from edgeclf.converters.channels import LUMA
from edgeclf.converters.known_answers import probe_pictures
from edgeclf.converters.scores import Head, check_alone, find_head
from edgeclf.converters.sources import open_model
from edgeclf.errors import ConversionError, OptionError
from edgeclf.image import ImageSpec

SIZE = 16
RED, BLUE = (200, 40, 60), (50, 40, 190)


def write_labels(folder: Path, *names: str) -> Path:
    (folder / "labels.txt").write_text("\n".join(names))
    return folder / "labels.txt"


def onnx_model(
    path: Path, channels: int, weights: list[list[float]], *, last: str = "Softmax",
    nchw: bool = True, bias: float = 0.0,
) -> Path:  # fmt: skip
    """The means of the channels, weighted to scores, on 0 to 1."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    values = np.array(weights, np.float32).T  # [channels, scores]
    shape = ["N", channels, SIZE, SIZE] if nchw else ["N", SIZE, SIZE, channels]
    axes = np.array([2, 3] if nchw else [1, 2])
    kernel = np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1)
    constants = {"weights": values, "bias": np.full(values.shape[1], bias, np.float32),
                 "axes": axes, "kernel": kernel}  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["features"])
        if nchw
        else helper.make_node("Relu", ["x"], ["features"]),
        helper.make_node("ReduceMean", ["features", "axes"], ["means"], keepdims=0),
        helper.make_node("Gemm", ["means", "weights", "bias"], ["logits"]),
        helper.make_node(last, ["logits"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", values.shape[1]])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    save(model, path)
    return path


def keras_model(path: Path, channels: int, weights: list[list[float]], activation: str) -> Path:
    from edgeclf.networks.backend import keras, layers

    model = keras.Sequential([
        keras.Input((SIZE, SIZE, channels)),
        layers.Conv2D(channels, 1, use_bias=False),
        layers.GlobalAveragePooling2D(),
        layers.Dense(len(weights), activation=activation),
    ])  # fmt: skip
    values = np.array(weights, np.float32).T
    kernel = np.eye(channels, dtype=np.float32).reshape(1, 1, channels, channels)
    model.set_weights([kernel, values, np.zeros(len(weights), np.float32)])
    if path.suffix == ".tflite":
        from edgeclf.networks.backend import tf

        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    else:
        model.save(path)
    return path


def make(path: Path, channels: int, weights: list[list[float]], activation: str) -> Path:
    if path.suffix == ".onnx":
        last = {"softmax": "Softmax", "sigmoid": "Sigmoid", "linear": "Identity"}[activation]
        return onnx_model(path, channels, weights, last=last)
    return keras_model(path, channels, weights, activation)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reddish and bluish pictures, other ones to calibrate and to compare."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for split in ("train", "eval"):
        for name, colour in (("red", RED), ("blue", BLUE)):
            (root / split / name).mkdir(parents=True)
            for index in range(6):
                noise = rng.integers(-40, 40, (SIZE, SIZE, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")
    return root


@pytest.fixture
def convert(colours: Path, tmp_path: Path) -> Callable[..., list[Any]]:
    def call(model: Path, names: tuple[str, ...], to: list[str], **said: Any) -> list[Any]:
        spec = SourceSpec(labels=write_labels(tmp_path, *names), **{"input_range": (0, 1), **said})
        if model.suffix == ".onnx" and "layout" not in said:
            spec = SourceSpec(**{**vars(spec), "layout": "nchw"})
        return list(edgeclf.convert(
            model, to=to, source=spec, out=tmp_path / "out",
            evaluation=colours / "eval", calibration=colours / "train",
        ))  # fmt: skip

    return call


def answers(artifact: Any, *colours: tuple[int, int, int]) -> Any:
    images = np.stack([np.full((SIZE, SIZE, 3), colour, np.uint8) for colour in colours])
    with edgeclf.Classifier(artifact) as classifier:
        return classifier.probabilities(images)


TARGETS = {
    ".keras": ["fp32.tflite", "int8.tflite", "int8-full.tflite", "fp32.onnx", "int8.onnx"],
    ".tflite": ["fp32.tflite", "fp16.tflite", "dynamic.tflite", "int8.tflite", "int8-full.tflite"],
    ".onnx": ["fp32.onnx", "fp16.onnx", "int8.onnx"],
}
KINDS = pytest.mark.parametrize("suffix", TARGETS)
# int8-full rounds a probability to 1/256, and its input's scale is not that of one colour.
TOLERANCES = {"fp32": 1e-5, "fp16": 2e-3, "dynamic": 0.01, "int8": 0.01, "int8-full": 0.02}


@KINDS
@pytest.mark.parametrize("activation", ["sigmoid", "linear"])
def test_one_score_is_the_second_of_two_labels(
    suffix: str, activation: str, convert: Callable[..., list[Any]], tmp_path: Path
) -> None:
    model = make(tmp_path / f"m{suffix}", 3, [[-8.0, 0.0, 8.0]], activation)
    scores = "logits" if activation == "linear" else "probabilities"
    made = convert(model, ("red", "blue"), TARGETS[suffix], scores=scores)
    assert [a.metadata.precision for a in made] == [t.split(".")[0] for t in TARGETS[suffix]]
    logits = np.array([-8 * colour[0] + 8 * colour[2] for colour in (RED, BLUE)]) / 255
    second = 1 / (1 + np.exp(-logits))
    for artifact in made:
        expected = np.stack([1 - second, second], axis=1)
        found = answers(artifact, RED, BLUE)
        assert np.abs(found - expected).max() < TOLERANCES[artifact.metadata.precision]


@KINDS
def test_blue_first(suffix: str, convert: Callable[..., list[Any]], tmp_path: Path) -> None:
    """Its first channel votes for blue."""
    model = make(tmp_path / f"m{suffix}", 3, [[0.0, 0.0, 4.0], [4.0, 0.0, 0.0]], "softmax")
    made = convert(model, ("red", "blue"), TARGETS[suffix], channels="bgr")
    for artifact in made:
        odds = np.exp([4 * RED[0] / 255, 4 * RED[2] / 255])
        tolerance = TOLERANCES[artifact.metadata.precision]
        assert np.abs(answers(artifact, RED)[0] - odds / odds.sum()).max() < tolerance
        assert answers(artifact, BLUE)[0].argmax() == 1


@KINDS
def test_grey(suffix: str, convert: Callable[..., list[Any]], tmp_path: Path) -> None:
    model = make(tmp_path / f"m{suffix}", 1, [[0.0], [4.0]], "softmax")
    with pytest.raises(ConversionError, match=r"takes the shape.*add --channels grey\."):
        convert(model, ("dark", "bright"), ["fp32.onnx"])
    made = convert(model, ("red", "blue"), TARGETS[suffix], channels="grey")
    grey = np.dot(RED, LUMA) / 255
    odds = np.exp([0, 4 * grey])
    for artifact in made:
        tolerance = TOLERANCES[artifact.metadata.precision]
        assert np.abs(answers(artifact, RED)[0] - odds / odds.sum()).max() < tolerance


def test_grey_is_what_pillow_makes_of_a_photo(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    luma = np.asarray(Image.fromarray(pixels).convert("L"), np.float64)
    assert np.abs(pixels @ np.array(LUMA) - luma).max() <= 0.51  # Pillow rounds


@pytest.mark.parametrize("channels", ["bgr", "grey"])
def test_channels_of_an_onnx_model_with_its_channels_last(
    channels: str, convert: Callable[..., list[Any]], tmp_path: Path
) -> None:
    weights = [[4.0], [0.0]] if channels == "grey" else [[0.0, 0.0, 4.0], [4.0, 0.0, 0.0]]
    model = onnx_model(tmp_path / "m.onnx", len(weights[0]), weights, nchw=False)
    made = convert(model, ("red", "blue"), TARGETS[".onnx"], channels=channels, layout="nhwc")
    values = [np.dot(RED, LUMA), 0] if channels == "grey" else [RED[0], RED[2]]
    odds = np.exp(4 * np.array(values) / 255)
    for artifact in made:
        tolerance = TOLERANCES[artifact.metadata.precision]
        assert np.abs(answers(artifact, RED)[0] - odds / odds.sum()).max() < tolerance


def test_one_channel_has_one_mean() -> None:
    with pytest.raises(OptionError, match="takes one channel"):
        SourceSpec(channels="grey", mean=(0.1, 0.2, 0.3))


def scores(*rows: list[float]) -> Any:
    return np.array(rows, np.float32)


SUMMING = scores([0.9, 0.1], [0.2, 0.8])
INDEPENDENT = scores([0.98, 0.98, 0.02], [0.3, 0.4, 0.3])  # the second happens to sum to 1
LOGITS = scores([0.7, 0.3], [-1.0, 4.0])  # the first happens to look like probabilities


@pytest.mark.parametrize(
    ("given", "logits", "head"),
    [
        (SUMMING, False, Head()),
        (LOGITS, True, Head(logits=True)),
        (scores([0.1], [0.9]), False, Head(single=True)),
        (scores([0.1], [-3.0]), True, Head(logits=True, single=True)),
        (np.log(SUMMING), True, Head(logits=True)),  # of a log-softmax, the softmax is p again
        (scores([2.0, 1.0], [2.0, 1.0]), True, Head(logits=True)),  # that know one answer alone
        (scores([2.0, 1.0], [0.0, 2.9]), True, Head(logits=True)),  # of a ReLU
    ],
)
def test_heads_that_are_what_was_said(given: Any, logits: bool, head: Head) -> None:
    assert find_head(given, ["a", "b"], logits=logits, file="m.onnx") == head
    assert np.allclose(head.apply(given).sum(axis=1), 1)


@pytest.mark.parametrize(
    ("given", "logits", "error", "message"),
    [
        (SUMMING, True, OptionError, r"probabilities already.*sum to 1\. Leave out --scores"),
        (LOGITS, False, OptionError, r"no probabilities.*add --scores logits"),
        (INDEPENDENT, False, ConversionError, r"multi-label.*sum to 1\.00 to 1\.98"),
        (INDEPENDENT, True, ConversionError, r"multi-label"),
        (scores([0.1], [0.9]), True, OptionError, r"probabilities already.*Leave out --scores"),
        (scores([0.1], [3.0]), False, OptionError, r"no probabilities.*add --scores logits"),
        (scores([0.1, np.nan]), False, ConversionError, "no number"),
        *((SUMMING * total, said, ConversionError, f"probabilities times {total}: none is below 0")
          for total in (0.5, 100, 255) for said in (False, True)),
        (scores([230, 26], [51, 203]), True, ConversionError, "probabilities times 255"),
        (SUMMING.T, False, ConversionError, r"softmax over axis 0.*over the last axis"),
        *((scores([1, 1, 1], [1, 1, 1]), said, ConversionError, "over an axis of one.*labels' axis")
          for said in (False, True)),
    ],
)  # fmt: skip
def test_heads_that_are_not(given: Any, logits: bool, error: type, message: str) -> None:
    labels = ["a", "b", "c"] if given.shape[1] == 3 else ["a", "b"]
    with pytest.raises(error, match=message):
        find_head(given, labels, logits=logits, file="m.onnx")


@pytest.mark.parametrize("logits", [True, False])
def test_a_softmax_of_one_score_is_refused(logits: bool) -> None:
    ones = scores([1.0], [1.0])
    with pytest.raises(ConversionError, match=r"softmax over a single score.*Train it with a sig"):
        find_head(ones, ["a", "b"], logits=logits, file="m.onnx", softmax=True)
    for softmax in (False, None):  # a sigmoid that is sure of all
        assert find_head(ones, ["a", "b"], logits=False, file="m", softmax=softmax).single


def test_an_answer_that_depends_on_other_pictures_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"changes by 0\.1\. It mixes the images of a batch"):
        check_alone(scores([0.6, 0.4]), scores([0.5, 0.5]), "m.onnx")
    check_alone(scores([0.6, 0.4]), scores([0.57, 0.43]), "m.onnx")
    check_alone(scores([60.0, 40.0]), scores([58.0, 40.0]), "m.onnx")  # of logits, relative


def test_one_score_needs_two_labels() -> None:
    with pytest.raises(OptionError, match=r"shape \(1, 1\).*3 labels.*two labels for one score"):
        find_head(scores([0.5]), ["a", "b", "c"], logits=False, file="m.onnx")


@pytest.mark.parametrize("said", ["probabilities", "logits"])
def test_a_multi_label_model_is_refused_by_name(said: str, tmp_path: Path) -> None:
    weights = [[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]]
    model = onnx_model(tmp_path / "m.onnx", 3, weights, last="Sigmoid", bias=-4.0)
    labels = write_labels(tmp_path, "a", "b", "c")
    spec = SourceSpec(labels=labels, layout="nchw", input_range=(0, 1), scores=said)  # type: ignore[arg-type]
    with pytest.raises(ConversionError, match=r"answers each label by itself"):
        open_model(model, spec)


def test_probes_are_black_white_and_coloured() -> None:
    probes = probe_pictures(ImageSpec(SIZE, SIZE))
    assert probes[0].max() == 0 and probes[1].min() == 255
    assert len({image.tobytes() for image in probes}) == len(probes) >= 10


def known_photo(tmp_path: Path) -> Path:
    Image.new("RGB", (SIZE, SIZE), RED).save(tmp_path / "known.png")
    return tmp_path / "known.png"


def test_a_known_photo_finds_wrong_channels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx_model(tmp_path / "m.onnx", 3, [[0.0, 0.0, 9.0], [9.0, 0.0, 0.0]])
    photo = known_photo(tmp_path)
    said: dict[str, Any] = {
        "labels": write_labels(tmp_path, "red", "blue"), "layout": "nchw", "input_range": (0, 1),
        "check": [f"{photo}=red"],
    }  # fmt: skip
    with pytest.raises(OptionError, match=r"answers 'blue' .*not 'red'\. With --channels bgr"):
        open_model(model, SourceSpec(**said))
    open_model(model, SourceSpec(**said, channels="bgr"))
    assert f"{photo}: red" in capsys.readouterr().err


def test_known_photos_find_a_wrong_range(tmp_path: Path) -> None:
    """Of bytes on 0 to 255 all look bright to a model of 0 to 1."""
    model = onnx_model(tmp_path / "m.onnx", 3, [[3.0, 3.0, 3.0], [0.0] * 3])
    dark = tmp_path / "dark.png"
    Image.new("RGB", (SIZE, SIZE), (5, 5, 5)).save(dark)
    bright = tmp_path / "bright.png"
    Image.new("RGB", (SIZE, SIZE), (240, 240, 240)).save(bright)
    said: dict[str, Any] = {
        "labels": write_labels(tmp_path, "bright", "dark"), "layout": "nchw",
        "check": [f"{dark}=dark", f"{bright}=bright"],
    }  # fmt: skip
    message = r"dark\.png, not 'dark'\. With .*of all 2 photos.* --input-range -1 1"
    with pytest.raises(OptionError, match=message):
        open_model(model, SourceSpec(**said))


@pytest.mark.parametrize(
    ("check", "message"),
    [("photo.jpg", "expected PHOTO=LABEL"), ("photo.jpg=green", "not among the 2 of the model")],
)
def test_checks_that_are_none(check: str, message: str, tmp_path: Path) -> None:
    model = onnx_model(tmp_path / "m.onnx", 3, [[9.0, 0.0, 0.0], [0.0, 0.0, 9.0]])
    labels = write_labels(tmp_path, "red", "blue")
    spec = SourceSpec(labels=labels, layout="nchw", input_range=(0, 1), check=[check])
    with pytest.raises(OptionError, match=message):
        open_model(model, spec)


def test_no_usual_convention_helps(tmp_path: Path) -> None:
    model = onnx_model(tmp_path / "m.onnx", 3, [[0.0] * 3, [0.0] * 3, [0.0] * 3])
    photo = known_photo(tmp_path)
    spec = SourceSpec(labels=write_labels(tmp_path, "a", "b", "c"), layout="nchw",
                      input_range=(0, 1), check=[f"{photo}=b"])  # fmt: skip
    with pytest.raises(OptionError, match=r"None of the usual .* check the order of --labels"):
        open_model(model, spec)
