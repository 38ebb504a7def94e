"""Artifacts in readers that are not ours, which know nothing of edgeclf."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgeclf.artifact import load_artifact
from edgeclf.converters import flatbuffer
from edgeclf.converters.flatbuffer.tree import operator_name, schema, text, unpack_graph
from edgeclf.converters.tflite_weights import with_seven_bits
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
OPENVINO = {
    "fp32.onnx": 1e-4, "fp16.onnx": 5e-3, "int8.onnx": 0.05,
    "fp32.tflite": 1e-4, "fp16.tflite": 1e-4, "dynamic.tflite": 1e-4, "int8.tflite": 0.05,
    "int8-full.tflite": 0.05,
}  # fmt: skip


@pytest.mark.parametrize("file", OPENVINO)
def test_openvino_answers_alike(
    monkeypatch: pytest.MonkeyPatch, model_folder: Path, images: np.ndarray, file: str
) -> None:
    # Hidden: it would report the import to its maker.
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
    openvino = pytest.importorskip("openvino", reason="needs edgeclf[interop]")
    path = model_folder / f"mugs.{file}"
    core = openvino.Core()
    # Else it computes in bfloat16 where the CPU can.
    model = core.compile_model(path, "CPU", {"EXECUTION_MODE_HINT": "ACCURACY"})
    given = as_int8(images) if file.startswith("int8-full") else images
    found = np.concatenate([model(image[np.newaxis])[0].copy() for image in given])
    assert np.abs(from_int8(found) - answers(path, images)).max() <= OPENVINO[file]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "dynamic", "int8", "int8-full"])
def test_tf2onnx_reads_tflite_and_keeps_its_answers(
    model_folder: Path, images: np.ndarray, precision: str
) -> None:
    tf2onnx = pytest.importorskip("tf2onnx", reason="needs edgeclf[convert]")
    from edgeclf.runtimes.onnxruntime import open_session

    path = model_folder / f"mugs.{precision}.tflite"
    model, _ = tf2onnx.convert.from_tflite(str(path), opset=18)
    session = open_session(model.SerializeToString())
    (given,) = session.get_inputs()
    pictures = as_int8(images) if precision == "int8-full" else images
    found = np.concatenate([session.run(None, {given.name: p[np.newaxis]})[0] for p in pictures])
    assert np.abs(from_int8(found) - answers(path, images)).max() <= 0.05


def as_int8(images: np.ndarray) -> np.ndarray:
    return (images ^ 0x80).view(np.int8)


def from_int8(scores: np.ndarray) -> np.ndarray:
    """Probabilities, of int8-full by its fixed scale."""
    if scores.dtype != np.int8:
        return scores
    rows = (scores.astype(np.float32) + 128) / 256
    return rows / rows.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "dynamic", "int8", "int8-full"])
def test_operators_have_their_codes_in_both_fields(model_folder: Path, precision: str) -> None:
    """The old one is a byte; readers of before 2020 look there first, and so do newer ones."""
    tree = flatbuffer.unpack((model_folder / f"mugs.{precision}.tflite").read_bytes())
    codes = [(code.builtinCode, code.deprecatedBuiltinCode) for code in tree.operatorCodes]
    assert codes and all(code == old for code, old in codes)
    tree.operatorCodes[0].builtinCode = 150  # STABLEHLO_ADD_N and others have no place in a byte
    again = flatbuffer.unpack(flatbuffer.pack(tree)).operatorCodes[0]
    assert (again.builtinCode, again.deprecatedBuiltinCode) == (150, 127)


@pytest.mark.parametrize("precision", ["dynamic", "int8", "int8-full"])
def test_products_of_bytes_fit_16_bits_in_pairs(model_folder: Path, precision: str) -> None:
    """Where a CPU without VNNI would clip them: OpenVINO had 210 of 240 answers, off by 0.88."""
    content = (model_folder / f"mugs.{precision}.tflite").read_bytes()
    at_the_image = flatbuffer.image_layers(content)
    largest = {name: np.abs(w).max() for name, w in stored_weights(content).items()}
    assert 2 * 255 * 64 < 2**15 < 2 * 255 * 127
    if precision == "dynamic":  # multiplies floats behind it, with all eight bits
        assert len(at_the_image) == 1 and not at_the_image & largest.keys()
        assert set(largest.values()) == {127}
    else:
        assert at_the_image < largest.keys() and set(largest.values()) == {64}


def test_a_dense_layer_that_takes_the_image_is_stored_as_int8() -> None:
    """Left in float as a convolution is, it would be most of the file."""
    keras = pytest.importorskip("keras")
    pytest.importorskip("litert_quantizer")
    from edgeclf.artifact import Metadata, Normalization
    from edgeclf.converters.base import Recipe, Source, TensorFlowGraph
    from edgeclf.converters.tflite import TFLiteConverter
    from edgeclf.image import ImageSpec

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(16, "relu"),
         keras.layers.Dense(2, "softmax")]
    )  # fmt: skip
    graph = TensorFlowGraph(model, [variable.value for variable in model.variables])
    metadata = Metadata("m", ("a", "b"), ImageSpec(8, 8), normalization=Normalization(128.0, 64.0))
    converted = TFLiteConverter(Source(graph, metadata)).convert(Recipe("dynamic"))
    (layer,) = flatbuffer.image_layers(converted.content)
    assert np.abs(stored_weights(converted.content)[layer]).max() == 64


def stored_weights(content: bytes) -> dict[str, np.ndarray]:
    """The int8 weights of all but depthwise layers by output, also those behind a DEQUANTIZE."""
    tree, graph = unpack_graph(content)
    makers = {operator.outputs[0]: operator for operator in graph.operators}
    found = {}
    for operator in graph.operators:
        if operator_name(tree, operator) in ("CONV_2D", "FULLY_CONNECTED"):
            index = operator.inputs[1]
            tensor = graph.tensors[makers[index].inputs[0] if index in makers else index]
            if tensor.type == schema().TensorType.INT8:
                stored = np.asarray(tree.buffers[tensor.buffer].data).view(np.int8)
                found[text(graph.tensors[operator.outputs[0]].name)] = stored.astype(int)
    return found


def test_coarser_steps_keep_weights_that_were_on_them(model_folder: Path) -> None:
    steps = np.arange(-64, 65, dtype=np.float32).reshape(1, 129) * 0.125
    codes = np.rint(steps / (8.0 / 127)).astype(np.int8)
    model = load_artifact(model_folder / "mugs.int8.tflite").content
    tree, graph = unpack_graph(model)
    (dense,) = (o for o in graph.operators if operator_name(tree, o) == "FULLY_CONNECTED")
    tensor = graph.tensors[dense.inputs[1]]
    tensor.shape, tensor.quantization.scale = codes.shape, [8.0 / 127]
    tree.buffers[tensor.buffer].data = codes.view(np.uint8).ravel()
    tree, graph = unpack_graph(with_seven_bits(flatbuffer.pack(tree)))
    tensor = graph.tensors[dense.inputs[1]]
    found = np.asarray(tree.buffers[tensor.buffer].data).view(np.int8)
    assert (found * tensor.quantization.scale[0]).tolist() == pytest.approx(steps.ravel().tolist())
    assert np.abs(found).max() == 64


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
