"""TFLite files in all the forms that exporters give them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeclf
from edgeclf import Classifier, SourceSpec
from edgeclf.artifact import seal_artifact
from edgeclf.converters import find_converter
from edgeclf.converters.sources import SourceModel, open_model
from edgeclf.errors import ConversionError, OptionError
from edgeclf.training.teachers import open_teacher

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
tf = pytest.importorskip("tensorflow", reason="needs edgeclf[train]")
pytest.importorskip("ai_edge_litert", reason="needs edgeclf[litert]")

SIZE = 8
IMAGES = np.random.default_rng(1).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
IMAGES[2:] //= 3  # some dark ones, so that answers differ


@pytest.fixture(scope="module")
def network() -> Any:
    """From 0..1, of any size, to three probabilities."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, activation="relu", padding="same")(image)
    x = layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(stddev=3))(
        layers.GlobalAveragePooling2D()(x)
    )
    return keras.Model(image, layers.Softmax()(x))


@pytest.fixture(scope="module")
def expected(network: Any) -> np.ndarray:
    answers: np.ndarray = network.predict_on_batch(IMAGES.astype(np.float32) / 255)
    assert np.ptp(answers, axis=0).max() > 0.1
    return answers


@pytest.fixture
def export(network: Any, tmp_path: Path) -> Callable[..., Path]:
    """Writes m.tflite by TensorFlow's converter, by default of a fixed size."""

    def write(model: Any = None, **settings: Any) -> Path:
        if model is None:
            image = keras.Input((SIZE, SIZE, 3))
            model = keras.Model(image, network(image))
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        for name, value in settings.items():
            setattr(converter, name, value)
        (tmp_path / "m.tflite").write_bytes(converter.convert())
        return tmp_path / "m.tflite"

    return write


@pytest.fixture
def spec(tmp_path: Path) -> SourceSpec:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    return SourceSpec(labels=tmp_path / "labels.txt", input_range=(0, 1))


def photos() -> Any:
    for image in IMAGES:
        yield [image[np.newaxis].astype(np.float32) / 255]


def converted(source: SourceModel, precision: str) -> np.ndarray:
    """The answers of an artifact that the source became."""
    given = dataclasses.replace(source.source, calibration=IMAGES)
    converter = find_converter("tflite")(given)
    content = converter.convert(converter.recipes(precision)[0]).content
    with Classifier(seal_artifact(content, given.metadata)) as classifier:
        return classifier.probabilities(IMAGES)


SMALLER = {"optimizations": [tf.lite.Optimize.DEFAULT]}


def test_an_open_size_is_asked_for(
    network: Any, export: Callable[..., Path], spec: SourceSpec, expected: np.ndarray
) -> None:
    path = export(network)
    with pytest.raises(OptionError, match=r"open: .*Add --input-size"):
        open_model(path, spec)
    source = open_model(path, dataclasses.replace(spec, input_size=(SIZE, SIZE)))
    assert np.abs(source.answers(IMAGES) - expected).max() < 1e-5
    for precision, near in (("fp32", 1e-5), ("int8", 0.05), ("int8-full", 0.05)):
        assert np.abs(converted(source, precision) - expected).max() < near


def test_weights_in_half_are_floats_again(
    export: Callable[..., Path], spec: SourceSpec, expected: np.ndarray
) -> None:
    half = tf.lite.TargetSpec(supported_types=[tf.float16])
    source = open_model(export(**SMALLER, target_spec=half), spec)
    assert source.source.quantized is None
    assert source.source.metadata.parameters == 4 * 27 + 4 + 4 * 3  # the last bias is zero
    for precision, near in (("fp32", 3e-3), ("int8", 0.05)):
        assert np.abs(converted(source, precision) - expected).max() < near


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
@pytest.mark.parametrize("ends", ["float32", "uint8", "int8"])
def test_static_int8_is_taken_over(
    ends: str, export: Callable[..., Path], spec: SourceSpec, expected: np.ndarray
) -> None:
    kind = getattr(tf, ends)
    types = {} if ends == "float32" else {"inference_input_type": kind,
                                          "inference_output_type": kind}  # fmt: skip
    path = export(**SMALLER, representative_dataset=photos, **types)
    source = open_model(path, spec)
    assert np.abs(source.answers(IMAGES) - expected).max() < 0.05
    (artifact,) = edgeclf.convert(path, to=["int8.tflite"], source=spec)
    assert artifact.metadata.precision == "int8" and artifact.metadata.calibration is None
    scheme = (artifact.metadata.quantization or {})["scheme"]
    assert scheme == "static, int8 activations, taken over as it was"
    with Classifier(artifact) as classifier:
        assert np.abs(classifier.probabilities(IMAGES) - source.answers(IMAGES)).max() < 1e-3
    with pytest.raises(ConversionError, match=r"quantised already.*convert the float model"):
        edgeclf.convert(path, to=["fp32.tflite"], source=spec)
    taught = np.exp(open_teacher(source, ("a", "b", "c")).answer(IMAGES).logits)
    assert np.abs(taught - expected).max() < 0.05
    if ends != "float32":
        with pytest.raises(OptionError, match=r"values from 0 to .*--input-range 0 1"):
            open_model(path, SourceSpec(labels=spec.labels))


