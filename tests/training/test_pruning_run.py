"""`edgeclf prune`: a network without some of its channels, taught again, or refused."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

import edgeclf
from edgeclf.artifact import (
    Artifact,
    Metadata,
    load_artifact,
    save_artifact,
    seal_artifact,
)
from edgeclf.cli import main
from edgeclf.errors import (
    ArtifactError,
    ConversionError,
    DataError,
    OptionError,
)
from edgeclf.measurement.latency_table import LatencyTable
from edgeclf.metrics.operator_shapes import OperatorShape

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.networks.builder import (  # noqa: E402
    build_classifier,
    find_backbone,
    normalization_of,
)
from edgeclf.networks.channel_groups import channel_groups  # noqa: E402
from edgeclf.networks.keras_model import load_model, seal_model  # noqa: E402
from edgeclf.training import pruning_run  # noqa: E402
from support.networks import enliven  # noqa: E402
from support.shades import LABELS, SPEC, by_brightness, write_photos  # noqa: E402
from support.training_runs import interrupted, weights_of  # noqa: E402

QUICK = {"views": 1, "epochs": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shades")
    write_photos(root)
    return root


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An artifact of a network that nobody trained."""
    keras.utils.set_random_seed(0)
    model = build_classifier(find_backbone("student-s"), 2, SPEC)
    enliven(model)
    metadata = Metadata("shades", LABELS, SPEC, normalization=normalization_of(model))
    return save_artifact(
        seal_model(model, metadata), tmp_path_factory.mktemp("model") / "shades.keras"
    )


@pytest.fixture(scope="module")
def pruned(student: Artifact, photos: Path) -> Artifact:
    return edgeclf.prune(student.path, photos / "train", keep=0.5, out=photos / "out", **QUICK)


def test_half_of_the_multiply_adds_go_and_the_file_says_so(
    pruned: Artifact, student: Artifact, photos: Path
) -> None:
    assert pruned.path == photos / "out" / "shades-pruned.keras"
    before, after = (channel_groups(load_model(each)) for each in (student, pruned))
    assert pruned.metadata.training is not None
    settings = pruned.metadata.training["settings"]
    share = after.multiply_adds() / before.multiply_adds()
    assert 0.4 < share <= 0.5 and settings["kept_multiply_adds"] == round(share, 4)
    assert settings["pruned_from_sha256"] == settings["teacher_sha256"] == student.sha256
    counts = zip(before.prunable.values(), after.prunable.values(), strict=True)
    assert settings["channels"] == {g.name: [g.channels, less.channels] for g, less in counts}
    assert pruned.metadata.labels == student.metadata.labels
    assert pruned.metadata.image == student.metadata.image
    assert pruned.metadata.parameters == load_model(pruned).count_params()
    assert not (photos / "out" / "shades-pruned.run" / "importance.npz").exists()


def test_it_is_converted_as_any_other(pruned: Artifact, tmp_path: Path, photos: Path) -> None:
    pytest.importorskip("tf2onnx", reason="needs edgeclf[convert]")
    shutil.copy(str(pruned.path), tmp_path / "shades.keras")
    (converted,) = edgeclf.convert(
        tmp_path / "shades.keras", evaluation=photos / "eval", to=["fp32.tflite"]
    )
    assert converted.metadata.training == json.loads(json.dumps(pruned.metadata.training))


