"""Keras files as people have them become graphs that exporters take."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeclf
from edgeclf import SourceSpec
from edgeclf.converters import keras_source
from edgeclf.converters.base import Source
from edgeclf.converters.onnx import OnnxConverter
from edgeclf.converters.sources import open_model
from edgeclf.errors import ConversionError, OptionError
from edgeclf.networks import engines
from edgeclf.networks.backend import keras, layers, tf
from support.keras_2 import say_groups

SIZE = 16
IMAGES = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)


def network(*inside: Any, dtype: str | None = None, size: int | None = SIZE) -> Any:
    """A small classifier with these layers in it, and weights that are not the initial ones."""
    image = keras.Input((size, size, 3), dtype=dtype)
    tail = (layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax"))
    model = keras.Sequential([image, layers.Rescaling(1 / 128), *inside, *tail])
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if not isinstance(layer, layers.Normalization):
            layer.set_weights([rng.normal(0.3, 0.2, w.shape) ** 2 for w in layer.get_weights()])
    return model


def adapted() -> Any:
    layer = layers.Normalization()
    layer.adapt(IMAGES / 128)
    return layer


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    return tmp_path / "labels.txt"


@pytest.fixture
def same_answers(labels: Path, tmp_path: Path) -> Callable[..., list[Any]]:
    """Converts a file to fp32 and compares it with what Keras computes of the images."""

    def check(file: Path, expected: Any, tolerance: float = 1e-5, **said: Any) -> list[Any]:
        spec = SourceSpec(labels=labels, **said)
        to = ["fp32.tflite", "fp32.onnx"]
        artifacts = edgeclf.convert(file, to=to, source=spec, out=tmp_path / "out")
        for artifact in artifacts:
            image = artifact.metadata.image
            assert (image.height, image.width) == IMAGES.shape[1:3]
            with edgeclf.Classifier(artifact) as classifier:
                assert np.abs(classifier.probabilities(IMAGES) - expected).max() < tolerance
        return list(artifacts)

    return check


INSIDE: dict[str, Callable[[], list[Any]]] = {
    "adapted normalization": lambda: [adapted(), layers.Conv2D(4, 3)],
    "exact GELU": lambda: [layers.Conv2D(4, 3), layers.Activation("gelu")],
    "groups": lambda: [layers.Conv2D(6, 3), layers.Conv2D(6, 3, groups=3)],
    "a group for each channel": lambda: [
        layers.Conv2D(4, 3), layers.Conv2D(8, 3, groups=4, strides=2, padding="same")
    ],
    "channels of one pixel": lambda: [
        layers.Conv2D(8, SIZE), layers.LayerNormalization(), layers.Conv2D(6, 1),
        layers.UnitNormalization(), layers.Dense(6), layers.RMSNormalization(),
    ],
    "names": lambda: [
        layers.Conv2D(4, 3, name="a:b"), layers.ReLU(name="_c"), layers.ReLU(name="d e.f"),
        layers.Conv2D(4, 3, name="é"), layers.ReLU(name="("), layers.ReLU(name="a_b"),
    ],
    "augmentation": lambda: [
        layers.RandomFlip(), layers.RandomRotation(0.3), layers.RandomContrast(0.5),
        layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Dropout(0.5),
    ],
    "a crop": lambda: [layers.CenterCrop(12, 12), layers.Conv2D(4, 3), layers.BatchNormalization()],
}  # fmt: skip


@pytest.mark.parametrize("kind", INSIDE)
def test_layers_that_exporters_stumble_over(
    kind: str, same_answers: Callable[..., list[Any]], tmp_path: Path
) -> None:
    model = network(*INSIDE[kind]())
    expected = np.asarray(model(IMAGES.astype(np.float32), training=False))
    model.save(tmp_path / "m.keras")
    same_answers(tmp_path / "m.keras", expected)


def test_a_model_that_resizes_takes_the_size_it_resizes_to(
    same_answers: Callable[..., list[Any]], labels: Path, tmp_path: Path
) -> None:
    inside = [layers.Resizing(SIZE, SIZE), layers.Conv2D(4, 3), layers.BatchNormalization()]
    model = network(*inside, size=None)
    model.save(tmp_path / "m.keras")
    # Without a word of training, what stands behind a Resizing layer is called as in training.
    same_answers(tmp_path / "m.keras", np.asarray(model(IMAGES, training=False)))
    other = SourceSpec(labels=labels, input_size=(20, 24))
    assert open_model(tmp_path / "m.keras", other).source.metadata.image.width == 24


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_other_floats_are_computed_in_float32(
    policy: str, suffix: str, same_answers: Callable[..., list[Any]], tmp_path: Path
) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        inner = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Conv2D(4, 3)])
        model = network(inner, layers.BatchNormalization())
    finally:
        keras.config.set_dtype_policy(before)
    plain = network(
        keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Conv2D(4, 3)]),
        layers.BatchNormalization(),
    )
    plain.set_weights([np.asarray(w, np.float32) for w in model.get_weights()])
    model.save(tmp_path / f"m.{suffix}")
    artifacts = same_answers(tmp_path / f"m.{suffix}", np.asarray(plain(IMAGES)))
    assert (
        b"float16" not in artifacts[1].content
        and "Cast" not in tuple(operators(artifacts[1].content))[1:]
    )  # the first turns bytes into floats


def operators(content: bytes) -> list[str]:
    import onnx

    return [node.op_type for node in onnx.load_from_string(content).graph.node]


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_keras_2_says_that_depthwise_layers_have_one_group(
    suffix: str, same_answers: Callable[..., list[Any]], tmp_path: Path
) -> None:
    """As every file of Teachable Machine does: a network and a head, each a Sequential."""
    parts = (layers.DepthwiseConv2D(3), layers.SeparableConv2D(4, 3), layers.Conv2DTranspose(4, 3))
    inner = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *parts])
    model = network(inner)
    file = tmp_path / f"keras_model.{suffix}"
    model.save(file)
    say_groups(file)
    same_answers(file, np.asarray(model(IMAGES)))
    with pytest.raises(TypeError, match="groups"):  # Keras is as it was
        layers.DepthwiseConv2D.from_config({"kernel_size": 3, "groups": 1})


def test_a_quantised_model_is_named(labels: Path, tmp_path: Path) -> None:
    model = network(layers.Dense(4))
    with warnings.catch_warnings():  # of the layers that have nothing to quantise
        warnings.simplefilter("ignore")
        model.quantize("int8")
    model.save(tmp_path / "m.keras")
    with pytest.raises(ConversionError, match=r"quantised by Keras \(quantize\('int8'\)\)"):
        open_model(tmp_path / "m.keras", SourceSpec(labels=labels))


@pytest.mark.parametrize("kind", ["keras", "saved_model"])
def test_truth_values_are_no_picture_and_a_number_is_no_score(
    kind: str, labels: Path, tmp_path: Path
) -> None:
    image = keras.Input((SIZE, SIZE, 3), dtype="bool", name="mask")
    cast = layers.Rescaling(1.0)(image)
    given = keras.Model(image, network()(cast))
    plain = network()
    answered = keras.Model(plain.inputs, keras.ops.argmax(plain.outputs[0], axis=-1, keepdims=True))
    for model, message in (
        (given, "takes bool as '.*mask.*'; expected images of numbers"),
        (answered, r"answers int\d\d as .*; expected scores in a float type"),
    ):
        path = tmp_path / f"m{len(message)}{'.keras' if kind == 'keras' else ''}"
        if kind == "keras":
            model.save(path)
        else:
            model.export(path, verbose=False)
        with pytest.raises(ConversionError, match=message):
            open_model(path, SourceSpec(labels=labels))


def test_a_model_that_was_never_called_is_named(labels: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="not yet been built"):
        keras.Sequential([layers.Conv2D(4, 3)]).save(tmp_path / "m.keras")
    with pytest.raises(ConversionError, match=r"never called.*save it again"):
        open_model(tmp_path / "m.keras", SourceSpec(labels=labels))


def test_a_grouped_convolution_of_a_saved_model(labels: Path, tmp_path: Path) -> None:
    """Keras compiles it with XLA, and keeps an adapted mean outside of its variables."""
    model = network(adapted(), layers.Conv2D(6, 3), layers.Conv2D(6, 3, groups=3))
    model.export(tmp_path / "exported", verbose=False)
    opened = open_model(tmp_path / "exported", SourceSpec(labels=labels))
    (artifact,) = edgeclf.convert(
        tmp_path / "exported", to=["fp32.onnx"], source=SourceSpec(labels=labels), out=tmp_path
    )
    with edgeclf.Classifier(artifact) as classifier:
        found = classifier.probabilities(IMAGES)
    assert np.abs(found - np.asarray(model(IMAGES))).max() < 1e-5
    assert np.abs(found - opened.answers(IMAGES)).max() < 1e-5


def test_a_group_for_each_channel_is_depthwise_to_engines() -> None:
    from edgeclf.converters import flatbuffer
    from edgeclf.converters.tflite import _from_tensorflow

    model = network(layers.Conv2D(4, 3), layers.Conv2D(8, 3, groups=4))
    content = _from_tensorflow(keras_source.graph_of(model), (1, SIZE, SIZE, 3))
    assert "DEPTHWISE_CONV_2D" in flatbuffer.operator_outputs(content).values()
    assert not hasattr(model.layers[2].convolution_op, "keywords")  # the model is as it was


def test_convnext_to_every_precision() -> None:
    """Its blocks are exact GELU, a group for each channel and a scale of its own."""
    # The sizes that are public have 28 million weights and more.
    from keras.src.applications.convnext import ConvNeXt

    from edgeclf.artifact import Metadata
    from edgeclf.converters.tflite import TFLiteConverter
    from edgeclf.image import ImageSpec
    from edgeclf.networks.builder import part

    spec = ImageSpec(64, 64)
    image = keras.Input((64, 64, 3), dtype="uint8")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="normalize")(image)
    network = ConvNeXt(
        depths=(1, 1, 1, 1), projection_dims=(8, 16, 24, 32), include_top=False, weights=None,
        include_preprocessing=False, input_tensor=x,
    )  # fmt: skip
    x = layers.Dense(3, name="logits")(layers.GlobalAveragePooling2D()(network.output))
    model = keras.Model(image, layers.Softmax(name="probabilities")(x))
    for layer in model.layers:
        if hasattr(layer, "gamma") and layer.name.endswith("layer_scale"):
            layer.gamma.assign(np.full(layer.gamma.shape, 0.5))  # as it is, blocks are all but off
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    source = Source(
        keras_source.graph_of(part(model, "normalize", "probabilities")),
        Metadata("convnext", ("a", "b", "c"), spec, parameters=model.count_params()),
        calibration=images,
    )
    expected = np.asarray(model(images, training=False))
    for converter in (TFLiteConverter(source), OnnxConverter(source)):
        for precision in converter.precisions:
            converted = converter.convert(converter.recipes(precision)[0])
            metadata = Metadata("convnext", ("a", "b", "c"), spec, precision=precision)
            artifact = edgeclf.artifact.seal_artifact(converted.content, metadata)
            with edgeclf.Classifier(artifact) as classifier:
                found = classifier.probabilities(images)
            tolerance = 1e-4 if precision == "fp32" else 0.05
            assert np.abs(found - expected).max() < tolerance, (converter.format, precision)


def test_names_that_tensorflow_takes_for_scopes() -> None:
    for name in ("a:b", "_a", "é", "(", "-", "a b.c", "ok_1"):
        exportable = keras_source._exportable_name(name)
        with tf.Graph().as_default(), tf.name_scope(exportable):
            assert tf.constant(1).name.startswith(exportable)
    assert keras_source._exportable_name("ok_1") == "ok_1"


def branches(*outputs: str) -> Any:
    """What a network answers by its logits, and by the softmax of them."""
    image = keras.Input((SIZE, SIZE, 3))
    mean = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 64)(image))
    logits = layers.Dense(3, name="dense")(mean)
    made = {"logits": logits, "softmax": layers.Reshape((1, 3))(layers.Softmax()(logits))}
    return image, {name: made[name] for name in outputs}


class TestOutputs:
    def test_a_dict_of_one(self, same_answers: Callable[..., Any], tmp_path: Path) -> None:
        image, outputs = branches("softmax")
        model = keras.Model(image, outputs)
        model.save(tmp_path / "m.keras")
        same_answers(tmp_path / "m.keras", model.predict(IMAGES, verbose=0)["softmax"][:, 0])

    def test_scores_in_the_shape_of_an_image(
        self, same_answers: Callable[..., Any], tmp_path: Path
    ) -> None:
        model = keras.Sequential([
            keras.Input((SIZE, SIZE, 3)), layers.Rescaling(1 / 64),
            layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(3, 1, activation="softmax"),
        ])  # fmt: skip
        model.save(tmp_path / "m.keras")
        same_answers(tmp_path / "m.keras", model.predict(IMAGES, verbose=0)[:, 0, 0])

    @pytest.mark.parametrize("named", [True, False])
    @pytest.mark.parametrize("scores", ["probabilities", "logits"])
    def test_the_one_that_was_said_is_chosen(
        self, named: bool, scores: str, same_answers: Callable[..., Any], tmp_path: Path
    ) -> None:
        image, outputs = branches("logits", "softmax")
        inner = keras.Model(image, outputs if named else list(outputs.values()))
        outer = keras.Input((SIZE, SIZE, 3))
        model = keras.Model(outer, inner(outer))  # whose outputs come out of a model within it
        model.save(tmp_path / "m.keras")
        logits, softmax = keras.tree.flatten(model.predict(IMAGES, verbose=0))
        assert np.abs(tf.nn.softmax(logits) - softmax[:, 0]).max() < 1e-6
        same_answers(tmp_path / "m.keras", softmax[:, 0], scores=scores)

    def test_two_that_fit_are_named(self, labels: Path, tmp_path: Path) -> None:
        image, outputs = branches("logits")
        other = layers.Dense(3, name="other")(outputs["logits"])
        keras.Model(image, [outputs["logits"], other]).save(tmp_path / "m.keras")
        with pytest.raises(ConversionError, match=r"outputs dense \(\? x 3\), other \(\? x 3\)"):
            open_model(tmp_path / "m.keras", SourceSpec(labels=labels, scores="logits"))


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_an_input_of_whole_numbers(
    dtype: str, same_answers: Callable[..., Any], labels: Path, tmp_path: Path
) -> None:
    model = network(dtype=dtype)
    model.save(tmp_path / "m.keras")
    same_answers(tmp_path / "m.keras", model.predict(IMAGES.astype(dtype), verbose=0))
    for span in ((0, 1), (-1, 1)):
        with pytest.raises(OptionError, match=rf"takes {dtype}: whole numbers .* --input-range"):
            open_model(tmp_path / "m.keras", SourceSpec(labels=labels, input_range=span))


def test_answers_come_from_the_engine_that_is_faster_and_right(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
    image = keras.Input((8, 9, 3))
    maps = keras.layers.Conv2D(4, 3, activation="relu")(image)
    model = keras.Model(image, [maps, keras.layers.GlobalAveragePooling2D()(maps)])
    pictures = np.random.default_rng(0).normal(size=(5, 8, 9, 3)).astype(np.float32)
    expected = np.asarray(model(pictures)[1])
    asked = keras_source.ModelAnswers(model, 1, "m.keras")
    for count in (5, 1):
        assert np.abs(asked.of(pictures[:count]) - expected[:count]).max() < 1e-6
    said = capsys.readouterr().err
    assert said.count("  answers of m.keras by ONNX Runtime: ") == 1
    monkeypatch.setattr(
        engines.OnnxEngine, "__call__", lambda self, images: [expected[: len(images)] * 1.001]
    )
    other = keras_source.ModelAnswers(model, 1, "m.keras")
    assert np.abs(other.of(pictures) - expected).max() < 1e-6
    assert "by Keras: ONNX Runtime's answers differ by 0.001" in capsys.readouterr().err


def test_a_layer_that_needs_values_answers_without_being_traced() -> None:
    def answers(model: keras.Model, given: Any) -> Any:
        return keras_source.ModelAnswers(model, 0, "m")(given)[0]

    class Doubled(keras.layers.Layer):
        def call(self, values: Any) -> Any:
            return keras.ops.convert_to_tensor(2 * np.asarray(values))

        def compute_output_spec(self, values: Any) -> Any:
            return keras.KerasTensor(values.shape, values.dtype)

    image = keras.Input((4, 4, 3))
    plain = keras.Model(image, keras.layers.Flatten()(image))
    model = keras.Model(image, Doubled()(plain.output))
    pictures = np.random.default_rng(0).normal(size=(3, 4, 4, 3)).astype(np.float32)
    for count in (3, 1):
        given = pictures[:count]
        assert np.array_equal(answers(plain, given), given.reshape(count, -1))
        assert np.array_equal(answers(model, given), 2 * given.reshape(count, -1))
