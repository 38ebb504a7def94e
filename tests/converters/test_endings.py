"""How converted graphs end: what is averaged, and the dense layer behind it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgeclf
from edgeclf import SourceSpec
from edgeclf.artifact import Features, Metadata, load_artifact, seal_artifact
from edgeclf.converters.base import Recipe
from edgeclf.converters.endings import find_features
from edgeclf.converters.endings.onnx import OnnxGraph
from edgeclf.converters.endings.steps import Step, find_ending, mean_layout
from edgeclf.converters.endings.stored import stored_head
from edgeclf.converters.onnx import OnnxConverter
from edgeclf.converters.sources import open_model
from edgeclf.image import ImageSpec
from edgeclf.inference.classifier import Classifier
from edgeclf.networks.features import features_record
from support.onnx_models import SIZE, model, nodes, tensor, weights

METADATA = Metadata("m", ("a", "b", "c"), ImageSpec(SIZE, SIZE))
DENSE = numpy_helper.to_array(weights()[2])  # [channels, classes]
FIRST = [
    helper.make_node("Cast", ["image"], ["floats"], "cast", to=TensorProto.FLOAT),
    helper.make_node("Transpose", ["floats"], ["x"], "turn", perm=[0, 3, 1, 2]),
]
BODY = nodes()[:2]  # convolution and ReLU, "x" to "r"


def constant(name: str, values: Any) -> Any:
    return numpy_helper.from_array(np.asarray(values), name)


AXES = {
    "nchw": constant("axes", [2, 3]), "nhwc": constant("axes", [1, 2]),
    "from the end": constant("axes", [-1, -2]), "of channels": constant("axes", [1]),
}  # fmt: skip


def found(middle: list[Any], *more: Any, opset: int = 17, **settings: Any) -> Any:
    """What is found of a model, from its nodes behind "r"; None for no features at all."""
    made = model(
        [*FIRST, *BODY, *middle],
        inputs=[tensor("image", ["N", SIZE, SIZE, 3], TensorProto.UINT8)],
        initializers=[*weights(), *more],
        opset=opset,
        **settings,
    )
    record = find_features("onnx", made.SerializeToString(), METADATA)
    if record is None:
        return None
    return Features.of(dataclasses.replace(METADATA, features=json.loads(json.dumps(record))))


def node(kind: str, *tensors: str, **settings: Any) -> Any:
    *given, made = tensors
    return helper.make_node(kind, given, [made], f"{kind}_{made}", **settings)


POOL, FLAT = node("GlobalAveragePool", "r", "p"), node("Flatten", "p", "f", axis=1)
PRODUCT, SOFTMAX = node("MatMul", "f", "dense", "l"), node("Softmax", "l", "y")
PLAIN = [POOL, FLAT, PRODUCT, SOFTMAX]
ONES = constant("three", np.ones(3, np.float32))


def is_dense(features: Any, tensor_: str = "r", layout: str = "nchw") -> bool:
    """Whether the plain model's features and its dense layer were found."""
    assert features == Features(tensor_, layout, (SIZE, SIZE, 4))  # type: ignore[arg-type]
    if features.head is None:
        return False
    steps = np.abs(DENSE).max(axis=0) / 127
    assert np.all(np.abs(features.head - DENSE) <= steps * 0.51)
    return True


def test_pooling_and_a_dense_layer() -> None:
    assert is_dense(found(PLAIN))


