"""What a student is given: views of photos with a teacher's answers, kept or made on the fly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import edgeclf
from edgeclf.datasets.photos import find_photos
from edgeclf.image import ImageSpec

pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.training.distillation import fit_student
from edgeclf.training.distillation_config import DistillationConfig
from edgeclf.training.online_distillation import OnlineSoftTargets
from edgeclf.training.soft_targets import (
    PhotoPairs,
    SoftTargetCache,
    SoftTargets,
    compute_soft_targets,
)
from edgeclf.training.teachers import Answers, KerasTeacher
from support.shades import LABELS, SPEC, by_brightness, pictures
from support.training_runs import no_feed_left


def test_answers_are_kept_for_the_next_student(
    shades: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = find_photos(shades / "train")
    images = pictures(48)
    photos = PhotoPairs(images, images, found.targets)
    teacher = KerasTeacher(LABELS, SPEC, "a" * 64, by_brightness())

    def soft_targets(
        teacher: KerasTeacher, seed: int = 0, features: bool = False, mirror: bool = True
    ) -> SoftTargets:
        return compute_soft_targets(
            teacher, photos, student_spec=SPEC, views=2, seed=seed, mirror=mirror,
            features=features, cache=SoftTargetCache(tmp_path, found),
        )  # fmt: skip

    first = soft_targets(teacher)
    assert "reused" not in capsys.readouterr().err
    again = soft_targets(dataclasses.replace(teacher, model=by_brightness(-1.0)))
    assert "teacher's answers reused: 2 views of 48 photos" in capsys.readouterr().err
    assert np.array_equal(first.logits, again.logits) and isinstance(again.images, np.memmap)
    assert np.array_equal(first.images[:48], images)
    plain = compute_soft_targets(teacher, photos, student_spec=SPEC, views=2, seed=0)
    assert np.array_equal(plain.logits, first.logits)
    assert np.array_equal(plain.images, first.images)
    soft_targets(dataclasses.replace(teacher, sha256="b" * 64))
    soft_targets(teacher, seed=1)
    soft_targets(teacher, mirror=False)
    shown = soft_targets(teacher, features=True)
    assert "reused" not in capsys.readouterr().err
    assert shown.features is not None and shown.features.shape == (96, 3)
    assert not list(tmp_path.glob(".*")), "no half of a file stays"


class Brightness:
    """A teacher whose features are the mean colours of what it is shown, in 64 x 64 pixels."""

    labels, spec, sha256, model, feature_width = LABELS, ImageSpec(64, 64), "c" * 64, None, 3

    def answer(self, images: np.ndarray) -> Answers:
        assert images.shape[1:] == (64, 64, 3) and images.dtype == np.uint8
        means = images.mean(axis=(1, 2), dtype=np.float32)
        return Answers(np.stack([means[:, 0], -means[:, 0]], axis=1), means)


def online_targets(count: int = 20, views: int = 3) -> OnlineSoftTargets:
    small = pictures(count)
    large = np.repeat(np.repeat(small, 2, axis=1), 2, axis=2)
    return OnlineSoftTargets(Brightness(), PhotoPairs(large, small, np.arange(count)), views)


def test_online_soft_targets_are_new_views_in_every_epoch_and_the_same_in_every_run() -> None:
    def epochs(first: int, count: int, seed: int = 5) -> list[list[list[np.ndarray]]]:
        feed = online_targets().feed(seed, features=True, first_epoch=first)
        return [
            [[part.numpy() for part in (*given, targets)] for given, targets in feed.dataset]
            for _ in range(count)
        ]

    whole = epochs(0, 3)
    for epoch in whole:
        assert [len(batch[0]) for batch in epoch] == [32, 28]
        images, logits, features, targets = (
            np.concatenate(arrays) for arrays in zip(*epoch, strict=True)
        )
        assert sorted(targets) == sorted([*range(20)] * 3), "each photo as often as there are views"
        assert len(np.unique(images, axis=0)) == 60, "all views differ"
        # The teacher saw the same view: its mean colours are those of the student's image.
        assert np.abs(features - images.mean(axis=(1, 2))).max() < 3
        assert np.array_equal(logits[:, 0], features[:, 0])
    seen = [{image.tobytes() for batch in epoch for image in batch[0]} for epoch in whole]
    assert not seen[0] & seen[1] and not seen[1] & seen[2]

    (resumed,) = epochs(2, 1)
    for batch, before in zip(resumed, whole[2], strict=True):
        assert all(map(np.array_equal, batch, before))
    (other,) = epochs(2, 1, seed=6)
    assert not np.array_equal(other[0][0], whole[2][0][0])


def test_a_student_follows_a_teacher_that_answers_online() -> None:
    images, targets = pictures(192), np.arange(192) % 2
    teacher = KerasTeacher(LABELS, SPEC, "a" * 64, by_brightness(-1.0))
    student = by_brightness(0.0)
    soft_targets = OnlineSoftTargets(teacher, PhotoPairs(images, images, targets), views=1)
    config = DistillationConfig(epochs=30, temperature=2.0, learning_rate=0.1)
    fit_student(student, soft_targets, config)
    answers = student.predict_on_batch(images).argmax(axis=1)
    assert (answers == 1 - targets).mean() > 0.95


@pytest.mark.parametrize("ending", ["keras", "fp32.onnx"])
def test_a_teacher_that_answers_online_keeps_nothing(
    teachers: Path, shades: Path, tmp_path: Path, ending: str
) -> None:
    with no_feed_left():
        artifact = edgeclf.distill(
            teachers / f"swapped.{ending}", shades / "train", out=tmp_path, student="student-xs",
            soft_targets="online", views=2, epochs=2, student_size=40,
            feature_weight=0.5 if ending == "keras" else 0.0,
        )  # fmt: skip
    assert (artifact.metadata.image.height, artifact.metadata.image.width) == (40, 40)
    assert artifact.metadata.training is not None
    assert artifact.metadata.training["settings"]["soft_targets"] == "online"
    kinds = {path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir()}
    assert kinds == {"photos", "readable"}, "neither answers nor views"
