"""ONNX files in all the forms that exporters give them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgeclf
from edgeclf import Classifier, SourceSpec
from edgeclf.artifact import seal_artifact
from edgeclf.converters import find_converter, pipeline
from edgeclf.converters.base import Recipe
from edgeclf.converters.sources import SourceModel, open_model
from edgeclf.errors import ArtifactError, ConversionError, InferenceError, OptionError
from support.onnx_models import CLASSES, SIZE, model, nodes, tensor, weights

IMAGES = np.random.default_rng(1).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
LAYOUT = {"layout": "nchw"}


@pytest.fixture
def spec(tmp_path: Path) -> SourceSpec:
    path = tmp_path / "labels.txt"
    path.write_text("a\nb\nc\n")
    return SourceSpec(labels=path, layout="nchw")


def saved(made: Any, tmp_path: Path) -> Path:
    onnx.save(made, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def opened(made: Any, tmp_path: Path, spec: SourceSpec) -> SourceModel:
    return open_model(saved(made, tmp_path), spec)


def plain_answers() -> np.ndarray:
    """What the plain model computes, in NumPy: for every variant that means the same."""
    kernel, bias, dense = (numpy_helper.to_array(each) for each in weights())
    padded = np.pad(IMAGES.astype(np.float32), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    features = np.maximum(np.einsum("nyxcij,ocij->nyxo", windows, kernel) + bias, 0).mean((1, 2))
    powers = np.exp(features @ dense)
    return powers / powers.sum(1, keepdims=True)


def converted(source: SourceModel, precision: str) -> np.ndarray:
    """The answers of an artifact that the source became."""
    given = dataclasses.replace(source.source, calibration=IMAGES)
    converter = find_converter("onnx")(given)
    content = converter.convert(converter.recipes(precision)[0]).content
    with Classifier(seal_artifact(content, given.metadata)) as classifier:
        return classifier.probabilities(IMAGES)


def check(made: Any, tmp_path: Path, spec: SourceSpec, *, near: float = 1e-5) -> SourceModel:
    """The model, and its artifacts, answer what the plain model does."""
    source = opened(made, tmp_path, spec)
    assert np.abs(source.answers(IMAGES) - plain_answers()).max() < near
    assert np.abs(converted(source, "fp32") - plain_answers()).max() < near
    return source


def test_every_precision_of_a_plain_model(tmp_path: Path, spec: SourceSpec) -> None:
    source = check(model(), tmp_path, spec)
    for precision in ("fp16", "int8"):
        assert np.abs(converted(source, precision) - plain_answers()).max() < 0.03


class TestWeightsInASecondFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "models" / "m.onnx"
        path.parent.mkdir()
        onnx.save(model(), path, save_as_external_data=True, location="m.onnx.data",
                  size_threshold=0)  # fmt: skip
        return path

    def test_they_come_from_the_models_folder(
        self, path: Path, spec: SourceSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "m.onnx.data").write_bytes(bytes((path.parent / "m.onnx.data").stat().st_size))
        monkeypatch.chdir(tmp_path)
        (artifact,) = edgeclf.convert(path, to=["fp32.onnx"], source=spec, out=tmp_path / "out")
        assert (path.parent / "m.onnx.data").exists() and artifact.path is not None
        (path.parent / "m.onnx.data").unlink()
        with Classifier(artifact.path) as classifier:
            assert np.abs(classifier.probabilities(IMAGES) - plain_answers()).max() < 1e-5

    def test_they_count_as_the_model(self, path: Path, spec: SourceSpec) -> None:
        data = path.parent / "m.onnx.data"
        first = open_model(path, spec)
        assert first.size_bytes == path.stat().st_size + data.stat().st_size
        changed = bytearray(data.read_bytes())
        changed[3] ^= 0x80
        data.write_bytes(changed)
        assert open_model(path, spec).sha256 != first.sha256

    def test_what_is_missing_is_named(self, path: Path, spec: SourceSpec) -> None:
        data = path.parent / "m.onnx.data"
        data.write_bytes(data.read_bytes()[:-9])
        with pytest.raises(ArtifactError, match=r"m\.onnx\.data, which holds only .*cut short"):
            open_model(path, spec)
        data.unlink()
        with pytest.raises(ArtifactError, match=r"second file, m\.onnx\.data.*not there"):
            open_model(path, spec)

    @pytest.mark.parametrize("place", ["../other.bin", "ABSOLUTE", "link.bin"])
    def test_nothing_outside_of_the_folder_is_read(
        self, place: str, path: Path, spec: SourceSpec, tmp_path: Path
    ) -> None:
        outside = tmp_path / "other.bin"
        (path.parent / "m.onnx.data").rename(outside)
        (path.parent / "link.bin").symlink_to(outside)
        made = onnx.load(path, load_external_data=False)
        for each in made.graph.initializer:
            for entry in each.external_data:
                if entry.key == "location":
                    entry.value = str(outside) if place == "ABSOLUTE" else place
        path.write_bytes(made.SerializeToString())
        with pytest.raises(ArtifactError, match="not in the model's folder"):
            open_model(path, spec)

    @pytest.mark.parametrize("location", ["loop.bin", "w\0.bin", "w" * 300, "sub/" * 2000])
    def test_names_that_no_file_can_have(self, location: str, path: Path, spec: SourceSpec) -> None:
        (path.parent / "loop.bin").symlink_to("loop.bin")
        self.locate(path, location)
        with pytest.raises(ArtifactError, match=r"which cannot be a file beside it.*Export"):
            open_model(path, spec)

    def test_a_folder_by_the_separator_of_windows(self, path: Path, spec: SourceSpec) -> None:
        (path.parent / "sub").mkdir()
        (path.parent / "m.onnx.data").rename(path.parent / "sub" / "w.bin")
        self.locate(path, r"sub\w.bin")
        assert np.abs(open_model(path, spec).answers(IMAGES) - plain_answers()).max() < 1e-5
        self.locate(path, r"..\models\..\..\w.bin")
        with pytest.raises(ArtifactError, match="not in the model's folder and was not read"):
            open_model(path, spec)

    def locate(self, path: Path, location: str) -> None:
        made = onnx.load(path, load_external_data=False)
        for each in made.graph.initializer:
            (entry,) = (e for e in each.external_data if e.key == "location")
            entry.value = location
        path.write_bytes(made.SerializeToString())

    def test_a_folder_of_links_is_one_folder(
        self, path: Path, spec: SourceSpec, tmp_path: Path
    ) -> None:
        """As the Hugging Face cache keeps files: under their names, linked to where they lie."""
        snapshot = tmp_path / "snapshot"
        snapshot.mkdir()
        for file in list(path.parent.iterdir()):
            file.rename(path.parent / f"blob-{file.name}")
            (snapshot / file.name).symlink_to(path.parent / f"blob-{file.name}")
        source = open_model(snapshot / "m.onnx", spec)
        assert np.abs(source.answers(IMAGES) - plain_answers()).max() < 1e-5


@pytest.mark.parametrize("opset", [7, 9, 11, 12])
def test_old_opsets_become_every_precision(opset: int, tmp_path: Path, spec: SourceSpec) -> None:
    source = check(model(opset=opset), tmp_path, spec)
    for precision in ("fp16", "int8"):
        assert np.abs(converted(source, precision) - plain_answers()).max() < 0.03


@pytest.mark.parametrize(
    ("dtype", "kind"), [(np.float16, TensorProto.FLOAT16), (np.float64, TensorProto.DOUBLE)]
)
def test_other_floats(dtype: Any, kind: int, tmp_path: Path, spec: SourceSpec) -> None:
    made = model(
        inputs=[tensor("x", ["N", 3, SIZE, SIZE], kind)],
        outputs=[tensor("y", ["N", CLASSES], kind)],
        initializers=weights(dtype),
    )
    source = check(made, tmp_path, spec, near=3e-3)
    assert source.source.metadata.parameters == 4 * 27 + 4 + 12
    for precision in ("fp16", "int8"):
        assert np.abs(converted(source, precision) - plain_answers()).max() < 0.03


def test_bytes_as_input(tmp_path: Path, spec: SourceSpec) -> None:
    cast = helper.make_node("Cast", ["bytes"], ["x"], "cast", to=TensorProto.FLOAT)
    made = model([cast, *nodes()], inputs=[tensor("bytes", [1, 3, 8, 8], TensorProto.UINT8)])
    check(made, tmp_path, spec)
    ranged = dataclasses.replace(spec, input_range=(0, 1))
    with pytest.raises(OptionError, match=r"takes uint8: whole numbers .*Leave --input-range"):
        opened(made, tmp_path, ranged)


@pytest.mark.parametrize("shape", [("N", 3, 1, 1), ("N", 1, 1, 3), (3,)])
def test_scores_in_other_shapes(shape: tuple[Any, ...], tmp_path: Path, spec: SourceSpec) -> None:
    sizes = numpy_helper.from_array(np.array([-1, *shape[1:]] if shape[1:] else [3]), "sizes")
    last = helper.make_node("Reshape", ["s", "sizes"], ["y"], "shape")
    batch = "N" if shape[1:] else 1
    made = model([*nodes(answer="s"), last], initializers=[*weights(), sizes],
                 inputs=[tensor("x", [batch, 3, 8, 8])], outputs=[tensor("y", shape)])  # fmt: skip
    check(made, tmp_path, spec)


@pytest.mark.parametrize("inner", [False, True])
def test_a_batch_of_four(inner: bool, tmp_path: Path, spec: SourceSpec) -> None:
    first, sizes = nodes(), numpy_helper.from_array(np.array([4, -1]), "sizes")
    if inner:  # as torch writes x.view(4, -1)
        first[3] = helper.make_node("Reshape", ["p", "sizes"], ["f"], "flatten")
    made = model(first, inputs=[tensor("x", [4, 3, 8, 8])], outputs=[tensor("y", [4, 3])],
                 initializers=[*weights(), sizes])  # fmt: skip
    check(made, tmp_path, spec)


def test_a_batch_that_the_model_counts_on(tmp_path: Path, spec: SourceSpec) -> None:
    """It adds four rows to the four pictures that it takes."""
    add = helper.make_node("Add", ["f", "four"], ["f2"])
    first = nodes()
    first[4].input[0] = "f2"
    four = numpy_helper.from_array(np.zeros((4, 4), np.float32), "four")
    made = model([*first[:4], add, *first[4:]], initializers=[*weights(), four],
                 inputs=[tensor("x", [4, 3, 8, 8])], outputs=[tensor("y", [4, 3])])  # fmt: skip
    with pytest.raises(ConversionError, match="takes 4 images at a time"):
        converted(opened(made, tmp_path, spec), "fp32")


def test_tensors_called_like_ours(tmp_path: Path, spec: SourceSpec) -> None:
    names = {"x": "image", "c": "image_float", "r": "probabilities", "p": "scores_Reshape",
             "f": "image_scale", "bias": "image_zero_point", "kernel": "image_mean",
             "logits": "image_std", "y": "image_cast"}  # fmt: skip
    made = model()
    for node in made.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*made.graph.input, *made.graph.output, *made.graph.initializer):
        value.name = names.get(value.name, value.name)
    source = check(made, tmp_path, spec)
    assert np.abs(converted(source, "int8") - plain_answers()).max() < 0.03


@pytest.mark.parametrize("place", ["node", "weight", "subgraph"])
def test_names_that_renaming_would_give_twice(place: str, tmp_path: Path, spec: SourceSpec) -> None:
    if place == "weight":
        inner, stored = nodes("image"), weights()
        inner[0].input[1] = stored[0].name = "image_of_source"
        made = model(inner, inputs=[tensor("image", ["N", 3, SIZE, SIZE])], initializers=stored)
    else:
        inner = nodes("image")
        name = inner[0].output[0] = "image_of_source"
        inner[1] = helper.make_node("Relu", [name], ["r"])
        if place == "subgraph":
            name = inner[0].output[0] = "image_of_source_"
            branch = helper.make_graph(
                [helper.make_node("Relu", [name], ["image_of_source"])], "branch", [],
                [tensor("image_of_source", None)],
            )  # fmt: skip
            inner[1] = helper.make_node("If", ["on"], ["r"], then_branch=branch, else_branch=branch)
        stored = [*weights(), numpy_helper.from_array(np.array(True), "on")]
        made = model(inner, inputs=[tensor("image", ["N", 3, SIZE, SIZE])], initializers=stored)
    check(made, tmp_path, spec)


@pytest.mark.parametrize("opset", [11, 17])
def test_both_names_of_the_standard_domain(opset: int, tmp_path: Path, spec: SourceSpec) -> None:
    made = model(opset=opset)
    made.opset_import.add(domain="ai.onnx", version=opset)
    made.graph.node[1].domain = "ai.onnx"
    source = check(made, tmp_path, spec)
    assert np.abs(converted(source, "int8") - plain_answers()).max() < 0.03


def test_a_network_without_weights(tmp_path: Path, spec: SourceSpec) -> None:
    made = model([
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"]),
    ], initializers=[])  # fmt: skip
    source = opened(made, tmp_path, dataclasses.replace(spec, input_range=(0, 1)))
    powers = np.exp(IMAGES.mean((1, 2)) / 255)
    for precision, near in (("fp32", 1e-5), ("int8", 0.01)):
        found = converted(source, precision)
        assert np.abs(found - powers / powers.sum(1, keepdims=True)).max() < near


class TestNamesOfResults:
    def test_folders_called_so_are_found_before_the_work(
        self, tmp_path: Path, spec: SourceSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = saved(model(), tmp_path)
        monkeypatch.setattr(pipeline.Conversion, "run", None)
        for name in ("m.fp32.onnx", "m.conversion.json", "m.conversion.html"):
            (tmp_path / name).mkdir()
            with pytest.raises(OptionError, match=rf"Nothing can be written to '.*{name}'"):
                edgeclf.convert(path, to=["fp32.onnx"], source=spec)
            (tmp_path / name).rmdir()

    def test_a_name_without_room_for_its_endings(self, tmp_path: Path, spec: SourceSpec) -> None:
        path = saved(model(), tmp_path).rename(tmp_path / f"{'n' * 240}.onnx")
        before = sorted(tmp_path.iterdir())
        with pytest.raises(OptionError, match=r"conversion\.json': File name too long"):
            edgeclf.convert(path, to=["fp32.onnx"], source=spec)
        assert sorted(tmp_path.iterdir()) == before

    @pytest.mark.parametrize("name", ["n" * 300, "n\0", "folder/" * 1000])
    def test_a_model_by_a_name_that_cannot_be(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=r"Cannot read the model|There is no model"):
            open_model(tmp_path / name, SourceSpec())


def test_nodes_without_names(tmp_path: Path, spec: SourceSpec) -> None:
    made = model()
    for node in made.graph.node:
        node.name = ""
    source = check(made, tmp_path, spec)
    given = dataclasses.replace(source.source, calibration=IMAGES)
    content = find_converter("onnx")(given).convert(Recipe("int8", "min-max")).content
    assert {"QuantizeLinear"} <= {n.op_type for n in onnx.load_from_string(content).graph.node}


def test_weights_as_constant_nodes(tmp_path: Path, spec: SourceSpec) -> None:
    """As PaddlePaddle writes them, which also calls an open size -1."""
    stored = [helper.make_node("Constant", [], [each.name], value=each) for each in weights()]
    made = model([*stored, *nodes()], initializers=[],
                 inputs=[tensor("x", [-1, 3, SIZE, SIZE])])  # fmt: skip
    source = check(made, tmp_path, spec)
    assert source.source.metadata.parameters == 4 * 27 + 4 + 12
    assert np.abs(converted(source, "int8") - plain_answers()).max() < 0.03


@pytest.mark.parametrize("opset", [12, 17])
def test_functions_are_put_into_the_graph(opset: int, tmp_path: Path, spec: SourceSpec) -> None:
    inner = [helper.make_node("Softmax", ["a"], ["b"], axis=-1)]
    function = helper.make_function("mine", "Mine", ["a"], ["b"], inner,
                                    [helper.make_opsetid("", opset)])  # fmt: skip
    called = nodes()
    called[-1] = helper.make_node("Mine", ["logits"], ["y"], domain="mine")
    outputs = [tensor("logits", ["N", 3]), tensor("y", ["N", 3])]
    made = model(called, outputs=outputs, others={"mine": 1})
    made.functions.append(function)  # which onnx's checker refuses of another opset
    source = check(made, tmp_path, spec)
    assert np.abs(converted(source, "int8") - plain_answers()).max() < 0.03


def test_what_exporters_note_stays_outside(tmp_path: Path, spec: SourceSpec) -> None:
    made = model(doc_string="/home/somebody/train.py")
    for message in (made, made.graph, *made.graph.node, *made.graph.input):
        message.doc_string = "/home/somebody/train.py"
    for message in (made, *made.graph.node):
        entry = message.metadata_props.add()
        entry.key, entry.value = "trace", 'File "/home/somebody/net.py", line 3'
    source = check(made, tmp_path, spec)
    content = find_converter("onnx")(source.source).convert(Recipe("fp32")).content
    assert b"somebody" not in content


class TestSeveralOutputs:
    def test_the_one_with_a_score_for_each_label(self, tmp_path: Path, spec: SourceSpec) -> None:
        made = model(outputs=[tensor("f", ["N", 4]), tensor("y", ["N", 3])])
        check(made, tmp_path, spec)

    def test_the_one_behind_the_softmax(self, tmp_path: Path, spec: SourceSpec) -> None:
        made = model(outputs=[tensor("logits", ["N", 3]), tensor("y", ["N", 3])])
        check(made, tmp_path, spec)
        check(made, tmp_path, dataclasses.replace(spec, scores="logits"))

    def test_none_that_is_sure(self, tmp_path: Path, spec: SourceSpec) -> None:
        twice = helper.make_node("Softmax", ["logits"], ["z"], "again")
        made = model([*nodes(), twice], outputs=[tensor("y", ["N", 3]), tensor("z", ["N", 3])])
        with pytest.raises(ConversionError, match=r"outputs y \(\? x 3\), z \(\? x 3\)"):
            opened(made, tmp_path, spec)

    def test_maps_of_scikit_learn(self, tmp_path: Path, spec: SourceSpec) -> None:
        zipmap = helper.make_node("ZipMap", ["y"], ["z"], domain="ai.onnx.ml",
                                  classlabels_strings=["a", "b", "c"])  # fmt: skip
        kind = helper.make_sequence_type_proto(
            helper.make_map_type_proto(
                TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
            )
        )
        label = helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0)
        outputs = [tensor("label", ["N"], TensorProto.INT64), helper.make_value_info("z", kind)]
        inner = [*nodes(), label, zipmap]
        made = model(inner, others={"ai.onnx.ml": 1}, outputs=outputs)
        with pytest.raises(ConversionError, match=r"seq\(map\(string.* as 'z'.*zipmap"):
            opened(made, tmp_path, spec)
        made.graph.output.append(tensor("y", ["N", 3]))
        check(made, tmp_path, spec)


def test_truth_values_as_input_are_named(tmp_path: Path, spec: SourceSpec) -> None:
    made = model(
        [helper.make_node("Cast", ["b"], ["x"], to=TensorProto.FLOAT), *nodes()],
        inputs=[tensor("b", ["N", 3, SIZE, SIZE], TensorProto.BOOL)],
    )
    with pytest.raises(ConversionError, match=r"takes tensor\(bool\) as 'b'; expected images of"):
        opened(made, tmp_path, spec)


def test_the_number_of_a_label_is_no_score(tmp_path: Path, spec: SourceSpec) -> None:
    """Of two labels it would pass for the probability of the second."""
    (tmp_path / "labels.txt").write_text("a\nb\n")
    made = model(
        [*nodes(), helper.make_node("ArgMax", ["y"], ["best"], axis=1)],
        outputs=[tensor("best", ["N", 1], TensorProto.INT64)],
    )
    with pytest.raises(ConversionError, match=r"answers int64 as 'best'; expected scores"):
        opened(made, tmp_path, spec)


@pytest.mark.parametrize("batch", [1, 2, "N"])
def test_a_softmax_over_the_images_is_named(
    batch: int | str, tmp_path: Path, spec: SourceSpec
) -> None:
    *rest, last = nodes()
    softmax = helper.make_node("Softmax", last.input, last.output, "softmax", axis=0)
    made = model([*rest, softmax], inputs=[tensor("x", [batch, 3, SIZE, SIZE])],
                 outputs=[tensor("y", [batch, CLASSES])])  # fmt: skip
    for scores in ("probabilities", "logits"):
        with pytest.raises(ConversionError, match=r"m\.onnx .*softmax"):
            opened(made, tmp_path, dataclasses.replace(spec, scores=scores))


@pytest.mark.parametrize("batch", [4, "N"])
def test_a_normalisation_in_training_mode_is_named(
    batch: int | str, tmp_path: Path, spec: SourceSpec
) -> None:
    convolution, *rest = nodes()
    mean = helper.make_node("ReduceMean", ["c"], ["m"], axes=[0, 2, 3])
    centred = helper.make_node("Sub", ["c", "m"], ["n"])
    scaled = helper.make_node("Mul", ["n", "twenty"], ["s"])
    relu = helper.make_node("Relu", ["s"], ["r"], "relu")
    made = model(
        [convolution, mean, centred, scaled, relu, *rest[1:]],
        inputs=[tensor("x", [batch, 3, SIZE, SIZE])],
        outputs=[tensor("y", [batch, CLASSES])],
        initializers=[*weights(), numpy_helper.from_array(np.float32(20), "twenty")],
    )
    with pytest.raises(ConversionError, match=r"when others come with it.*model\.eval\(\)"):
        opened(made, tmp_path, spec)


def test_two_inputs_are_named(tmp_path: Path, spec: SourceSpec) -> None:
    scaled = helper.make_node("Mul", ["x0", "factor"], ["x"])
    made = model([scaled, *nodes()],
                 inputs=[tensor("x0", ["N", 3, 8, 8]), tensor("factor", [1])])  # fmt: skip
    with pytest.raises(ConversionError, match=r"2 inputs \(x0, factor\)"):
        opened(made, tmp_path, spec)


def test_open_channels_and_sizes(tmp_path: Path, spec: SourceSpec) -> None:
    made = model(inputs=[tensor("x", ["n", "c", "h", "w"])])
    with pytest.raises(OptionError, match="--input-size"):
        opened(made, tmp_path, spec)
    sized = dataclasses.replace(spec, input_size=(SIZE, SIZE))
    check(made, tmp_path, sized)
    last = dataclasses.replace(sized, layout="nhwc")
    with pytest.raises(ConversionError, match=r"cannot run .*m\.onnx on its input 'x'.*--layout"):
        opened(made, tmp_path, last)


class TestQuantised:
    """A model that is quantised already is taken over as what it is, or refused by name."""

    def static(self, form: str, tmp_path: Path) -> Any:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

        class Photos(CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                photos = IMAGES.transpose(0, 3, 1, 2).astype(np.float32)
                self.rest = [{"x": photo[np.newaxis]} for photo in photos]

            def get_next(self) -> Any:
                return self.rest.pop() if self.rest else None

        onnx.save(model(), tmp_path / "float.onnx")
        quantize_static(tmp_path / "float.onnx", tmp_path / "q.onnx", Photos(),
                        quant_format=getattr(QuantFormat, form))  # fmt: skip
        return onnx.load(tmp_path / "q.onnx")

    @pytest.mark.parametrize(("form", "words"), [("QDQ", "QDQ"), ("QOperator", "QLinearConv")])
    @pytest.mark.filterwarnings("ignore:.*")
    def test_static(self, form: str, words: str, tmp_path: Path, spec: SourceSpec) -> None:
        path = saved(self.static(form, tmp_path), tmp_path)
        (artifact,) = edgeclf.convert(path, to=["int8.onnx"], source=spec)
        assert artifact.metadata.precision == "int8" and artifact.metadata.quantization is not None
        assert words in artifact.metadata.quantization["scheme"]
        with Classifier(artifact) as classifier:
            found = classifier.probabilities(IMAGES)
        assert np.abs(found - open_model(path, spec).answers(IMAGES)).max() < 0.02
        with pytest.raises(ConversionError, match=r"quantised already.*convert the float model"):
            edgeclf.convert(path, to=["fp32.onnx"], source=spec)

    @pytest.mark.filterwarnings("ignore:.*")
    def test_dynamic(self, tmp_path: Path, spec: SourceSpec) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        onnx.save(model(), tmp_path / "float.onnx")
        quantize_dynamic(tmp_path / "float.onnx", tmp_path / "m.onnx",
                         weight_type=QuantType.QUInt8)  # fmt: skip
        (artifact,) = edgeclf.convert(tmp_path / "m.onnx", to=["dynamic.onnx"], source=spec)
        assert artifact.metadata.precision == "dynamic"
        with pytest.raises(ConversionError, match="quantised already: quantised as values come"):
            edgeclf.convert(tmp_path / "m.onnx", to=["int8.onnx"], source=spec)

    def test_what_another_output_needs_does_not_count(
        self, tmp_path: Path, spec: SourceSpec
    ) -> None:
        steps = [numpy_helper.from_array(np.float32(0.1), "scale"),
                 numpy_helper.from_array(np.uint8(0), "zero")]  # fmt: skip
        pair = [
            helper.make_node("QuantizeLinear", ["f", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["features"]),
        ]
        outputs = [tensor("y", ["N", 3]), tensor("features", ["N", 4])]
        made = model([*nodes(), *pair], outputs=outputs, initializers=[*weights(), *steps])
        source = check(made, tmp_path, spec)
        assert source.source.quantized is None
        assert np.abs(converted(source, "int8") - plain_answers()).max() < 0.03

    def test_weights_alone_are_floats_again(self, tmp_path: Path, spec: SourceSpec) -> None:
        kernel, bias, dense = weights()
        scale = np.float32(np.abs(numpy_helper.to_array(dense)).max() / 127)
        stored = np.rint(numpy_helper.to_array(dense) / scale).astype(np.int8)
        parts = [numpy_helper.from_array(stored, "stored"), numpy_helper.from_array(scale, "scale")]
        first = helper.make_node("DequantizeLinear", ["stored", "scale"], ["dense"])
        made = model([first, *nodes()], initializers=[kernel, bias, *parts])
        source = check(made, tmp_path, spec, near=0.02)
        assert np.abs(converted(source, "int8") - plain_answers()).max() < 0.03


class TestEnginesThatFail:
    """What an engine raises is told with the file, the tensor and what to do."""

    def test_in_the_comparison(
        self, tmp_path: Path, spec: SourceSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> Any:
            raise InferenceError("onnxruntime failed: no memory.")

        monkeypatch.setattr("edgeclf.runtimes.onnxruntime.OnnxRuntime.run", fail)
        words = r"m\.onnx became by the recipe fp16 .*'image': .*no memory\. Ask for another"
        with pytest.raises(ConversionError, match=words):
            edgeclf.convert(saved(model(), tmp_path), to=["fp16.onnx"], source=spec)

    def test_in_calibration(
        self, tmp_path: Path, spec: SourceSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> Any:
            raise RuntimeError("no memory")
            yield

        source = opened(model(), tmp_path, spec)
        monkeypatch.setattr("edgeclf.converters.onnx._OnnxEngine.activations", fail)
        with pytest.raises(
            ConversionError, match=r"network of m .*'image_float': no memory\. With"
        ):
            converted(source, "int8")

    def test_scores_that_are_no_numbers(self, tmp_path: Path, spec: SourceSpec) -> None:
        first = [helper.make_node("Log", ["x"], ["l"]), helper.make_node("Log", ["l"], ["s"])]
        with pytest.raises(ConversionError, match="what is no number"):
            opened(model([*first, *nodes("s")]), tmp_path, spec)
