"""A network cut in two answers as it does whole, and is cut where several pictures suit it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
onnx = pytest.importorskip("onnx", reason="needs edgeclf[convert]")

from edgeclf.image import ImageSpec  # noqa: E402
from edgeclf.networks.builder import build_classifier, find_backbone  # noqa: E402
from edgeclf.networks.engines import OnnxEngine  # noqa: E402
from edgeclf.networks.onnx_network import onnx_of  # noqa: E402
from edgeclf.networks.onnx_parts import parts_of  # noqa: E402
from support.layer_networks import with_statistics  # noqa: E402

layers = keras.layers
SIDE = 128
ENDS = ("logits", "features")


@pytest.fixture(scope="module")
def student() -> keras.Model:
    return with_statistics(build_classifier(find_backbone("student-m"), 3, ImageSpec(SIDE, SIDE)))


def outputs(model: keras.Model, ends: Sequence[str]) -> list[keras.KerasTensor]:
    return [model.get_layer(name).output for name in ends]


def test_the_second_part_has_small_maps_alone(student: keras.Model) -> None:
    whole = onnx_of(student, outputs(student, ENDS))
    parts = parts_of(whole)
    assert [part.together for part in parts] == [2, 8]
    first, second = (onnx.load_from_string(part.content) for part in parts)
    assert [value.name for value in first.graph.input] == ["image"]
    (between,) = first.graph.output
    assert list(second.graph.input) == [between]
    assert list(second.graph.output) == list(whole.graph.output)
    assert [*first.graph.node, *second.graph.node] == list(whole.graph.node)
    held = [len(part.graph.initializer) for part in (first, second)]
    assert min(held) > 4 and sum(held) == len(whole.graph.initializer)

    def largest(part: onnx.ModelProto) -> int:
        values = onnx.shape_inference.infer_shapes(part).graph.value_info
        shapes = [value.type.tensor_type.shape.dim[1:] for value in values]
        return max(int(np.prod([size.dim_value for size in shape])) for shape in shapes)

    assert largest(first) > 80_000 >= largest(second)
    assert second.graph.node[0].op_type == "Conv"  # nothing is torn from what it is fused with


@pytest.mark.parametrize("count", [1, 3, 17, 33])
@pytest.mark.parametrize("cpus", [1, 2, 3])
def test_it_answers_as_it_does_whole(
    student: keras.Model, count: int, cpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeclf.networks.engines.available_cpus", lambda: cpus)
    ends = outputs(student, ENDS)
    whole = onnxruntime.InferenceSession(
        onnx_of(student, ends).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    expected = whole.run(None, {"image": images.astype(np.float32)})
    for one, other in zip(OnnxEngine(student, ends)(images), expected, strict=True):
        assert one.shape == other.shape and other.std() > 0
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_where_an_end_lies_below_it_is_left_whole(student: keras.Model) -> None:
    ends = outputs(student, ["block0_project_bn", "logits"])
    (part,) = parts_of(onnx_of(student, ends))
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    session = onnxruntime.InferenceSession(part.content, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"image": images.astype(np.float32)})
    for one, other in zip(OnnxEngine(student, ends)(images), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_large_maps_few_weights_and_paths_around_are_left_whole(student: keras.Model) -> None:
    assert len(parts_of(onnx_of(student, outputs(student, ["block0_project_bn"])))) == 1
    smaller = build_classifier(find_backbone("student"), 3, ImageSpec(SIDE, SIDE))
    assert len(parts_of(onnx_of(smaller, outputs(smaller, ENDS)))) == 1

    tiny = build_classifier(find_backbone("student-m"), 3, ImageSpec(48, 48))
    assert [part.together for part in parts_of(onnx_of(tiny, outputs(tiny, ENDS)))] == [8]

    image = keras.Input((400, 400, 3), name="image")
    x = layers.Conv2D(64, 3, strides=20, padding="same")(image)
    for _ in range(8):
        x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    around = layers.Conv2D(64, 3, strides=20, padding="same")(image)  # what x was made of, anew
    joined = layers.Add()([x, around])
    model = keras.Model(image, [x, joined])
    assert [part.together for part in parts_of(onnx_of(model, [x]))] == [1, 8]
    assert [part.together for part in parts_of(onnx_of(model, [joined]))] == [1]
