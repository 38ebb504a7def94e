"""`convert --calibrate`: what is written knows how sure it is, and what it was told is checked."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image

import edgeclf
from edgeclf.artifact import load_artifact, save_artifact, seal_artifact
from edgeclf.errors import DataError, OptionError
from support.shades import LABELS, pictures


def write_photos(root: Path, count: int, seed: int) -> Path:
    for index, picture in enumerate(pictures(count, seed)):
        folder = root / LABELS[(index + 1) % 2]  # the teacher swaps them
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{index}.png")
    return root


def test_each_result_is_calibrated_on_its_own_answers(teachers: Path, tmp_path: Path) -> None:
    evaluation = write_photos(tmp_path / "eval", 80, 3)
    trained = write_photos(tmp_path / "train", 40, 4)
    source = load_artifact(teachers / "swapped.keras")
    stale = dataclasses.replace(source.metadata, trust={"temperature": "of another file"})
    # Only a converter reads it: as answers it would be refused.
    model = save_artifact(seal_artifact(source.content, stale), tmp_path / "swapped.keras").path
    assert model is not None
    (artifact,) = edgeclf.convert(
        model, evaluation=evaluation, calibration=trained, to=["fp32.onnx"], calibrate=True
    )
    assert artifact.path is not None
    trust = load_artifact(artifact.path).metadata.trust
    assert trust is not None and trust["data"]["fitted"]["images"] == 40
    assert trust["data"]["trained"]["images"] == 40
    record = json.loads((tmp_path / "swapped.trust.json").read_text())
    assert record["results"]["swapped.fp32.onnx"]["trust"]["temperature"] == trust["temperature"]
    assert edgeclf.verify(artifact.path).confidence_change is not None

    (plain,) = edgeclf.convert(model, evaluation=evaluation, to=["fp32.onnx"])
    assert plain.metadata.trust is None


def test_photos_that_cannot_be_used_are_refused_before_anything_is_converted(
    teachers: Path, tmp_path: Path
) -> None:
    few = write_photos(tmp_path / "eval", 20, 3)
    for options, error, message in (
        ({"evaluation": few}, DataError, "holds 20 different photos, of which half are fitted"),
        ({}, OptionError, "--calibrate needs evaluation photos in one folder a class"),
        ({"evaluation": few / "dark"}, OptionError, "needs evaluation photos in one folder"),
        ({"unknown": few, "calibrate": False}, OptionError, "--unknown is for --calibrate"),
    ):
        wanted = {"calibrate": True, "to": ["fp32.onnx"], "out": tmp_path / "out", **options}
        with pytest.raises(error, match=message):
            edgeclf.convert(teachers / "swapped.keras", **wanted)
    assert not list((tmp_path / "out").glob("*.onnx"))