@pytest.mark.parametrize(
    ("middle", "more"),
    [
        ([node("ReduceMean", "r", "f", axes=[2, 3], keepdims=0), PRODUCT, SOFTMAX], []),
        ([node("ReduceMean", "r", "f", axes=[-1, -2], keepdims=0), PRODUCT, SOFTMAX], []),
        ([node("ReduceMean", "r", "p", axes=[2, 3]), FLAT, PRODUCT, SOFTMAX], []),
        ([node("AveragePool", "r", "p", kernel_shape=[SIZE, SIZE]), FLAT, PRODUCT, SOFTMAX], []),
        ([POOL, node("Squeeze", "p", "sides", "f"), PRODUCT, SOFTMAX],
         [constant("sides", [2, 3])]),
        ([POOL, node("Shape", "image", "s"), node("Slice", "s", "zero", "one", "n"),
          node("Concat", "n", "rest", "wanted", axis=0), node("Reshape", "p", "wanted", "f"),
          PRODUCT, SOFTMAX],
         [constant("zero", [0]), constant("one", [1]), constant("rest", [4])]),
        ([POOL, FLAT, node("Gemm", "f", "turned", "three", "l", transB=1), SOFTMAX],
         [ONES, constant("turned", DENSE.T.copy())]),
        ([POOL, FLAT, node("Transpose", "turned", "w", perm=[1, 0]), node("MatMul", "f", "w", "l"),
          SOFTMAX], [constant("turned", DENSE.T.copy())]),
        ([POOL, FLAT, node("MatMul", "f", "dense", "d"), node("Add", "three", "d", "l"), SOFTMAX],
         [ONES]),
        ([POOL, node("Conv", "p", "kernel_1", "c1", kernel_shape=[1, 1]),
          node("Flatten", "c1", "l", axis=1), SOFTMAX],
         [constant("kernel_1", DENSE.T[:, :, np.newaxis, np.newaxis].copy())]),
        ([POOL, FLAT, PRODUCT, node("Softmax", "l", "s"), node("Identity", "s", "y")], []),
    ],
    ids=["axes", "axes from the end", "dimensions kept", "a window as large as the image",
         "squeeze", "a batch by its shape", "gemm", "weights turned in the graph", "bias first",
         "a convolution as dense layer", "named behind the softmax"],
)  # fmt: skip
def test_the_same_in_other_words(middle: list[Any], more: list[Any]) -> None:
    assert is_dense(found(middle, *more))


def test_axes_as_an_input() -> None:
    middle = [node("ReduceMean", "r", "axes", "f", keepdims=0), PRODUCT, SOFTMAX]
    for axes in (AXES["nchw"], AXES["from the end"]):
        assert is_dense(found(middle, axes, opset=18))
    assert found([node("ReduceMean", "r", "axes", "p"), node("GlobalMaxPool", "p", "q"),
                  node("Flatten", "q", "g", axis=1), node("MatMul", "g", "one", "l"), SOFTMAX],
                 AXES["of channels"], constant("one", np.ones((1, 3), np.float32)),
                 opset=18) is None  # fmt: skip


def test_channels_that_are_turned_before_they_are_averaged() -> None:
    middle = [node("Transpose", "r", "t", perm=[0, 2, 3, 1]),
              node("ReduceMean", "t", "f", axes=[1, 2], keepdims=0), PRODUCT, SOFTMAX]  # fmt: skip
    assert is_dense(found(middle))
    between = [middle[0], node("Relu", "t", "u"),
               node("ReduceMean", "u", "f", axes=[1, 2], keepdims=0), PRODUCT, SOFTMAX]  # fmt: skip
    assert is_dense(found(between), "u", "nhwc")


def test_weights_that_are_stored_as_integers() -> None:
    scale = (np.abs(DENSE).max(axis=0) / 127).astype(np.float32)
    stored = np.rint(DENSE / scale).astype(np.int8)
    middle = [POOL, FLAT, node("DequantizeLinear", "stored", "scale", "w", axis=1),
              node("MatMul", "f", "w", "l"), SOFTMAX]  # fmt: skip
    assert is_dense(found(middle, constant("stored", stored), constant("scale", scale)))


def test_pairs_that_quantise_change_nothing() -> None:
    pair = [constant("s", np.float32(0.1)), constant("z", np.uint8(0))]
    quantised = [node("QuantizeLinear", "r", "s", "z", "q"),
                 node("DequantizeLinear", "q", "s", "z", "r2")]  # fmt: skip
    middle = [*quantised, node("GlobalAveragePool", "r2", "p"), FLAT, PRODUCT, SOFTMAX]
    assert is_dense(found(middle, *pair), "r2")


