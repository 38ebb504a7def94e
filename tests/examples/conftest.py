"""A model and photos for the examples."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgeclf


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Path:
    return model_folder / "mugs.int8.tflite"


@pytest.fixture(scope="module")
def classifier(model: Path) -> Iterator[edgeclf.Classifier]:
    with edgeclf.Classifier(model) as classifier:
        yield classifier


@pytest.fixture(scope="module")
def photos(mugs: Path) -> list[Path]:
    """Photos of every class, in the order of their names."""
    return sorted(p for p in (mugs / "eval").rglob("*.jpg") if p.stem in ("000", "001"))


@pytest.fixture
def inbox(tmp_path: Path, photos: list[Path]) -> Path:
    """A flat folder of photos named by what they show."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    for photo in photos:
        shutil.copy(photo, folder / f"{photo.parent.name}-{photo.name}")
    return folder
