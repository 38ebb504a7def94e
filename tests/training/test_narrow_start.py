"""Students that start from their teacher's first layers, at any width."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.image import ImageSpec  # noqa: E402
from edgeclf.networks.student_design import StudentDesign, build  # noqa: E402
from edgeclf.training.narrow_start import NarrowStarts  # noqa: E402
from edgeclf.training.teachers import KerasTeacher, RuntimeTeacher, Teacher  # noqa: E402
from support.shades import LABELS, by_brightness, pictures  # noqa: E402

WHOLE = StudentDesign(32, width=1.0, blocks=3, head=64)
IMAGES, TARGETS = pictures(64), np.arange(64) % 2


@pytest.fixture(scope="module")
def teacher() -> KerasTeacher:
    keras.utils.set_random_seed(3)
    return KerasTeacher(LABELS, ImageSpec(32, 32), "0" * 64, build(WHOLE, 2))


@pytest.fixture(scope="module")
def starts(teacher: KerasTeacher) -> NarrowStarts:
    return NarrowStarts(teacher, (IMAGES, TARGETS), 0)


def kernel(model: object, layer: str) -> np.ndarray:
    return np.asarray(model.get_layer(layer).get_weights()[0])  # type: ignore[attr-defined]


def test_a_narrow_student_has_some_of_its_teachers_channels(
    starts: NarrowStarts, teacher: KerasTeacher
) -> None:
    design = StudentDesign(32, width=0.5, blocks=2, head=24, stem=16, expansion=3)
    student, inherited = starts.start(design, IMAGES, 1)
    below_head = [layer for layer in student.layers if layer.weights][:-3]
    assert inherited == len(below_head) > 8
    mine, whole = kernel(student, "stem_conv"), kernel(teacher.model, "stem_conv")
    taken = [
        next(n for n in range(32) if np.array_equal(whole[..., n], mine[..., k])) for k in range(16)
    ]
    assert taken == sorted(set(taken)), "sixteen channels, in order"
    # What the depthwise layer reads are those very channels.
    depthwise = kernel(teacher.model, "block0_depthwise")[:, :, taken]
    assert np.array_equal(kernel(student, "block0_depthwise"), depthwise)
    again, _ = starts.start(design, IMAGES, 1)
    for one, other in zip(student.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_statistics_are_measured_again(starts: NarrowStarts) -> None:
    """Behind a cut layer, what comes is no longer what the teacher's BatchNorm has measured."""
    design = StudentDesign(32, width=0.5, blocks=2, head=24, stem=16)
    student, _ = starts.start(design, IMAGES, 1)
    norm = student.get_layer("block1_project_bn")
    before = keras.Model(student.input, student.get_layer("block1_project_conv").output)
    seen = np.asarray(before.predict_on_batch(IMAGES)).mean(axis=(0, 1, 2))
    measured = np.asarray(norm.moving_mean)
    # Not equal: in training, the layers before it use the statistics of each batch.
    assert np.corrcoef(seen, measured)[0, 1] > 0.95 and norm.momentum == 0.9


def test_a_student_as_wide_as_its_teacher_takes_layers_as_they_are(
    starts: NarrowStarts, teacher: KerasTeacher
) -> None:
    design = StudentDesign(32, width=1.0, blocks=2, head=24)
    student, inherited = starts.start(design, IMAGES, 1)
    assert inherited > 8
    for layer in ("stem_bn", "block1_project_conv"):
        ours, theirs = (m.get_layer(layer).get_weights() for m in (student, teacher.model))
        assert all(map(np.array_equal, ours, theirs))


def test_from_teachers_of_another_kind_students_start_from_nothing() -> None:
    design = StudentDesign(32, width=0.5, blocks=2, head=24, stem=16)
    other: Teacher = KerasTeacher(LABELS, ImageSpec(32, 32), "0" * 64, by_brightness())
    runtime = RuntimeTeacher.__new__(RuntimeTeacher)  # which shows no network
    runtime.labels = LABELS
    for each in (other, runtime):
        student, inherited = NarrowStarts(each, (IMAGES, TARGETS), 0).start(design, IMAGES, 1)
        assert inherited == 0 and student.output_shape == (None, 2)
