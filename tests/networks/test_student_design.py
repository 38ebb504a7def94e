"""Designs: what is told of a student before it is built is what it then is."""

from __future__ import annotations

import pytest

pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.networks.builder import find_backbone
from edgeclf.networks.operators import artifact_bytes, operators_of, size_bytes_of
from edgeclf.networks.student_design import (
    STUDENTS,
    StudentDesign,
    backbone_of,
    build,
    multiply_adds,
    operators,
    parameters,
)

ODD = StudentDesign(50, width=0.35, blocks=5, head=64, stem=16, expansion=3)


@pytest.mark.parametrize("design", [STUDENTS["student"], ODD], ids=str)
def test_a_design_tells_its_operators_without_being_built(design: StudentDesign) -> None:
    model = build(design, 5)
    assert operators(design, 5) == operators_of(model)
    assert parameters(design, 5) == model.count_params()
    size = artifact_bytes(operators(design, 5), "int8", "tflite")
    assert size == size_bytes_of(model, "int8", "tflite")
    assert model.name == str(design)


def test_where_one_pixel_is_left_a_stride_adds_no_shortcut() -> None:
    design = StudentDesign(32, width=0.25, blocks=12, head=64, stem=16, expansion=2)
    assert operators(design, 2) == operators_of(build(design, 2))


def test_named_students_keep_their_names_and_others_have_one_each() -> None:
    assert str(STUDENTS["student-m"]) == "student-m"
    assert str(ODD) == "student-50px-5b-w35-x3-h64-s16"
    named = find_backbone("student-l")
    assert named.input_size == STUDENTS["student-l"].input_size == 128
    assert named.unfreeze_from == backbone_of(STUDENTS["student-l"]).unfreeze_from


def test_more_of_anything_costs_more() -> None:
    smaller = multiply_adds(ODD, 5)
    for larger in (
        StudentDesign(64, 0.35, 5, 64, 16, 3), StudentDesign(50, 0.75, 5, 64, 16, 3),
        StudentDesign(50, 0.35, 6, 64, 16, 3), StudentDesign(50, 0.35, 5, 128, 16, 3),
        StudentDesign(50, 0.35, 5, 64, 32, 3), StudentDesign(50, 0.35, 5, 64, 16, 6),
    ):  # fmt: skip
        assert multiply_adds(larger, 5) > smaller
