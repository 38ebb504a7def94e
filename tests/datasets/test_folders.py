from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from edgeclf.datasets.folders import is_photo, natural_key
from edgeclf.datasets.photos import Photos, find_photos, find_unlabelled, sample_photos
from edgeclf.errors import DataError

MakeFolder = Callable[..., Path]


def decomposed(name: str) -> str:
    return unicodedata.normalize("NFD", name)


CLUTTER = (
    "Thumbs.db", "desktop.ini", "._0.png", ".DS_Store", ".hidden.png", "Icon\r", "ehthumbs.db",
    "__MACOSX/cat/0.png", ".ipynb_checkpoints/0.png", "@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg",
    ".Trash/deep/0.png", "deep/.cache/deeper/0.png", "deep/Thumbs.db", "lost+found/0.png",
    "$RECYCLE.BIN/0.png", "System Volume Information/0.png",
)  # fmt: skip


@pytest.mark.parametrize("place", ["", "cat"])
def test_what_systems_leave_is_no_photo_at_any_depth(make_folder: MakeFolder, place: str) -> None:
    root = make_folder(cat=2, dog=2)
    for name in CLUTTER:
        path = root / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no photo")
    if not place:
        shutil.rmtree(root / "deep")  # beside the classes it would be one
    expected = [f"{label}/{n}.png" for label in ("cat", "dog") for n in (0, 1)]
    for photos in (find_photos(root), find_unlabelled(root)):
        assert [photos.name_of(path) for path in photos.paths] == expected


def test_a_hidden_folder_above_the_photos_hides_nothing(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    root = make_folder(cat=2, dog=2).rename(tmp_path / ".cache")
    assert len(find_photos(root)) == len(find_unlabelled(root)) == 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", True), ("a.JFIF", True), ("a.jpe", True), ("a.pgm", True), ("a.HEIC", True),
        ("a.txt", False), (".a.jpg", False), ("._a.jpg", False), ("Thumbs.db", False),
        ("jpg", False), ("a.jpg.part", False),
    ],
)  # fmt: skip
def test_names_of_photos(name: str, expected: bool) -> None:
    assert is_photo(name) is expected


def names(photos: Photos) -> list[str]:
    return [photos.name_of(path) for path in photos.paths]