@pytest.mark.parametrize(
    ("middle", "more"),
    [
        ([POOL, FLAT, node("HardSwish", "f", "h"), node("MatMul", "h", "dense", "l"), SOFTMAX], []),
        ([POOL, FLAT, node("LayerNormalization", "f", "four", "h"),
          node("MatMul", "h", "dense", "l"), SOFTMAX],
         [constant("four", np.ones(4, np.float32))]),
        ([POOL, FLAT, node("MatMul", "f", "square", "h"), node("MatMul", "h", "dense", "l"),
          SOFTMAX], [constant("square", np.eye(4, dtype=np.float32))]),
        ([POOL, FLAT, PRODUCT, node("Relu", "l", "l2"), node("Softmax", "l2", "y")], []),
        ([POOL, FLAT, node("Gemm", "f", "dense", "three", "l", alpha=0.5), SOFTMAX], [ONES]),
        ([POOL, FLAT, node("MatMul", "f", "dense", "d"), node("Mul", "d", "f3", "l"), SOFTMAX],
         [constant("f3", np.float32(2))]),
    ],
    ids=["an activation", "a normalisation", "two layers", "an activation behind", "a factor",
         "a temperature"],
)  # fmt: skip
def test_other_things_behind_leave_the_head_out(middle: list[Any], more: list[Any]) -> None:
    assert not is_dense(found(middle, *more))


def test_means_inside_are_passed_over() -> None:
    """Squeeze-and-excitation averages too, and its result only weighs the channels."""
    squeeze = [node("GlobalAveragePool", "r", "e"), node("Sigmoid", "e", "e2"),
               node("Mul", "r", "e2", "m")]  # fmt: skip
    end = [node("GlobalAveragePool", "m", "p"), FLAT, PRODUCT, SOFTMAX]
    assert is_dense(found([*squeeze, *end]), "m")
    flat = [*squeeze, node("GlobalMaxPool", "m", "p"), FLAT, PRODUCT, SOFTMAX]
    assert found(flat) is None


