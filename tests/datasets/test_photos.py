from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf.datasets.cache import cache_photos
from edgeclf.datasets.photos import (
    check_disjoint,
    find_photos,
    find_unlabelled,
    sample_photos,
    split_photos,
)
from edgeclf.datasets.validation import check_contents
from edgeclf.errors import DataError, OptionError
from edgeclf.image import ImageSpec, load_image

MakeFolder = Callable[..., Path]
MakeTable = Callable[..., Path]


def open_training_data(*args: Any, **options: Any) -> Any:
    """Training's; it is no part of a device, where the tests that call it are skipped."""
    from edgeclf.training import data

    return data.open_training_data(*args, **options)


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


def test_split_keeps_a_group_together(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder(cat=12, dog=12)
    names = sorted(
        str(path.relative_to(tmp_path)) for path in folder.rglob("*.*") if path.is_file()
    )
    table = tmp_path / "photos.csv"
    rows = [f"{name},{Path(name).parent.name},{Path(name).parent.name}{i // 3}"
            for i, name in enumerate(names)]  # fmt: skip
    table.write_text("\n".join(["path,label,group", *rows[:-1], rows[-1].rpartition(",")[0] + ","]))
    photos = find_photos(table)
    assert len(set(photos.groups)) == 9  # the last photo, without one, is one of its own
    rest, aside = split_photos(photos, 0.25, seed=1)
    assert set(rest.groups).isdisjoint(aside.groups) and len(rest) + len(aside) == 24
    assert len({group for group in aside.groups if "cat" in group}) == 1
    shutil.copy(aside.paths[0], rest.paths[0])  # a copy in another group
    rest, aside = split_photos(find_photos(table), 0.25, seed=1)
    assert set(rest.content_sha256).isdisjoint(aside.content_sha256)
    alone = photos.subset([i for i, group in enumerate(photos.groups) if group in ("cat0", "dog4")])
    with pytest.raises(DataError, match="'cat' has one group"):
        split_photos(alone, 0.5, seed=0)


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


@pytest.fixture
def table(make_folder: MakeFolder) -> MakeTable:
    """Writes a CSV beside the folder's photos: table("path,label", "cat/0.png,cat", ...)."""
    root = make_folder(cat=3, dog=3)

    def make(*lines: str, name: str = "photos.csv") -> Path:
        path = root / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return make


def test_a_table_names_the_same_photos_as_the_folders(
    table: MakeTable, make_folder: MakeFolder, tmp_path: Path
) -> None:
    lines = [f"{label},,{label}/{n}.png" for n in (2, 0, 1) for label in ("dog", "cat")]
    path = table("\ufeffLabel,note,path", *lines, "")
    photos, folders = find_photos(path), find_photos(path.parent)
    assert photos.paths == folders.paths and photos.labels == ("cat", "dog")
    assert photos.sha256 == folders.sha256
    assert photos.name_of(photos.paths[0]) == "cat/0.png"
    (path.parent / "labels.txt").write_text("dog\ncat\n")
    assert find_photos(path).labels == ("dog", "cat")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_as_programs_write_them(
    table: MakeTable, encoding: str, separator: str, tmp_path: Path
) -> None:
    path = table("", name="photos.tsv")
    rows = [("path", "label"), ("dog/0.png", "Möwe"), ("cat/0.png", "cat, tame")]
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=separator).writerows([*rows, ("", "")])
    photos = find_photos(path)
    assert photos.labels == ("cat, tame", "Möwe")
    assert [photos.name_of(photo) for photo in photos.paths] == ["cat/0.png", "dog/0.png"]


def test_a_table_finds_the_files_of_a_mac(table: MakeTable) -> None:
    path = table("path,label", "é/0.png,é", "dog/0.png,dog")
    (path.parent / "cat").rename(path.parent / "e\u0301")
    assert find_photos(path).labels == ("dog", "é")
    assert find_photos(path, ["e\u0301", "dog"]).labels == ("e\u0301", "dog")


