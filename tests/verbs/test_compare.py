from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeclf
from edgeclf.artifact import Metadata, load_artifact, save_artifact, seal_artifact
from edgeclf.cli import main
from edgeclf.comparison import paired_latency
from edgeclf.errors import DataError, MeasurementError, OptionError
from edgeclf.image import ImageSpec
from edgeclf.measurement.harness.interleave import measure_interleaved
from edgeclf.measurement.jobs.imports import ImportJob, ImportResult

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.networks.artifact_stats import count_multiply_adds  # noqa: E402
from edgeclf.reporting.comparison_page import to_html, to_markdown  # noqa: E402

METADATA = Metadata("net", ("a", "b"), ImageSpec(8, 8))


@pytest.fixture(scope="module")
def found(
    model_folder: Path, mugs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A comparison of three conversions of one model, and its record."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paired_latency, "ROUNDS", 6)
        patch.setattr(paired_latency, "SECONDS", 0.1)
        result = edgeclf.compare(
            model_folder / "mugs.fp32.tflite",
            [model_folder / "mugs.int8.tflite", model_folder / "mugs.int8.onnx"],
            mugs / "eval",
            out=tmp_path_factory.mktemp("compared"),
            threads=1,
        )
    yield result, json.loads(result.path.read_text())


def test_ratios_say_what_they_divide(found: tuple[Any, dict[str, Any]], model_folder: Path) -> None:
    result, _ = found
    int8, onnx = result.students
    sizes = [(model_folder / f"mugs.{p}.tflite").stat().st_size for p in ("fp32", "int8")]
    assert (int8.size.teacher, int8.size.student) == tuple(sizes)
    assert int8.size.value == sizes[0] / sizes[1] and int8.parameters.value == 1
    assert int8.multiply_adds.value == 1 and int8.multiply_adds.teacher == 23_597_760
    assert int8.latency_ms.note == "mugs.fp32.tflite and mugs.int8.tflite on litert"
    low, high = int8.latency_ms.interval_95
    assert low <= int8.latency_ms.value <= high
    assert int8.latency_ms.teacher > 0 and int8.latency_ms.student > 0
    assert onnx.latency_ms.note == (
        "mugs.fp32.onnx and mugs.int8.onnx on onnxruntime, because mugs.fp32.tflite and "
        "mugs.int8.onnx share no runtime"
    )
    assert result.teacher.p50_ms > 0 and result.teacher.runtime == "litert"


def test_accuracy_agreement_and_confusions_are_of_the_same_photos(
    found: tuple[Any, dict[str, Any]], model_folder: Path, mugs: Path
) -> None:
    result, _ = found
    student = result.students[0]
    accuracy = edgeclf.verify(model_folder / "mugs.int8.tflite", data=mugs / "eval").accuracy
    assert accuracy is not None and result.images == 24
    assert student.model.top1 == accuracy["top1"]
    assert list(student.model.top1_interval_95) == accuracy["top1_interval_95"]
    counted = student.model.confusions
    assert sum(c.images for c in counted) == 24
    right = sum(c.images for c in counted if c.truth == c.answer)
    assert right / 24 == pytest.approx(student.model.top1)
    differ = student.only_teacher_right + student.only_student_right + student.both_wrong
    assert student.agreement == pytest.approx(1 - differ / 24)
    assert len(student.worst) == min(differ, 8)
    gain = student.only_student_right - student.only_teacher_right
    assert student.model.top1 - result.teacher.top1 == pytest.approx(gain / 24)


def test_files_tell_the_same_and_load_nothing(found: tuple[Any, dict[str, Any]]) -> None:
    result, record = found
    assert record["schema"] == "edgeclf.comparison/1" and "path" not in record
    markdown = result.path.with_suffix(".md").read_text()
    html = result.path.with_suffix(".html").read_text()
    for words in result.sentences:
        assert words in markdown.replace("\u2060", "")
    for text in (markdown, html):
        assert "Teacher over student" in text and "mugs.int8.onnx" in text
    assert not re.search(r"(src|href)=\"(?!data:)", html) and "http" not in html
    assert "6 rounds in turns" in markdown and record["teacher"]["sha256"] in markdown


@pytest.fixture
def disagreeing(found: tuple[Any, dict[str, Any]]) -> dict[str, Any]:
    """The record as if the models were far apart and one figure could not be had."""
    record: dict[str, Any] = json.loads(json.dumps(found[1]))
    student = record["students"][0]
    student["multiply_adds"].update(value=None, note="<x>: no <b>count</b>")
    student["latency_ms"] = dict.fromkeys(student["latency_ms"]) | {"note": "no runtime for both"}
    answers = [["<white>", 0.75], ["blue", 0.25]]
    student["worst"] = [
        {"file": "white/<1>.jpg", "truth": "<white>", "teacher": answers, "student": answers[::-1],
         "jpeg": "aGk="}
    ]  # fmt: skip
    return record


def test_missing_ratios_are_explained(disagreeing: dict[str, Any]) -> None:
    html, markdown = to_html(disagreeing), to_markdown(disagreeing)
    assert "no ratio of multiply-adds: &lt;x&gt;: no &lt;b&gt;count&lt;/b&gt;." in html
    assert "no ratio of multiply-adds: <\u2060x>: no <\u2060b>count<\u2060/b>." in markdown
    for text in (html, markdown):
        assert "No latency ratio is given: no runtime for both." in text


def test_the_page_can_be_read(
    disagreeing: dict[str, Any], check_page: Callable[[str], object]
) -> None:
    disagreeing["students"][0]["worst"][0]["file"] = "photos/of-the-last-year/buildings/0001.jpg"
    check_page(to_html(disagreeing))


def test_disagreements_are_shown_as_images(disagreeing: dict[str, Any]) -> None:
    html = to_html(disagreeing)
    assert '<img src="data:image/jpeg;base64,aGk=" alt="&lt;white&gt;">' in html
    assert "<code>white/&lt;1&gt;.jpg</code>" in html and "75.0 %" in html
    assert "<white>" not in html


def test_many_classes_are_listed_instead_of_a_matrix(disagreeing: dict[str, Any]) -> None:
    assert '<table class="matrix">' in to_html(disagreeing)
    disagreeing["labels"] = [f"class {n}" for n in range(40)]
    disagreeing["teacher"]["confusions"] = [
        {"truth": "class 1", "answer": "class 2", "images": 7},
        {"truth": "class 1", "answer": "class 1", "images": 50},
    ]
    assert '<table class="matrix">' not in to_html(disagreeing)
    assert re.search(r"class 1 +\| class 2 +\| +7 \|", to_markdown(disagreeing))


def test_another_format_is_stood_in_for_by_a_conversion_beside_it(
    model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    teacher = load_artifact(shutil.copy(model_folder / "mugs.keras", tmp_path / "a"))
    student = load_artifact(shutil.copy(model_folder / "mugs.int8.onnx", tmp_path / "b"))
    reason = paired_latency.find_pair(teacher, student)
    assert isinstance(reason, str)
    assert "neither a .onnx file of mugs nor a .keras file of mugs" in reason
    shutil.copy(model_folder / "mugs.fp16.onnx", tmp_path / "a")
    (tmp_path / "a" / "mugs.broken.onnx").write_bytes(b"no model")
    pair = paired_latency.find_pair(teacher, student)
    assert isinstance(pair, paired_latency.Pair) and str(pair.teacher) == "mugs.fp16.onnx"
    shutil.copy(model_folder / "mugs.int8.onnx", tmp_path / "a")
    pair = paired_latency.find_pair(teacher, student)
    assert isinstance(pair, paired_latency.Pair) and pair.teacher.path.parent.name == "a"
    assert str(pair.teacher) == "mugs.int8.onnx" and "share no runtime" in pair.note


def test_a_file_that_does_not_run_leaves_its_reason() -> None:
    files = [paired_latency.Timed(Path(name), "tflite") for name in ("a.tflite", "b.tflite")]
    latencies = paired_latency.Latencies({files[0]: [1.0]}, {}, {files[1]: "it died"})
    ratio = latencies.ratio(paired_latency.Pair(*files, "why"))
    assert ratio.value is None and ratio.note == "b.tflite could not be measured: it died"
    assert latencies.p50_ms(files[1]) is None


def test_turns_go_forwards_and_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def fake(job: ImportJob) -> ImportResult:
        order.append(job.runtime)
        if job.runtime == "b":
            raise MeasurementError("b is out of order")
        return ImportResult(len(order), ())

    monkeypatch.setattr("edgeclf.measurement.harness.interleave.measure", fake)
    results, errors = measure_interleaved(
        {name: ImportJob(runtime=name) for name in "abc"}, rounds=3, title="test"
    )
    assert "".join(order) == "cba" + "ca" + "ac"
    assert errors == {"b": "b is out of order"} and set(results) == {"a", "c"}
    assert [r.import_ms for r in results["a"]] == [3, 5, 6]


def test_unusable_input(model_folder: Path, mugs: Path, tmp_path: Path) -> None:
    model = model_folder / "mugs.int8.tflite"
    with pytest.raises(OptionError, match="0 students"):
        edgeclf.compare(model, [], mugs / "eval")
    with pytest.raises(OptionError, match="threads 0"):
        edgeclf.compare(model, [model], mugs / "eval", threads=0)
    (tmp_path / "net.keras").write_bytes((model_folder / "mugs.keras").read_bytes())
    mugs_artifact = load_artifact(tmp_path / "net.keras")
    other = dataclasses.replace(mugs_artifact.metadata, labels=("a", "b"))
    save_artifact(seal_artifact(mugs_artifact.content, other), tmp_path / "net.keras")
    with pytest.raises(DataError, match=r"knows the classes a, b; .* knows white, black"):
        edgeclf.compare(model, [tmp_path / "net.keras"], mugs / "eval")
    assert main(["compare", str(model), str(mugs / "labels.txt"), "--data", str(mugs)]) == 2


def network() -> keras.Model:
    """Every kind of layer that is counted, and some that are not."""
    image = keras.Input((8, 8, 3), batch_size=1)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(image)  # 4*4*4 * 3*3*3 = 1,728
    x = keras.layers.BatchNormalization()(x)
    shared = keras.layers.DepthwiseConv2D(3, padding="same")
    x = shared(shared(x))  # twice 4*4*4 * 3*3 = 576
    x = keras.layers.SeparableConv2D(6, 3, padding="same")(x)  # 4*4*4 * 9 + 4*4*6 * 4 = 960
    x = keras.layers.PReLU()(x)
    x = keras.layers.Conv2DTranspose(2, 2, strides=2)(x)  # 4*4*6 * 2*2*2 = 768
    x = keras.layers.Add()([x, x])
    inner = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Conv2D(4, 1, groups=2)])
    x = inner(x)  # 8*8*4 * 1 = 256
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(5, activation="softmax")(x))  # 4 * 5 = 20