def test_links_are_followed_and_a_circle_ends(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder(cat=2, dog=1)
    elsewhere = root.rename(tmp_path / "elsewhere")
    root.mkdir()
    (root / "cat").symlink_to(elsewhere / "cat")
    (root / "dog" / "old").mkdir(parents=True)
    (root / "dog" / "old" / "linked.png").symlink_to(elsewhere / "dog" / "0.png")
    (root / "dog" / "older").symlink_to(elsewhere / "dog")
    (root / "dog" / "self").symlink_to(".")
    (root / "dog" / "old" / "up").symlink_to("..")
    (root / "dog" / "top").symlink_to(root)
    photos = find_photos(root)
    assert names(photos) == [
        "cat/0.png", "cat/1.png", "dog/old/linked.png", "dog/older/0.png",
    ]  # fmt: skip
    assert names(find_unlabelled(root)) == names(photos)


def test_links_to_nowhere_are_told_when_the_photos_are_read(make_folder: MakeFolder) -> None:
    root = make_folder(cat=2, dog=2)
    (root / "cat" / "gone.png").symlink_to("nowhere.png")
    (root / "cat" / "loop.png").symlink_to("loop.png")
    photos = find_photos(root)
    assert names(photos)[2:4] == ["cat/gone.png", "cat/loop.png"]
    with pytest.raises(DataError, match=r"Cannot read .*gone\.png: No such file"):
        _ = photos.sha256


def test_what_is_no_file_is_not_opened(make_folder: MakeFolder) -> None:
    root = make_folder(cat=1, dog=1)
    os.mkfifo(root / "cat" / "pipe.png")
    assert len(find_photos(root)) == len(find_unlabelled(root)) == 2


@pytest.mark.parametrize("find", [find_photos, find_unlabelled])
def test_a_folder_that_cannot_be_read_is_named(
    find: Callable[[Path], Photos], make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, scandir = make_folder(cat=1, dog=1), os.scandir

    def refuse(path: Path) -> object:
        if path == root / "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"Cannot read .*data/dog: Permission denied\. Check"):
        find(root)


ODD = (
    "①", "②", "5²", "5", "٣", "05", "5a", "a5", "A5", "a05", "", "img2", "img10", "Img2", "é1",
    decomposed("é1"), "É1", "İ", "9" * 5000, "0", "00", "a b", "a/b", "\udcff.jpg",
)  # fmt: skip


def test_sort_keys_never_raise_and_never_tie() -> None:
    keys = {name: natural_key(name) for name in ODD}
    for one, other in combinations(ODD, 2):
        assert (keys[one] < keys[other]) != (keys[other] < keys[one])
    shuffled = ["img10", "img3", "img2", "img10a", "img02", "img1"]
    order = ["img1", "img02", "img2", "img3", "img10", "img10a"]
    assert sorted(shuffled, key=natural_key) == order


def test_a_set_has_one_hash_in_both_forms_of_unicode(make_folder: MakeFolder) -> None:
    """As a Mac gives the folders and as Linux does; the letters are other ones to a computer."""
    root = make_folder(**{"café": 3, "cafz": 2, "cafe": 1})
    composed = find_photos(root)
    assert composed.labels == ("cafe", "cafz", "café")
    for number, name in enumerate(("é.png", "f.png", "ea.png")):
        (root / "café" / f"{number}.png").rename(root / "café" / name)
    sha256 = find_photos(root).sha256
    for path in [*root.rglob("*.png"), root / "café"]:
        path.rename(path.with_name(decomposed(path.name)))
    assert (root / decomposed("café")).is_dir() and not (root / "café").exists()
    photos = find_photos(root)
    assert photos.labels == composed.labels and photos.sha256 == sha256
    for label in ("café", decomposed("café")):
        assert find_photos(root, ["cafe", "cafz", label]).labels == ("cafe", "cafz", label)
    (root / "labels.txt").write_text("cafz\ncafé\ncafe\n", encoding="utf-8")
    assert find_photos(root).labels == ("cafz", "café", "cafe")


def test_a_class_in_both_forms_is_one(make_folder: MakeFolder) -> None:
    photos = find_photos(make_folder(**{"é": 2, decomposed("é"): 1, "a": 1}))
    assert photos.labels == ("a", "é") and photos.targets.tolist() == [0, 1, 1, 1]


def test_a_class_that_no_model_can_keep_is_refused(make_folder: MakeFolder) -> None:
    for name in ("two\nlines", "\udcff"):
        root = make_folder(cat=1, **{name: 1})
        with pytest.raises(DataError, match="is not one line of Unicode; rename it"):
            find_photos(root)
        shutil.rmtree(root)


def test_a_file_whose_name_is_no_unicode_has_one_that_can_be_written(
    make_folder: MakeFolder,
) -> None:
    root = make_folder(cat=1, dog=1)
    (root / "cat" / "0.png").rename(root / "cat" / "\udcff.png")
    photos = find_photos(root)
    assert names(photos) == ["cat/\\udcff.png", "dog/0.png"] and len(photos.sha256) == 64


def test_photos_without_labels_are_sampled_by_the_seed(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.jpg").touch()
    photos = find_unlabelled(tmp_path)
    first, again, other = (sample_photos(photos, 10, seed).paths for seed in (0, 0, 1))
    assert first == again and first != other
    rng = np.random.default_rng(0)
    assert [photos.paths.index(path) for path in first] == sorted(rng.permutation(40)[:10])


def test_long_lists_of_classes_are_cut(make_folder: MakeFolder) -> None:
    root = make_folder(**{f"c{number}": 1 for number in range(30)})
    with pytest.raises(DataError, match=r"no label for c0, .*, c7, and 22 more") as caught:
        find_photos(root, [f"d{number}" for number in range(1000)])
    assert "d7, and 992 more" in str(caught.value) and len(str(caught.value)) < 500
