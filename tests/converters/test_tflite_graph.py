"""TFLite files from elsewhere that are no classifier of one image, each refused in a sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf import Classifier, SourceSpec
from edgeclf.artifact import seal_artifact
from edgeclf.cli import main
from edgeclf.converters import find_converter
from edgeclf.converters.sources import open_model
from edgeclf.errors import ConversionError

schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason="needs edgeclf[litert]"
)  # fmt: skip

from edgeclf.converters.flatbuffer.editor import Editor  # noqa: E402
from edgeclf.converters.flatbuffer.tree import pack, text, unpack  # noqa: E402
from support import tflite_models  # noqa: E402

Change = Callable[[Any, Any, Editor], None]
KINDS = schema.TensorType


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Change], Path]:
    """Writes the plain model with a change to its tree, and labels beside it."""

    def write(change: Change) -> Path:
        (tmp_path / "labels.txt").write_text("a\nb\nc\n")
        tree = unpack(tflite_models.model())
        change(tree, tree.subgraphs[0], Editor(tree))
        (tmp_path / "m.tflite").write_bytes(pack(tree))
        return tmp_path / "m.tflite"

    return write


def place(graph: Any, name: str) -> int:
    return next(index for index, tensor in enumerate(graph.tensors) if text(tensor.name) == name)


def taking(kind: int) -> Change:
    """Takes another type, which is cast."""

    def change(_: Any, graph: Any, editor: Editor) -> None:
        first, image = graph.operators[0], place(graph, "image")
        graph.tensors[image].type, graph.tensors[image].quantization = kind, None
        graph.operators.remove(first)
        options = schema.CastOptionsT()
        options.inDataType, options.outDataType = kind, KINDS.FLOAT32
        editor.first("CAST", options, [image], first.outputs[0])

    return change


def of_shape(*shape: int) -> Change:
    """Takes floats of that shape."""

    def change(_: Any, graph: Any, editor: Editor) -> None:
        first = graph.operators[0]
        graph.inputs = [first.outputs[0]]
        graph.operators.remove(first)
        graph.tensors[graph.inputs[0]].shape = [*shape]
        editor.sign("image", "probabilities")

    return change


def holding(name: bytes) -> Change:
    """Has an operator that no engine knows before its softmax."""

    def change(tree: Any, graph: Any, editor: Editor) -> None:
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode, code.customCode, code.version = schema.BuiltinOperator.CUSTOM, name, 1
        tree.operatorCodes.append(code)
        logits = place(graph, "logits")
        made = editor.tensor("made", KINDS.FLOAT32, (1, tflite_models.CLASSES))
        operator.opcodeIndex = len(tree.operatorCodes) - 1
        operator.inputs, operator.outputs = [logits], [made]
        graph.operators[-1].inputs = [made]
        graph.operators.insert(len(graph.operators) - 1, operator)

    return change


def picking(_: Any, graph: Any, editor: Editor) -> None:
    """Answers the label's number."""
    options = schema.ArgMaxOptionsT()
    options.outputType = KINDS.INT64
    best = editor.tensor("best", KINDS.INT64, (1,))
    axis = editor.constant("axis", np.array([1], "<i4"))
    editor.last("ARG_MAX", options, [place(graph, "probabilities"), axis], best)
    graph.outputs = [best]
    editor.sign("image", "best")


def over_images(_: Any, graph: Any, editor: Editor) -> None:
    """Ends in a softmax over the images, which TFLite turns before and after it."""
    graph.operators.pop()
    turned, shares = (editor.tensor(n, KINDS.FLOAT32, (3, 1)) for n in ("turned", "shares"))
    order = editor.constant("order", np.array([1, 0], "<i4"))
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    transpose = schema.TransposeOptionsT()
    editor.last("TRANSPOSE", transpose, [place(graph, "logits"), order], turned)
    editor.last("SOFTMAX", softmax, [turned], shares)
    editor.last("TRANSPOSE", transpose, [shares, order], place(graph, "probabilities"))


def twice(tree: Any, graph: Any, _: Editor) -> None:
    """Has two signatures, a graph each."""
    tree.subgraphs.append(graph)
    (signature,) = tree.signatureDefs
    other = schema.SignatureDefT()
    other.signatureKey, other.subgraphIndex = b"features", 1
    other.inputs, other.outputs = signature.inputs, signature.outputs
    tree.signatureDefs.append(other)