TOTAL = 1728 + 2 * 576 + 960 + 768 + 256 + 20


def as_artifact(model: Any, folder: Path) -> Any:
    model.save(folder / "net.keras")
    return seal_artifact((folder / "net.keras").read_bytes(), METADATA)


def test_keras_layers_are_counted_as_by_hand(tmp_path: Path) -> None:
    assert count_multiply_adds(as_artifact(network(), tmp_path)) == TOTAL


def test_tflite_operators_are_counted_as_by_hand() -> None:
    tensorflow = pytest.importorskip("tensorflow")
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(network())
    assert count_multiply_adds(seal_artifact(converter.convert(), METADATA)) == TOTAL


def onnx_network(*nodes: Any, **weights: tuple[int, ...]) -> Any:
    """An ONNX artifact from ``image`` [N, 3, 8, 8] to ``scores``, with weights of ones."""
    onnx = pytest.importorskip("onnx")
    helper, float_ = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("image", float_, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", float_, None)],
        [onnx.numpy_helper.from_array(np.ones(s, np.float32), n) for n, s in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    return seal_artifact(model.SerializeToString(), METADATA)


def test_onnx_operators_are_counted_as_by_hand() -> None:
    node = pytest.importorskip("onnx").helper.make_node
    artifact = onnx_network(
        # Not in the order they run in, as ONNX Runtime's quantiser leaves them.
        node("Conv", ["a", "grouped"], ["b"], group=2),  # 4*4*6 * 2 = 192
        node("Conv", ["image", "full"], ["a"], strides=[2, 2], pads=[1] * 4),  # 4*4*4 * 27 = 1,728
        node("ConvTranspose", ["b", "up"], ["c"], strides=[2, 2]),  # 4*4*6 * 2*2*2 = 768
        node("ReduceMean", ["c"], ["d"], axes=[2, 3], keepdims=0),
        node("Gemm", ["d", "dense"], ["e"], transB=1),  # 2 * 5 = 10
        node("MatMul", ["e", "last"], ["scores"]),  # 5 * 7 = 35
        full=(4, 3, 3, 3), grouped=(6, 2, 1, 1), up=(6, 2, 2, 2), dense=(5, 2), last=(5, 7),
    )  # fmt: skip
    assert count_multiply_adds(artifact) == 192 + 1728 + 768 + 10 + 35


def test_what_is_not_counted_is_an_error(tmp_path: Path) -> None:
    node = pytest.importorskip("onnx").helper.make_node
    with pytest.raises(MeasurementError, match="the graph has Einsum in it"):
        count_multiply_adds(
            onnx_network(node("Einsum", ["image", "image"], ["scores"], equation="nchw,nchw->n"))
        )
    image = keras.Input((8, 8))
    model = keras.Model(image, keras.layers.LSTM(2)(image))
    with pytest.raises(MeasurementError, match="the graph has LSTM in it"):
        count_multiply_adds(as_artifact(model, tmp_path))
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 3)(image))
    with pytest.raises(MeasurementError, match="open in size"):
        count_multiply_adds(as_artifact(model, tmp_path))


def test_mobilenet_v2_needs_300_million(tmp_path: Path) -> None:
    model = keras.applications.MobileNetV2(weights=None)
    assert count_multiply_adds(as_artifact(model, tmp_path)) == 300_774_272


def test_every_conversion_of_a_model_counts_the_same(model_folder: Path) -> None:
    files = [
        *model_folder.glob("mugs*.tflite"),
        *model_folder.glob("mugs*.onnx"),
        model_folder / "mugs.keras",
    ]
    counts = {file.name: count_multiply_adds(load_artifact(file)) for file in files}
    assert len(counts) == 9 and set(counts.values()) == {23_597_760}, counts
