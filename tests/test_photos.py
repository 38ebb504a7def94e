from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeclf.errors import DataError, OptionError
from edgeclf.image import ImageSpec, load_image
from edgeclf.photo_cache import cache_photos
from edgeclf.photos import check_disjoint, find_photos, sample_photos, split_photos

MakeFolder = Callable[..., Path]


def test_labels_file_fixes_the_order_against_the_alphabet(mugs: Path) -> None:
    photos = find_photos(mugs / "train")
    assert photos.labels == ("white", "black", "blue", "transparent")
    assert np.bincount(photos.targets).tolist() == [12, 12, 12, 12]
    for path, target in zip(photos.paths, photos.targets, strict=True):
        assert path.parent.name == photos.labels[target]


def test_without_labels_file_names_sort_naturally(make_folder: MakeFolder) -> None:
    assert find_photos(make_folder(c10=1, c9=1, b=1)).labels == ("b", "c9", "c10")


def test_hidden_files_are_no_photos(make_folder: MakeFolder) -> None:
    root = make_folder(cat=2, dog=2)
    (root / "cat" / ".DS_Store").write_text("")
    (root / ".git").mkdir()
    assert len(find_photos(root)) == 4


@pytest.mark.parametrize(
    ("counts", "labels", "message"),
    [
        ({"cat": 1}, None, r"holds 1 class folder.*at least two"),
        ({"cat": 2, "dog": 0}, None, "dog is empty"),
        ({"cat": 1, "dog": 1}, "cat\ncow\n", r"no folder for cow.*no label for dog"),
        ({"cat": 1, "dog": 1}, "cat\ncat\ndog\n", "names a class twice"),
        ({}, None, "holds 0 class folder"),
    ],
)
def test_unusable_folders(
    make_folder: MakeFolder, counts: dict[str, int], labels: str | None, message: str
) -> None:
    root = make_folder(**counts)
    root.mkdir(exist_ok=True)
    if labels:
        (root / "labels.txt").write_text(labels)
    with pytest.raises(DataError, match=message):
        find_photos(root)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone is not a folder"):
        find_photos(tmp_path / "gone")


def test_split_takes_its_share_of_every_class(make_folder: MakeFolder) -> None:
    photos = find_photos(make_folder(cat=10, dog=20))
    rest, aside = split_photos(photos, 0.2, seed=1)
    assert np.bincount(aside.targets).tolist() == [2, 4]
    assert set(rest.paths).isdisjoint(aside.paths) and len(rest) + len(aside) == 30
    assert split_photos(photos, 0.2, seed=1)[1].paths == aside.paths
    with pytest.raises(OptionError):
        split_photos(photos, 1.0, seed=1)


def test_split_needs_two_photos_a_class(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="'dog' has one photo"):
        split_photos(find_photos(make_folder(cat=3, dog=1)), 0.2, seed=0)


def test_sample_is_even_over_classes(make_folder: MakeFolder) -> None:
    photos = find_photos(make_folder(cat=3, dog=30))
    sample = sample_photos(photos, 9, seed=0)
    assert np.bincount(sample.targets).tolist() == [3, 6]
    assert sample_photos(photos, 99, seed=0) is photos


def test_a_photo_in_both_sets_is_found_by_content(make_folder: MakeFolder) -> None:
    photos = find_photos(make_folder(cat=4, dog=4))
    first, second = split_photos(photos, 0.5, seed=0)
    check_disjoint(first, second, "it")
    shutil.copy(first.paths[0], second.paths[0])
    with pytest.raises(DataError, match=r"1 photo.* in both sets"):
        check_disjoint(
            find_photos(photos.root).subset([photos.paths.index(p) for p in first.paths]),
            find_photos(photos.root).subset([photos.paths.index(p) for p in second.paths]),
            "it",
        )


def test_the_hash_tells_content_and_order(make_folder: MakeFolder) -> None:
    photos = find_photos(make_folder(cat=2, dog=2))
    assert photos.sha256 == find_photos(photos.root).sha256
    assert photos.sha256 != photos.subset([1, 0, 2, 3]).sha256


def test_cache_holds_what_the_device_would_see(mugs: Path, tmp_path: Path) -> None:
    photos = find_photos(mugs / "eval")
    spec = ImageSpec(40, 48)
    cached = cache_photos(photos, spec, tmp_path)
    assert cached.shape == (24, 40, 48, 3) and not cached.flags.writeable
    for index in (0, 7, 23):
        assert np.array_equal(cached[index], load_image(photos.paths[index], spec))
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    cache_photos(photos, spec, tmp_path)
    assert file.stat().st_mtime_ns == written, "decoded again although nothing changed"
    cache_photos(photos, ImageSpec(40, 49), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_unreadable_photos_are_all_named_and_nothing_is_left(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    root = make_folder(cat=3, dog=3)
    (root / "cat" / "0.png").write_bytes(b"no image")
    (root / "dog" / "note.txt").write_text("hello")
    with pytest.raises(DataError, match=r"2 of 7 files.*\n.*0\.png.*\n.*note\.txt"):
        cache_photos(find_photos(root), ImageSpec(8, 8), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