def in_a_loop(tree: Any, graph: Any, _: Editor) -> None:
    tree.subgraphs.append(graph)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (taking(KINDS.BOOL), "takes bool as 'image'; expected images of numbers"),
        (of_shape(), "takes a single number; expected four sizes"),
        (of_shape(4, 6, 3), r"takes 4 x 6 x 3; expected four sizes.*\[1, rows, columns, channels"),
        (holding(b"FlexErfinv"), "the operators FlexErfinv: they are TensorFlow's own.*SavedModel"),
        (holding(b"edgetpu-custom-op"), "compiled for the Edge TPU. Take the .tflite that it was"),
        (holding(b"ethos-u"), "compiled for an Ethos-U"),
        (holding(b"Mine"), "the operators Mine: no engine here has them"),
        (picking, "answers int64 without a scale as 'best'; expected scores in float32"),
        (over_images, "answers 1 for each label of every picture.*over an axis of one"),
        (twice, "2 graphs, by the signatures serving_default, features; expected one"),
        (in_a_loop, "2 graphs, by control flow; expected one"),
    ],
)
def test_what_is_no_classifier_is_named(
    change: Change, message: str, write: Callable[[Change], Path], tmp_path: Path
) -> None:
    path = write(change)
    with pytest.raises(ConversionError, match=message) as caught:
        open_model(path, SourceSpec(labels=tmp_path / "labels.txt"))
    assert str(path) in str(caught.value)


def test_a_refused_file_leaves_nothing_and_its_names_steer_no_terminal(
    write: Callable[[Change], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(holding(b"\x1b[2JMine"))
    before = sorted(tmp_path.iterdir())
    assert main(["convert", str(path), "--labels", str(tmp_path / "labels.txt")]) == 2
    printed = capsys.readouterr().err
    assert r"the operators \x1b[2JMine" in printed and "\x1b" not in printed
    assert sorted(tmp_path.iterdir()) == before


def test_where_nothing_was_answered_but_generated_pictures_photos_are_asked_for(
    write: Callable[[Change], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(lambda *_: None)
    words = ["--labels", str(tmp_path / "labels.txt"), "--to", "dynamic.tflite", "--tolerance", "1"]
    assert main(["convert", str(path), *words]) == 1
    printed = capsys.readouterr().err
    assert "on generated pictures (allowed: 0.02)" in printed
    assert "give photos by --evaluation" in printed and "--tolerance" not in printed


def answering_in(shape: tuple[int, ...], *, logits: bool) -> Change:
    """Answers its scores in another shape."""

    def change(_: Any, graph: Any, editor: Editor) -> None:
        if logits:
            graph.operators.pop()
        scores = place(graph, "logits" if logits else "probabilities")
        answer = editor.tensor("answer", KINDS.FLOAT32, shape)
        sizes = editor.constant("sizes", np.array(shape, "<i4"))
        editor.last("RESHAPE", schema.ReshapeOptionsT(), [scores, sizes], answer)
        graph.outputs = [answer]
        editor.sign("image", "answer")

    return change


@pytest.mark.parametrize("precision", ["fp32", "dynamic", "int8", "int8-full"])
@pytest.mark.parametrize("shape", [(3,), (3, 1), (1, 1, 1, 3), (1, 3, 1, 1)])
@pytest.mark.parametrize("logits", [False, True])
def test_scores_in_every_shape_become_rows(
    shape: tuple[int, ...],
    logits: bool,
    precision: Any,
    write: Callable[[Change], Path],
    tmp_path: Path,
) -> None:
    pytest.importorskip("litert_quantizer", reason="needs edgeclf[convert]")
    scores: Any = "logits" if logits else "probabilities"
    spec = SourceSpec(labels=tmp_path / "labels.txt", scores=scores)
    source = open_model(write(answering_in(shape, logits=logits)), spec)
    images = np.random.default_rng(0).integers(0, 256, (6, *tflite_models.SIZE, 3), np.uint8)
    images[:3] //= np.array([1, 2, 4], np.uint8)
    images[3:, ..., 0] //= 5
    expected = source.answers(images)
    assert np.ptp(expected, axis=0).max() > 0.1
    converter = find_converter("tflite")(dataclasses.replace(source.source, calibration=images))
    content = converter.convert(converter.recipes(precision)[0]).content
    metadata = dataclasses.replace(source.source.metadata, precision=precision)
    (answer,) = unpack(content).subgraphs[0].outputs
    assert [*unpack(content).subgraphs[0].tensors[answer].shape] == [1, 3]
    with Classifier(seal_artifact(content, metadata)) as classifier:
        found = classifier.probabilities(images)
    tolerance = {"fp32": 1e-5}.get(precision, 0.05)
    assert np.abs(found - expected).max() < tolerance
