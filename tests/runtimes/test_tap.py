"""Features as a second output: made in memory, while the file and its answers stay as they are."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf.artifact import Artifact, Features, Metadata, load_artifact, seal_artifact
from edgeclf.errors import ArtifactError, InferenceError, RuntimeLoadError
from edgeclf.image import ImageSpec
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes import load_runtime
from edgeclf.runtimes.base import as_features
from edgeclf.runtimes.tap import with_features_output

IMAGES = np.random.default_rng(1).integers(0, 256, (5, 4, 6, 3), np.uint8)
LABELS = ("a", "b", "c")


def record(tensor: str, shape: tuple[int, ...], layout: str = "nhwc") -> dict[str, Any]:
    return {"tensor": tensor, "layout": layout, "shape": list(shape), "pooling": "mean",
            "head": None}  # fmt: skip


def renamed(artifact: Artifact, tensor: str) -> Artifact:
    """As if the graph had been changed after conversion."""
    features = {**(artifact.metadata.features or {}), "tensor": tensor}
    metadata = dataclasses.replace(artifact.metadata, features=features)
    return dataclasses.replace(artifact, metadata=metadata)


@cache
def tflite(quantized: bool = False) -> Artifact:
    pytest.importorskip("ai_edge_litert", reason="needs edgeclf[litert]")
    from support import tflite_models

    features = record("features_é", (4, 6, 3))
    metadata = Metadata("t", LABELS, ImageSpec(4, 6), features=features)
    return seal_artifact(tflite_models.model(quantized=quantized), metadata)


@cache
def onnx(layout: str = "nchw", batch: Any = "N") -> Artifact:
    pytest.importorskip("onnx", reason="needs edgeclf[convert]")
    pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
    from onnx import TensorProto, helper

    from support import onnx_models

    first = [
        helper.make_node("Cast", ["image"], ["floats"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["x"], "transpose", perm=[0, 3, 1, 2]),
    ]
    back = [helper.make_node("Transpose", ["r"], ["nhwc"], "back", perm=[0, 2, 3, 1])]
    model = onnx_models.model(
        [*first, *onnx_models.nodes(), *(back if layout == "nhwc" else [])],
        inputs=[onnx_models.tensor("image", [batch, 4, 6, 3], TensorProto.UINT8)],
        outputs=[onnx_models.tensor("y", [batch, 3])],
    )
    features = record("nhwc" if layout == "nhwc" else "r", (4, 6, 4), layout)
    metadata = Metadata("o", LABELS, ImageSpec(4, 6), features=features)
    return seal_artifact(model.SerializeToString(), metadata)


@cache
def keras_model() -> Any:
    keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((4, 6, 3), dtype="uint8", name="image")
    x = layers.Conv2D(4, 1, activation="relu", name="last")(layers.Rescaling(1 / 255)(image))
    x = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Softmax()(x))


@cache
def keras() -> Artifact:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        keras_model().save(Path(folder) / "m.keras")
        model = (Path(folder) / "m.keras").read_bytes()
    features = record("last", (4, 6, 4))
    return seal_artifact(model, Metadata("k", LABELS, ImageSpec(4, 6), features=features))


MAKERS: list[tuple[str, Callable[[], Artifact]]] = [
    ("litert", tflite),
    ("litert", lambda: tflite(quantized=True)),
    ("onnxruntime", onnx),
    ("onnxruntime", lambda: onnx("nhwc")),
    ("onnxruntime", lambda: onnx(batch=1)),
    ("tensorflow", keras),
]
IDS = ["tflite", "int8.tflite", "onnx", "nhwc.onnx", "one-by-one.onnx", "keras"]
every_kind = pytest.mark.parametrize(("runtime", "make"), MAKERS, ids=IDS)


@every_kind
def test_the_answers_stay_and_the_features_explain_them(
    runtime: str, make: Callable[[], Artifact]
) -> None:
    artifact = make()
    content = artifact.content
    plain = load_runtime(runtime, artifact, threads=1)
    tapped = load_runtime(runtime, artifact, threads=1)
    probabilities, features = tapped.run_with_features(IMAGES)  # type: ignore[attr-defined]
    shape = Features.of(artifact.metadata).shape
    assert features.shape == (5, *shape) and features.dtype == np.float32
    assert np.array_equal(probabilities, plain.run(IMAGES))
    assert np.array_equal(tapped.run(IMAGES), probabilities)
    again = tapped.run_with_features(IMAGES[3:])  # type: ignore[attr-defined]
    assert np.array_equal(again[1], features[3:])
    assert artifact.content is content and load_artifact(content).format == artifact.format
    none = tapped.run_with_features(IMAGES[:0])  # type: ignore[attr-defined]
    assert none[0].shape == (0, 3) and none[1].shape == (0, *shape)


def test_the_features_are_the_tensors_values() -> None:
    floats = load_runtime("litert", tflite())
    assert np.array_equal(floats.run_with_features(IMAGES)[1], IMAGES)  # type: ignore[attr-defined]
    integers = load_runtime("litert", tflite(quantized=True))
    found = integers.run_with_features(IMAGES)[1]  # type: ignore[attr-defined]
    assert np.array_equal(found % 2, np.zeros_like(found))
    assert np.abs(found - IMAGES).max() <= 1
    assert np.allclose(
        load_runtime("onnxruntime", onnx()).run_with_features(IMAGES)[1],  # type: ignore[attr-defined]
        load_runtime("onnxruntime", onnx("nhwc")).run_with_features(IMAGES)[1],  # type: ignore[attr-defined]
        atol=1e-5,
    )


def test_keras_gives_its_layers_output() -> None:
    model = keras_model()
    layers = {layer.name: layer for layer in model.layers}
    scaled = (IMAGES / 255).astype(np.float32)
    expected = np.maximum(scaled @ layers["last"].kernel.numpy()[0, 0] + layers["last"].bias, 0)
    runtime = load_runtime("tensorflow", keras())
    features = runtime.run_with_features(IMAGES)[1]  # type: ignore[attr-defined]
    assert np.allclose(features, expected, atol=1e-5)


@every_kind
def test_a_tensor_that_is_not_there_is_named(runtime: str, make: Callable[[], Artifact]) -> None:
    classifier = Classifier(renamed(make(), "gone"), runtime=runtime)
    expected = classifier.probabilities(IMAGES)
    for _ in range(2):
        with pytest.raises(ArtifactError, match=r"features are in 'gone', .* Convert it again"):
            classifier.features(IMAGES)
    assert np.array_equal(classifier.probabilities(IMAGES), expected)


@every_kind
def test_a_file_without_features_still_answers(runtime: str, make: Callable[[], Artifact]) -> None:
    artifact = make()
    metadata = dataclasses.replace(artifact.metadata, features=None)
    classifier = Classifier(dataclasses.replace(artifact, metadata=metadata), runtime=runtime)
    with pytest.raises(ArtifactError, match="does not say where its features are"):
        classifier.features(IMAGES)
    assert classifier.probabilities(IMAGES).shape == (5, 3)


@every_kind
def test_a_shape_that_is_not_the_files_is_an_error(
    runtime: str, make: Callable[[], Artifact]
) -> None:
    artifact = make()
    features = {**(artifact.metadata.features or {}), "shape": [6, 4, 4]}
    metadata = dataclasses.replace(artifact.metadata, features=features)
    classifier = Classifier(dataclasses.replace(artifact, metadata=metadata), runtime=runtime)
    with pytest.raises(InferenceError, match=r"features of shape \(5, 4, 6, .*\(5, 6, 4, 4\)"):
        classifier.features(IMAGES)


@every_kind
def test_a_closed_runtime_says_so(runtime: str, make: Callable[[], Artifact]) -> None:
    loaded: Any = load_runtime(runtime, make())
    loaded.close()
    with pytest.raises(InferenceError, match="closed"):
        loaded.run_with_features(IMAGES)
    with pytest.raises(InferenceError, match="closed"):
        loaded.run_with_features(IMAGES)


@every_kind
def test_the_first_calls_may_come_from_threads(runtime: str, make: Callable[[], Artifact]) -> None:
    loaded: Any = load_runtime(runtime, make(), threads=1)
    expected = loaded.run(IMAGES)
    found: list[Any] = []

    def work() -> None:
        found.append(loaded.run_with_features(IMAGES))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4
    for probabilities, features in found:
        assert np.array_equal(probabilities, expected)
        assert np.array_equal(features, found[0][1])


def test_a_flatbuffer_keeps_its_names_and_its_bytes() -> None:
    from edgeclf.converters import flatbuffer

    artifact = tflite()
    model = with_features_output(artifact)
    before = artifact.model_content
    assert len(model) - len(before) < 150
    changed = sum(a != b for a, b in zip(model[: len(before)], before, strict=True))
    assert changed <= 8  # two offsets
    tree = flatbuffer.unpack(model)
    (graph,), (signature,) = tree.subgraphs, tree.signatureDefs
    assert [graph.tensors[i].name for i in graph.outputs] == [
        b"probabilities",
        "features_é".encode(),
    ]
    assert [(m.name, m.tensorIndex) for m in signature.outputs] == [
        (b"probabilities", graph.outputs[0]), (b"features", graph.outputs[1])
    ]  # fmt: skip


def test_a_flatbuffer_without_a_signature_is_edited_too() -> None:
    from edgeclf.converters import flatbuffer

    tree = flatbuffer.unpack(tflite().model_content)
    tree.signatureDefs = None
    artifact = seal_artifact(flatbuffer.pack(tree), tflite().metadata)
    runtime: Any = load_runtime("litert", artifact)
    assert np.array_equal(runtime.run_with_features(IMAGES)[1], IMAGES)


def test_the_compiled_model_interface_of_litert_gives_them_too() -> None:
    from edgeclf.runtimes.litert import _CompiledModel

    compiled = _CompiledModel("CPU", with_features_output(tflite()))
    expected = load_runtime("litert", tflite()).run(IMAGES[:1])
    assert compiled.invoke(IMAGES[:1]) == pytest.approx(expected[0], abs=1e-6)
    assert np.array_equal(compiled.features(), IMAGES[:1])
    with pytest.raises(RuntimeLoadError, match="features are int8, expected float32"):
        _CompiledModel("CPU", with_features_output(tflite(quantized=True)))


def test_values_that_are_not_finite_are_refused() -> None:
    features = Features("x", "nhwc", (1, 1, 1))
    with pytest.raises(InferenceError, match="not finite"):
        as_features([np.full((1, 1, 1, 1), np.nan)], 1, features)


def test_damage_behind_an_intact_seal_is_an_error() -> None:
    artifact = tflite()
    hollow = seal_artifact(b"\x1c\0\0\0TFL3" + bytes(64), artifact.metadata)
    with pytest.raises(ArtifactError, match=r"cannot be edited|no such tensor"):
        with_features_output(hollow)
