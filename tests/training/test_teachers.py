"""Who can teach: networks of ours in every format, and models from elsewhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import edgeclf
from edgeclf.artifact import load_artifact
from edgeclf.errors import ArtifactError, OptionError
from edgeclf.training.distillation_config import DistillationConfig

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.converters.sources import open_model  # noqa: E402
from edgeclf.training.distillation import fit_student  # noqa: E402
from edgeclf.training.soft_targets import PhotoPairs, compute_soft_targets  # noqa: E402
from edgeclf.training.teachers import open_teacher, teacher_logits  # noqa: E402
from support.shades import LABELS, SPEC, by_brightness, pictures  # noqa: E402


@pytest.mark.parametrize("ending", ["keras", "fp32.tflite", "fp32.onnx"])
def test_the_student_follows_any_teacher_not_the_labels(teachers: Path, ending: str) -> None:
    artifact = load_artifact(teachers / f"swapped.{ending}")
    teacher = open_teacher(artifact, LABELS)
    assert (teacher.model is not None) == (ending == "keras")
    images, targets = pictures(192), np.arange(192) % 2
    logits = teacher_logits(teacher, images)
    expected = by_brightness(-1.0).predict_on_batch(images)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(shares, expected, atol=1e-5)
    soft_targets = compute_soft_targets(
        teacher, PhotoPairs(images, images, targets), student_spec=SPEC, views=1, seed=0
    )
    keras.utils.set_random_seed(0)
    student = by_brightness(0.0)
    config = DistillationConfig(epochs=30, temperature=2.0, learning_rate=0.1)
    fit_student(student, soft_targets, config)
    answers = student.predict_on_batch(images).argmax(axis=1)
    assert (answers == 1 - targets).mean() > 0.95


@pytest.mark.parametrize("ending", ["keras", "fp32.onnx"])
def test_classes_in_another_order_are_matched_by_name(teachers: Path, ending: str) -> None:
    artifact = load_artifact(teachers / f"swapped.{ending}")
    images = pictures(4)
    straight = teacher_logits(open_teacher(artifact, LABELS), images)
    turned = open_teacher(artifact, LABELS[::-1])
    assert turned.labels == LABELS[::-1]
    assert np.allclose(teacher_logits(turned, images), straight[:, ::-1], atol=1e-6)
    if turned.model is not None:  # what a student inherits is in order too
        inherited = turned.model.predict_on_batch(images)
        assert np.array_equal(inherited.argmax(axis=1), straight[:, ::-1].argmax(axis=1))


@pytest.mark.parametrize("ending", ["keras", "fp32.onnx"])
def test_classes_spelt_otherwise_are_the_same(teachers: Path, ending: str) -> None:
    artifact = load_artifact(teachers / f"swapped.{ending}")
    spelt = tuple(f"{number} {label}" for number, label in enumerate(LABELS))
    metadata = dataclasses.replace(artifact.metadata, labels=spelt)
    for labels in (LABELS, LABELS[::-1]):
        teacher = open_teacher(dataclasses.replace(artifact, metadata=metadata), labels)
        plain = open_teacher(artifact, labels)
        assert teacher.labels == labels
        images = pictures(4)
        assert np.array_equal(teacher_logits(teacher, images), teacher_logits(plain, images))


def test_a_teacher_that_lacks_a_class_is_refused(teachers: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot teach grey"):
        open_teacher(load_artifact(teachers / "swapped.keras"), ("bright", "grey"))


def test_a_model_from_elsewhere_teaches_once_its_classes_are_named(
    teachers: Path, shades: Path, tmp_path: Path
) -> None:
    teacher = teachers / "plain.keras"
    options = {"student": "student-xs", "views": 1, "epochs": 1, "out": tmp_path}
    with pytest.raises(OptionError, match="Add --labels"):
        edgeclf.distill(teacher, shades / "train", **options)  # type: ignore[arg-type]
    (tmp_path / "labels.txt").write_text("\n".join(LABELS[::-1]))
    source = edgeclf.SourceSpec(labels=tmp_path / "labels.txt")
    opened = open_teacher(open_model(teacher, source), LABELS)
    answers = teacher_logits(opened, pictures(8)).argmax(axis=1)
    assert answers.tolist() == [0, 1] * 4, "it swaps the classes, and their names are swapped"
    artifact = edgeclf.distill(
        teacher,
        shades / "train",
        source=source,
        **options,  # type: ignore[arg-type]
    )
    assert artifact.metadata.training is not None
    assert artifact.metadata.training["settings"]["teacher_sha256"] == opened.sha256
    assert artifact.metadata.training["settings"]["inherited_layers"] == 0


def test_answers_of_other_labels_are_other_answers(teachers: Path, tmp_path: Path) -> None:
    """Once their order is put right, what was kept of the wrong one must not be found again."""
    sha256 = set()
    for number, labels in enumerate((LABELS, LABELS[::-1])):
        file = tmp_path / f"{number}.txt"
        file.write_text("\n".join(labels))
        opened = open_model(teachers / "plain.keras", edgeclf.SourceSpec(labels=file))
        sha256.add(open_teacher(opened, LABELS).sha256)
    assert len(sha256) == 2


def test_only_a_network_shows_its_features(teachers: Path, shades: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"feature_weight is 1\.0 .*expected a \.keras artifact"):
        edgeclf.distill(
            teachers / "swapped.fp32.onnx", shades / "train", feature_weight=1.0, out=tmp_path
        )
