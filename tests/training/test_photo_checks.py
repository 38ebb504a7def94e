from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeclf.datasets.photos import find_photos
from edgeclf.image import ImageSpec, load_image
from edgeclf.training.photo_checks import describe_balance, keep_readable

MakeFolder = Callable[..., Path]


def test_balance_is_told_before_training(make_folder: MakeFolder) -> None:
    photos = find_photos(make_folder(cat=23, dog=2))
    told, remark = describe_balance(photos)
    assert told == "photos a class: cat 23, dog 2; largest to smallest 11.5 to 1"
    assert remark.startswith("remark: cat has 12 times the photos of dog.")
    assert len(describe_balance(photos.subset(range(3, 25)))) == 1, "10 to 1 needs no remark"


def test_many_classes_are_told_by_their_ends(make_folder: MakeFolder) -> None:
    photos = find_photos(make_folder(**{f"c{n}": 1 for n in range(20)}))
    (line,) = describe_balance(photos)
    assert line.count(",") == 12 and "8 more" in line


def test_a_photo_is_read_once(
    make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, read = make_folder(cat=3, dog=3), []

    def load(path: Path, spec: ImageSpec) -> np.ndarray:
        read.append(path)
        return load_image(path, spec)

    monkeypatch.setattr("edgeclf.training.photo_checks.load_image", load)
    for expected in (6, 6, 7):
        if expected == 7:
            (root / "cat" / "0.png").write_bytes((root / "dog" / "0.png").read_bytes() + b"\0")
        keep_readable(find_photos(root), tmp_path / "cache", skip=False)
        assert len(read) == expected