def test_what_systems_leave_is_no_row_of_a_table(
    table: MakeTable, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["cat/0.png,cat", "dog/0.png,dog", "cat/Thumbs.db,cat", "__MACOSX/cat/._0.png,cat"]
    assert len(find_photos(table("path,label", *rows))) == 2
    assert "2 rows of" in capsys.readouterr().err
    path = table("path,label", ".mine/0.png,cat", "dog/0.png,dog")
    (path.parent / "cat").rename(path.parent / ".mine")
    assert len(find_photos(path)) == 2, "what is named is wanted, hidden or not"


def test_a_table_may_split_its_photos(table: MakeTable) -> None:
    rows = [f"{c}/{n}.png,{c},{'eval' if n == 1 else 'train'}" for c in ("cat", "dog")
            for n in range(3)]  # fmt: skip
    path = table("path,label,split", *rows)
    assert [p.stem for p in find_photos(path).paths] == ["1", "1"]
    assert [p.stem for p in find_photos(path, split="train").paths] == ["0", "2"] * 2


def test_a_split_table_serves_training_and_calibration(table: MakeTable, tmp_path: Path) -> None:
    rows = [f"{c}/{n}.png,{c},{'eval' if n == 1 else 'train'}" for c in ("cat", "dog")
            for n in range(3)]  # fmt: skip
    from edgeclf.converters.evaluation import find_any_photos

    path = table("path,label,split", *rows)
    training_data = open_training_data(path, None, tmp_path / "out", seed=0)
    assert (training_data.name, len(training_data.photos), len(training_data.evaluation)) == (
        "photos",
        4,
        2,
    )
    calibration = find_any_photos(path, ("cat", "dog"), split="train")
    assert calibration.paths == training_data.photos.paths


def test_a_table_beside_the_training_table_is_the_evaluation(
    table: MakeTable, tmp_path: Path
) -> None:
    train = table("path,label", "cat/0.png,cat", "dog/0.png,dog", name="train.csv")
    table("path,label", "cat/1.png,cat", "dog/1.png,dog", name="eval.csv")
    training_data = open_training_data(train, None, tmp_path / "out", seed=0)
    assert (training_data.name, len(training_data.photos), len(training_data.evaluation)) == (
        "data",
        2,
        2,
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,label", "cat/0.png,cat"], r"begins with 'file,label'; expected a header"),
        (["path,label"], "names no photo"),
        ([""], "expected a header"),
        (["path,label", "cat/0.png"], r"row 2: 1 fields; expected 2"),
        (["path,label", "cat/0.png,"], "row 2: a path or a label is missing"),
        (["path,label,split", "cat/0.png,cat,test"], "split is 'test'; expected train or eval"),
        (["path,label,split", "cat/0.png,cat,train"], "no photo whose split is eval"),
        (["path,label", "cat/9.png,cat", "dog/0.png,dog"], r"1 of 2 photos.*\n.*cat/9\.png"),
        (["path,label", "cat/0.png,cat"], "holds 1 class label.*at least two"),
    ],
)
def test_unusable_tables(table: MakeTable, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_photos(table(*lines))


def test_labels_must_match_the_table(table: MakeTable) -> None:
    path = table("path,label", "cat/0.png,cat", "dog/0.png,dog")
    with pytest.raises(DataError, match=r"no photo of cow.*no label for dog"):
        find_photos(path, ["cat", "cow"])
    assert len(find_photos(path, ["cat", "cow", "dog"], partial=True)) == 2
    with pytest.raises(DataError, match=r"There is no .*gone\.csv"):
        find_photos(path.with_name("gone.csv"))
    path.write_bytes(b"path,label\n\xff,cat\n")
    with pytest.raises(DataError, match="in UTF-8"):
        find_photos(path)


def test_one_photo_with_two_labels_is_refused_and_named(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    root = make_folder(cat=3, dog=3)
    shutil.copy(root / "cat" / "1.png", root / "dog" / "7.png")
    with pytest.raises(DataError, match=r"two labels.*\n.*cat/1\.png \(cat\) = .*7\.png \(dog\)"):
        open_training_data(root, None, tmp_path / "out", seed=0)


def test_copies_within_a_set_are_told_and_stay_together(
    make_folder: MakeFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder(cat=8, dog=8)
    for n in range(8):
        shutil.copy(root / "cat" / f"{n}.png", root / "cat" / f"copy-{n}.png")
    for seed in range(3):
        training_data = open_training_data(root, None, tmp_path / "out", seed=seed)
        assert set(training_data.photos.content_sha256).isdisjoint(
            training_data.evaluation.content_sha256
        )
        assert (len(training_data.photos), len(training_data.evaluation)) == (21, 3)
    told = capsys.readouterr().err
    assert "8 photo(s)" in told and "cat/0.png = cat/copy-0.png" in told and "and 3 more" in told
    assert len(check_contents(find_photos(root))) == 8


def test_photos_of_both_sets_are_refused(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder(cat=3, dog=3)
    other = shutil.copytree(root, tmp_path / "judged")
    with pytest.raises(DataError, match=r"6 photo\(s\) are in both sets"):
        open_training_data(root, other, tmp_path / "out", seed=0)


def test_unreadable_files_are_refused_or_left_out_and_counted(
    make_folder: MakeFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder(cat=5, dog=5)
    (root / "cat" / "0.png").write_bytes(b"no image")
    (root / "dog" / "note.txt").write_bytes(b"no image")  # the same content is no photo's twin
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"2 of 11 files.*--skip-unreadable:\n.*0\.png.*\n.*note"):
        open_training_data(root, None, out, seed=0)
    tasks = [open_training_data(root, None, out, seed=0, skip_unreadable=True) for _ in range(2)]
    assert [(len(t.photos), len(t.evaluation), t.skipped) for t in tasks] == [(7, 2, 2)] * 2
    assert tasks[0].photos.sha256 == tasks[1].photos.sha256
    told = capsys.readouterr().err
    assert "2 left out because they cannot be read" in told and "0.png as an image" in told
    assert len(cache_photos(tasks[0].photos, ImageSpec(8, 8), out)) == 7
    shutil.rmtree(root / "cat")
    make_folder(cat=1)
    (root / "cat" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="no photo of cat is left"):
        open_training_data(root, None, out, seed=0, skip_unreadable=True)


def test_photos_without_labels_are_found_by_suffix(tmp_path: Path) -> None:
    for name in ("a.HEIC", "b.avif", "c.heif", "d.jpg", "e.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [p.name for p in find_unlabelled(tmp_path).paths] == [
        "a.HEIC", "b.avif", "c.heif", "d.jpg",
    ]  # fmt: skip


def test_a_split_in_capitals_is_the_same(make_folder: MakeFolder) -> None:
    root = make_folder(cat=1, dog=1)
    table = root / "photos.csv"
    table.write_text("path,label,split\ncat/0.png,cat,Train\ndog/0.png,dog,TRAIN\n")
    assert find_photos(table, split="train").labels == ("cat", "dog")


def test_outer_spaces_of_a_class_are_seen_in_the_message(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match=r"no label for ' cat'.*each of: cat, dog"):
        find_photos(make_folder(**{" cat": 1, "dog": 1}), ["cat", "dog"])


def test_control_characters_are_no_class(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match=r"'cat\\x1b\[2J' is not one line of Unicode; rename it"):
        find_photos(make_folder(**{"cat\x1b[2J": 1, "dog": 1}))