@pytest.mark.parametrize(
    ("middle", "more"),
    [
        ([node("GlobalMaxPool", "r", "p"), FLAT, PRODUCT, SOFTMAX], []),
        ([node("AveragePool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
          node("Flatten", "p", "g", axis=1), node("MatMul", "g", "many", "l"), SOFTMAX],
         [constant("many", np.ones((4 * SIZE * SIZE // 4, 3), np.float32))]),
        ([node("GlobalAveragePool", "r", "p"), node("GlobalMaxPool", "r", "p2"),
          node("Add", "p", "p2", "p3"), node("Flatten", "p3", "f", axis=1), PRODUCT, SOFTMAX], []),
    ],
    ids=["the largest", "windows", "mean and largest"],
)  # fmt: skip
def test_networks_that_end_otherwise_have_none(middle: list[Any], more: list[Any]) -> None:
    assert found(middle, *more) is None


def test_what_is_averaged_may_be_the_picture() -> None:
    made = model(
        [FIRST[0], node("ReduceMean", "floats", "f", axes=[1, 2], keepdims=0),
         node("MatMul", "f", "w", "l"), SOFTMAX],
        inputs=[tensor("image", ["N", SIZE, SIZE, 3], TensorProto.UINT8)],
        initializers=[constant("w", np.ones((3, 3), np.float32))],
    )  # fmt: skip
    record = find_features("onnx", made.SerializeToString(), METADATA)
    assert record is not None and record["tensor"] == "floats" and record["shape"] == [8, 8, 3]


class TestTFLite:
    @pytest.fixture
    def models(self) -> Any:
        pytest.importorskip("ai_edge_litert", reason="needs edgeclf[litert]")
        from support import tflite_models

        return tflite_models

    def found(self, content: bytes) -> Any:
        metadata = dataclasses.replace(METADATA, image=ImageSpec(4, 6))
        record = find_features("tflite", content, metadata)
        if record is None:
            return None
        return Features.of(dataclasses.replace(metadata, features=record))

    @pytest.mark.parametrize("quantized", [False, True])
    @pytest.mark.parametrize("keep", [False, True])
    def test_pooling_and_a_dense_layer(self, models: Any, quantized: bool, keep: bool) -> None:
        features = self.found(models.model(quantized=quantized, keep=keep))
        assert features == Features("features_é", "nhwc", (4, 6, 3))
        steps = np.abs(models.WEIGHTS).max(axis=1) / 127
        assert np.all(np.abs(features.head - models.WEIGHTS.T) <= steps * 0.51)

    @pytest.mark.parametrize("quantized", [False, True])
    def test_many_weights_are_read_from_the_graph(
        self, models: Any, quantized: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edgeclf.networks.features._HEAD_LIMIT_BYTES", 0)
        content = models.model(quantized=quantized)
        metadata = dataclasses.replace(METADATA, image=ImageSpec(4, 6))
        record = find_features("tflite", content, metadata)
        assert record is not None and record["head"]["kind"] == "stored"
        sealed = seal_artifact(content, dataclasses.replace(metadata, features=record))
        steps = np.abs(models.WEIGHTS).max(axis=1) / 127
        assert np.all(np.abs(sealed.features.head - models.WEIGHTS.T) <= steps * 0.51)

    def test_an_activation_leaves_the_head_out(self, models: Any) -> None:
        features = self.found(models.model(head=("LEAKY_RELU",)))
        assert features.tensor == "features_é" and features.head is None

    def test_a_name_that_two_tensors_have_is_none(self, models: Any) -> None:
        from edgeclf.converters.flatbuffer import pack, unpack

        tree = unpack(models.model())
        tree.subgraphs[0].tensors[0].name = "features_é".encode()
        assert self.found(pack(tree)) is None

    def test_several_graphs_are_told_and_have_none(
        self, models: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from edgeclf.converters.flatbuffer import pack, unpack

        tree = unpack(models.model())
        tree.subgraphs.append(tree.subgraphs[0])
        assert self.found(pack(tree)) is None
        assert "nothing of its features: The TFLite model has 2 graphs" in capsys.readouterr().err


def test_keras_files_are_not_looked_at() -> None:
    assert find_features("keras", b"PK", METADATA) is None


def test_an_answer_that_changes_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = Classifier.features
    monkeypatch.setattr(
        Classifier, "features", lambda self, images: (1 - given(self, images)[0], None)
    )
    assert found(PLAIN) is None
    assert "as an output, a probability changes by" in capsys.readouterr().err


def test_weights_are_stored_while_they_are_few() -> None:
    for classes, stored in ((50, True), (51, False)):
        record = features_record("x", "nhwc", (7, 7, 1280), np.ones((1280, classes), np.float32))
        assert (record["head"] is not None) == stored
    silent = features_record("x", "nhwc", (1, 1, 2), np.array([[0.0, 1], [0, -2]]))
    features = Features.of(Metadata("m", ("a", "b"), ImageSpec(8, 8), features=silent))
    assert features.head is not None
    assert features.head == pytest.approx(np.array([[0, 1], [0, -2]]), abs=0.01)


def test_weights_that_are_many_are_read_where_the_graph_has_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spec: SourceSpec
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)
    source = dataclasses.replace(open_model(elsewhere(tmp_path), spec).source, calibration=images)
    for recipe in (Recipe("fp32"), Recipe("int8", "min-max")):
        content = OnnxConverter(source).convert(recipe).content
        few = find_features("onnx", content, source.metadata)
        with monkeypatch.context() as patch:
            patch.setattr("edgeclf.networks.features._HEAD_LIMIT_BYTES", 0)
            many = find_features("onnx", content, source.metadata)
        assert few is not None and many is not None and many["head"]["kind"] == "stored"
        expected = Features.of(dataclasses.replace(source.metadata, features=few)).head
        metadata = dataclasses.replace(source.metadata, features=json.loads(json.dumps(many)))
        # What comes behind the model, as trust does, moves nothing.
        for description in (None, "A text. " * 100):
            said = dataclasses.replace(metadata, description=description)
            head = load_artifact(seal_artifact(content, said).content).features.head
            assert head is not None and expected is not None
            assert np.all(np.abs(head - expected) <= np.abs(head).max(axis=0) / 127 * 0.51)
            assert recipe.precision == "int8" or np.array_equal(head, DENSE)
    # Other numbers than the graph stores are left out rather than guessed.
    assert stored_head(OnnxGraph(content).stored(), DENSE + 1, content) is None


def test_means_over_rows_and_columns_alone_count() -> None:
    axes = {(1, 2): "nhwc", (2, 1): "nhwc", (2, 3): "nchw", (-2, -1): "nchw", (-3, -2): "nhwc"}
    assert {each: mean_layout(each) for each in axes} == axes
    assert not any(mean_layout(each) for each in ((1,), (3,), (1, 2, 3), (0, 1), ()))


def test_the_last_mean_of_all_is_taken() -> None:
    class Twice:
        steps = (Step("mean", ("x",), ("a",)), Step("mean", ("a",), ("b",)),
                 Step("dense", ("b",), ("c",), weights=lambda: np.ones((1, 1))),
                 Step("softmax", ("c",), ("y",)))  # fmt: skip
        output = "y"

        def name_of(self, tensor: str) -> str:
            return tensor

        def shape_of(self, tensor: str) -> tuple[int, ...]:
            return ()

    ending = find_ending(Twice())
    assert ending is not None and ending.tensor == "a" and ending.weights is not None


@pytest.fixture
def spec(tmp_path: Path) -> SourceSpec:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    return SourceSpec(labels=tmp_path / "labels.txt", layout="nchw", scores="logits")


def elsewhere(tmp_path: Path) -> Path:
    """Another layout, and logits."""
    made = model(nodes()[:-1], outputs=[tensor("logits", ["N", 3])])
    onnx.save(made, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_a_model_from_elsewhere_comes_with_its_features(tmp_path: Path, spec: SourceSpec) -> None:
    for written in edgeclf.convert(elsewhere(tmp_path), to=["fp32.onnx", "fp16.onnx"], source=spec):
        assert written.path is not None
        artifact = load_artifact(written.path)
        features = Features.of(artifact.metadata)
        assert is_dense(features, features.tensor)
        images = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
        with Classifier(artifact) as plain, Classifier(artifact) as tapped:
            change = np.abs(tapped.features(images)[0] - plain.probabilities(images)).max()
        assert change <= {"fp32": 1e-6, "fp16": 1e-3}[artifact.metadata.precision]


def test_int8_of_it_answers_the_same_to_the_bit(tmp_path: Path, spec: SourceSpec) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)
    source = dataclasses.replace(open_model(elsewhere(tmp_path), spec).source, calibration=images)
    content = OnnxConverter(source).convert(Recipe("int8", "min-max")).content
    record = find_features("onnx", content, source.metadata)
    assert record is not None and record["layout"] == "nchw" and record["head"] is not None
    artifact = seal_artifact(content, dataclasses.replace(source.metadata, features=record))
    with Classifier(artifact) as plain, Classifier(artifact) as tapped:
        probabilities, features = tapped.features(images)
        assert np.array_equal(probabilities, plain.probabilities(images))
    logits = features.mean(axis=(1, 2)) @ Features.of(artifact.metadata).head
    assert np.abs(logits - np.log(probabilities)).std(axis=1).max() < 0.05