def test_another_can_teach_it_and_what_came_of_it_is_printed(
    student: Artifact, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Metadata("t", LABELS, SPEC)
    teacher = save_artifact(seal_model(by_brightness(), other), tmp_path / "t.keras")
    words = ["prune", str(student.path), str(photos / "train"), "--keep", "0.7", "--views", "1",
             "--epochs", "1", "--teacher", str(teacher.path), "--out", str(tmp_path),
             "--name", "fewer"]  # fmt: skip
    assert main(words) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'fewer.keras'}\n"
    for line in ("multiply-adds", "parameters", "size", "top-1"):
        assert f"  {line} " in printed.err
    assert f"next: edgeclf convert {tmp_path / 'fewer.keras'}" in printed.err
    metadata = load_artifact(tmp_path / "fewer.keras").metadata
    assert metadata.name == "fewer"
    training = metadata.training
    assert training is not None
    assert training["settings"]["teacher_sha256"] == teacher.sha256
    assert training["settings"]["pruned_from_sha256"] == student.sha256


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    student: Artifact, pruned: Artifact, photos: Path, tmp_path: Path
) -> None:
    def again() -> Artifact:
        return edgeclf.prune(student.path, photos / "train", keep=0.5, out=tmp_path, **QUICK)

    with interrupted():
        again()
    assert not (tmp_path / "shades-pruned.keras").exists()
    resumed = again()
    np.testing.assert_allclose(weights_of(resumed), weights_of(pruned), atol=1e-3)
    assert resumed.metadata.training is not None and pruned.metadata.training is not None
    told = (each.metadata.training["settings"] for each in (resumed, pruned))
    assert next(told) == next(told)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({}, "Neither keep nor max_latency_ms"),
        ({"keep": 0.0}, "keep is 0.0; expected"),
        ({"keep": 1.0}, "keep is 1.0; expected"),
        ({"keep": 1.5}, "keep is 1.5; expected"),
        ({"keep": 0.5, "max_latency_ms": 1.0, "device": "pi.json"}, "expected one of them"),
        ({"max_latency_ms": 1.0}, "device is not given.*profile --table"),
        ({"keep": 0.5, "device": "pi.json"}, "device is 'pi.json' and keep 0.5, which needs none"),
        ({"max_latency_ms": 0.0, "device": "pi.json"}, "max_latency_ms is 0.0; expected"),
        ({"keep": 0.5, "target": "int4.tflite"}, "'int4.tflite'; expected"),
        ({"keep": 0.5, "name": ""}, "name is ''; expected one that a file can have"),
        ({"keep": 0.5, "name": "smaller/shades"}, "without a folder"),
    ],
)
def test_options_that_cannot_work_are_refused(odd: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        edgeclf.prune("gone.keras", "gone", **odd)


def test_the_network_that_is_pruned_is_not_replaced(student: Artifact, photos: Path) -> None:
    assert student.path is not None
    before = student.path.read_bytes()
    with pytest.raises(OptionError, match=r"would replace .*shades.keras; expected another name"):
        edgeclf.prune(
            student.path, photos / "train", keep=0.5, out=student.path.parent, name="shades"
        )
    assert student.path.read_bytes() == before


def test_more_than_can_go_is_refused_and_an_earlier_run_is_left_as_it_was(
    student: Artifact, photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "shades-pruned.run"
    run.mkdir()
    (run / "config.json").write_text('{"settings": {"keep": 0.5}}')
    (run / "checkpoint.npz").write_text("of hours")
    with pytest.raises(OptionError, match=r"keep is 0.01; with the fewest channels.*remain"):
        edgeclf.prune(student.path, photos / "train", keep=0.01, out=tmp_path)
    assert (run / "checkpoint.npz").read_text() == "of hours"


def test_what_is_not_a_keras_artifact_is_refused(tmp_path: Path, photos: Path) -> None:
    file = save_artifact(seal_artifact(b"", Metadata("a", LABELS, SPEC)), tmp_path / "a.onnx")
    with pytest.raises(ArtifactError, match=r"is a .onnx artifact.*expected the .keras one"):
        edgeclf.prune(file.path, photos / "train", keep=0.5, out=tmp_path)
    (tmp_path / "b.keras").write_text("no model")
    with pytest.raises(ArtifactError, match=r"b.keras"):
        edgeclf.prune(tmp_path / "b.keras", photos / "train", keep=0.5, out=tmp_path)


def test_a_network_that_cannot_be_cut_is_refused_by_its_layer(photos: Path, tmp_path: Path) -> None:
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="normalize")(image)
    x = keras.layers.Conv2D(16, 3)(x)
    x = keras.layers.SeparableConv2D(16, 3, name="apart")(x)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    x = keras.layers.Dense(2, name="logits")(x)
    model = keras.Model(image, keras.layers.Softmax(name="probabilities")(x))
    file = save_artifact(seal_model(model, Metadata("a", LABELS, SPEC)), tmp_path / "a.keras")
    with pytest.raises(ConversionError, match=r"'apart' .SeparableConv2D"):
        edgeclf.prune(file.path, photos / "train", keep=0.5, out=tmp_path)


def test_photos_of_other_classes_are_refused(
    student: Artifact, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError):
        edgeclf.prune(student.path, tmp_path / "nothing", keep=0.5, out=tmp_path / "out")
    shutil.copytree(photos / "train" / "dark", tmp_path / "set" / "dark")
    shutil.copytree(photos / "train" / "bright", tmp_path / "set" / "purple")
    with pytest.raises(ArtifactError, match="purple"):
        edgeclf.prune(student.path, tmp_path / "set", keep=0.5, out=tmp_path / "out")


@pytest.fixture
def wider(student: Artifact, tmp_path: Path) -> Iterator[Artifact]:
    """A model of a class more than there are photos of."""
    keras.utils.set_random_seed(0)
    model = build_classifier(find_backbone("student-s"), 3, SPEC)
    yield save_artifact(
        seal_model(model, Metadata("w", (*LABELS, "purple"), SPEC)), tmp_path / "w.keras"
    )


def test_a_class_without_photos_is_refused(wider: Artifact, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no photos of purple.*expected photos of all"):
        edgeclf.prune(load_artifact(wider.path).path, photos / "train", keep=0.5, out=tmp_path)


def test_what_to_type_next_is_what_convert_takes(student: Artifact, tmp_path: Path) -> None:
    def said(photos: Path, evaluation: Path) -> list[str]:
        roots: Any = SimpleNamespace(
            photos=SimpleNamespace(root=photos), evaluation=SimpleNamespace(root=evaluation)
        )
        return shlex.split(pruning_run._next(student, roots))[4:]

    train = tmp_path / "my photos"
    assert said(train, tmp_path / "eval") == [str(train), "--evaluation", str(tmp_path / "eval")]
    assert said(train, train) == [str(train), "--evaluation", "OTHER_PHOTOS"], "split for this run"
    table = tmp_path / "photos.csv"
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"")
    table.write_text("path,label,split\na.jpg,a,train\nb.jpg,a,eval\n")
    assert said(table, table) == [str(table), "--evaluation", str(table)]


class Table:
    """A device on which a million multiply-adds take a millisecond."""

    device: ClassVar = {"cpu": "a slow CPU"}

    def predict_ms(
        self, operators: Sequence[OperatorShape], *, format: str, precision: str
    ) -> float:
        assert (format, precision) == ("onnx", "int8")
        return sum(operator.multiply_adds for operator in operators) / 1e6


@pytest.fixture
def to_a_time(
    student: Artifact, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], int]:
    """The verb with ``--max-latency-ms`` on that device; returns its exit code."""
    monkeypatch.setattr(LatencyTable, "load", lambda _: Table())
    (tmp_path / "slow.json").write_text("{}")
    words = [student.path, photos / "train", "--device", tmp_path / "slow.json", "--target",
             "int8.onnx", "--views", "1", "--epochs", "1", "--out", tmp_path]  # fmt: skip
    return lambda limit: main(["prune", *map(str, words), "--max-latency-ms", str(limit)])