@pytest.mark.parametrize("names", ["same", None])
def test_tensors_without_names_of_their_own(
    names: str | None, network: Any, export: Callable[..., Path], spec: SourceSpec,
    expected: np.ndarray,
) -> None:  # fmt: skip
    from edgeclf.converters.flatbuffer.tree import pack, unpack

    image = keras.Input((SIZE, SIZE, 3))
    logits = keras.Model(network.input, network.layers[-2].output)(image)
    path = export(keras.Model(image, [logits, keras.layers.Softmax()(logits)]))
    tree = unpack(path.read_bytes())
    for tensor in tree.subgraphs[0].tensors:
        tensor.name = names
    path.write_bytes(pack(tree))
    source = open_model(path, spec)
    assert np.abs(source.answers(IMAGES) - expected).max() < 1e-5
    for precision, near in (("fp32", 1e-5), ("fp16", 0.01), ("int8", 0.05)):
        assert np.abs(converted(source, precision) - expected).max() < near


def test_what_another_output_needs_is_no_quantisation(
    export: Callable[..., Path], spec: SourceSpec, expected: np.ndarray
) -> None:
    from ai_edge_litert import schema_py_generated as schema

    from edgeclf.converters.flatbuffer.editor import Editor
    from edgeclf.converters.flatbuffer.tree import pack, unpack

    path = export()
    tree = unpack(path.read_bytes())
    (graph,) = tree.subgraphs
    editor, kinds = Editor(tree), schema.TensorType
    names = {"bytes": kinds.INT8, "doubled": kinds.INT8, "other": kinds.FLOAT32}
    stored, doubled, other = (editor.tensor(name, kind, (1, 3)) for name, kind in names.items())
    for tensor in (stored, doubled):
        editor.quantized(tensor, 1 / 64, 0)
    editor.last("QUANTIZE", schema.QuantizeOptionsT(), [graph.outputs[0]], stored)
    editor.last("ADD", schema.AddOptionsT(), [stored, stored], doubled)
    editor.last("DEQUANTIZE", schema.DequantizeOptionsT(), [doubled], other)
    graph.outputs = [*graph.outputs, other]
    path.write_bytes(pack(tree))
    source = open_model(path, spec)
    assert source.source.quantized is None
    for precision, near in (("fp32", 1e-5), ("int8", 0.05)):
        assert np.abs(converted(source, precision) - expected).max() < near


def test_dynamic_is_taken_over(
    export: Callable[..., Path], spec: SourceSpec, expected: np.ndarray
) -> None:
    from litert_quantizer import qtyping, quantizer

    engine = quantizer.Quantizer(str(export()))
    engine.add_dynamic_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, num_bits=8)
    path = spec.labels.parent / "d.tflite"  # type: ignore[union-attr]
    path.write_bytes(bytes(engine.quantize().quantized_model))
    (artifact,) = edgeclf.convert(path, to=["dynamic.tflite"], source=spec)
    assert artifact.metadata.precision == "dynamic"
    with pytest.raises(ConversionError, match=r"quantised as values come, in 2 operators"):
        edgeclf.convert(path, to=["fp32.tflite"], source=spec)


def test_bytes_as_input_are_no_quantisation(
    network: Any, export: Callable[..., Path], spec: SourceSpec, expected: np.ndarray
) -> None:
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    path = export(keras.Model(image, network(keras.layers.Rescaling(1 / 255)(image))))
    with pytest.raises(OptionError, match="Leave --input-range"):
        open_model(path, spec)
    source = open_model(path, SourceSpec(labels=spec.labels))
    assert source.source.quantized is None
    assert np.abs(converted(source, "fp32") - expected).max() < 1e-5


def test_the_output_that_fits_is_taken(
    network: Any, export: Callable[..., Path], spec: SourceSpec, expected: np.ndarray
) -> None:
    image = keras.Input((SIZE, SIZE, 3))
    dense = keras.Model(network.input, [network.layers[-3].output, network.layers[-2].output])
    features, logits = dense(image)
    path = export(keras.Model(image, [features, logits, keras.layers.Softmax()(logits)]))
    for scores in ("probabilities", "logits"):
        source = open_model(path, dataclasses.replace(spec, scores=scores))
        assert np.abs(source.answers(IMAGES) - expected).max() < 1e-5
        assert np.abs(converted(source, "fp32") - expected).max() < 1e-5


def test_one_image_of_a_batch_and_scores_in_a_corner(
    network: Any, export: Callable[..., Path], spec: SourceSpec, expected: np.ndarray
) -> None:
    image = keras.Input(batch_shape=(4, SIZE, SIZE, 3))
    path = export(keras.Model(image, keras.layers.Reshape((1, 1, 3))(network(image))))
    source = open_model(path, spec)
    assert np.abs(source.answers(IMAGES) - expected).max() < 1e-5
    for precision, near in (("fp32", 1e-5), ("int8", 0.05)):
        assert np.abs(converted(source, precision) - expected).max() < near


def test_a_saved_model_with_several_outputs(
    network: Any, tmp_path: Path, spec: SourceSpec, expected: np.ndarray
) -> None:
    class Several(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.uint8)])
        def __call__(self, images: Any) -> Any:
            answers = self.network(tf.cast(images, tf.float32) / 255)
            return {"logits": tf.math.log(answers), "probabilities": answers, "id": images[:, 0, 0]}

    module = Several()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.__call__)
    for scores in ("probabilities", "logits"):
        source = open_model(tmp_path / "saved", SourceSpec(labels=spec.labels, scores=scores))
        assert np.abs(source.answers(IMAGES) - expected).max() < 1e-5
    with pytest.raises(OptionError, match="Leave --input-range"):
        open_model(tmp_path / "saved", spec)