def test_as_much_is_kept_as_is_predicted_to_be_fast_enough(
    student: Artifact,
    to_a_time: Callable[[float], int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = channel_groups(load_model(student)).multiply_adds() / 1e6
    assert to_a_time(0.7 * whole) == 0
    pruned = load_model(load_artifact(tmp_path / "shades-pruned.keras"))
    left = channel_groups(pruned).multiply_adds() / 1e6
    assert 0.55 * whole < left <= 0.7 * whole
    said = f"predicted as int8.onnx on a slow CPU: {left:.3g} ms, {whole:.3g} ms before"
    assert said in capsys.readouterr().err


def test_a_time_that_nothing_meets_is_told_with_the_nearest(
    student: Artifact, to_a_time: Callable[[float], int], capsys: pytest.CaptureFixture[str]
) -> None:
    graph = channel_groups(load_model(student))
    least = graph.multiply_adds(dict.fromkeys(graph.prunable, 8)) / 1e6
    assert to_a_time(0.9 * least) == 1
    assert f"{least:.3g} ms as int8.onnx on a slow CPU" in (said := capsys.readouterr().err)
    assert "bar it" in said
    assert to_a_time(100.0) == 2
    assert "nothing to prune" in capsys.readouterr().err


def test_a_file_that_is_no_devices_is_refused(student: Artifact, photos: Path) -> None:
    with pytest.raises(OptionError, match="profile --table"):
        edgeclf.prune(student.path, photos / "train", max_latency_ms=1.0, device=student.path)
