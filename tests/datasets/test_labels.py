from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeclf.datasets.labels import class_finder, read_labels
from edgeclf.datasets.photos import find_photos
from edgeclf.errors import DataError

MakeFolder = Callable[..., Path]
TEXT = "tench\r\ncrème brûlée\r\n\r\n\r\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("cp1252"),
        TEXT.replace("\r\n", "\r").encode(),
        unicodedata.normalize("NFD", TEXT).encode(),
        b"0 tench\n1 " + "crème brûlée".encode(),
    ],
)
def test_any_text_gives_the_same_names(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(content)
    assert read_labels(file) == ("tench", "crème brûlée")


def test_a_guessed_encoding_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(b"tench\ncr\xe8me \x80\n")
    assert read_labels(file) == ("tench", "crème €")
    assert "is not in UTF-8; read as Windows-1252, it has 'crème €'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 tench\n1 shark\n", ("tench", "shark")),
        ("0: tench\n1: shark\n", ("tench", "shark")),
        ("0:tench\n1:shark\n", ("tench", "shark")),
        ("1\ttench\n2\tshark\n", ("tench", "shark")),
        ("1 shark\n0 tench\n", ("tench", "shark")),
        ("0 Class 1\n1 Class 2\n", ("Class 1", "Class 2")),
        ("00 tench\n01 shark\n", ("tench", "shark")),
        ("0,tench\n1,shark\n", ("tench", "shark")),
        ("0;tench\n1; shark\n", ("tench", "shark")),
        ("0 - tench\n1 - shark\n", ("tench", "shark")),
        ("0=tench\n1 = shark\n", ("tench", "shark")),
        ("- tench\n- shark\n", ("tench", "shark")),
        ("- 1 tench\n- 0 shark\n", ("shark", "tench")),
        ("- tench\nshark\n", ("- tench", "shark")),
        ("0,5 mm\n1,5 mm\n", ("0,5 mm", "1,5 mm")),
        ("0 tench\nshark\n", ("0 tench", "shark")),
        ("0 tench\n2 shark\n", ("0 tench", "2 shark")),
        ("2 doors\n4 doors\n", ("2 doors", "4 doors")),
        ("0 fingers\n1 finger\n2 fingers\n", ("0 fingers", "1 finger", "2 fingers")),
        ("0\n1\n2\n", ("0", "1", "2")),
        ("0:30\n1:45\n", ("0:30", "1:45")),
        ("① tench\n② shark\n", ("① tench", "② shark")),
        ("tench, Tinca tinca\nshark\n", ("tench, Tinca tinca", "shark")),
    ],
)
def test_numbers_before_names_are_ids_only_if_all_lines_count(
    text: str, expected: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "labels.txt"
    file.write_text(text, encoding="utf-8")
    assert read_labels(file) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"crane\ncat\ncrane\n", r"names a class twice: 'crane' in line 1 and line 3\. Give"),
        ("é\nb\ne\u0301\n".encode(), "'é' in line 1 and line 3"),
        (b"0 a\n1 b\n2 c\n3 a\n", "'a' in line 1 and line 4"),
        (b"\n\n", "names no class; expected one name a line"),
        (b"\x7fELF\1\2\3\0\0", "is no text in UTF-8; expected one name a line"),
        (b"a\x81b\n", "is no text in UTF-8"),
        (b"abc\0", "is no text in UTF-8"),
    ],
)
def test_unusable_files(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_labels(file)


def test_a_thousand_equal_names_make_one_short_message(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("".join(f"class {number % 500}\n" for number in range(1000)))
    with pytest.raises(DataError, match=r"'class 4' in line 5 and line 505; and 495 more") as told:
        read_labels(file)
    assert len(str(told.value)) < 500


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no .*gone\.txt; expected one name a line"):
        read_labels(tmp_path / "gone.txt")
    with pytest.raises(DataError, match=r"Cannot read .*: Is a directory\. Expected one name"):
        read_labels(tmp_path)


@pytest.mark.parametrize("folders", [("cat", "dog"), ("0 cat", "1 dog"), ("1: cat", "2: dog")])
@pytest.mark.parametrize("text", ["cat\ndog\n", "0 cat\n1 dog\n", "1\tcat\n2\tdog\n"])
def test_a_numbered_name_and_a_plain_one_are_one_class(
    make_folder: MakeFolder, folders: tuple[str, str], text: str
) -> None:
    root = make_folder(**dict(zip(folders, (1, 2), strict=True)))
    (root / "labels.txt").write_text(text)
    photos = find_photos(root)
    assert photos.labels == ("cat", "dog") and photos.targets.tolist() == [0, 1, 1]
    old = find_photos(root, ["0 cat", "1 dog"])  # as a model of before knows them
    assert old.labels == ("0 cat", "1 dog") and old.paths == photos.paths


def test_another_number_is_another_class() -> None:
    find = class_finder(["doors", "cat", "5 dog"])
    given = ["1 doors", "4 doors", "1 cat", "3 cat", "dog", "2 dog", "5 dog"]
    assert [*map(find, given)] == ["doors", "4 doors", "cat", "3 cat", "dog", "2 dog", "5 dog"]


def test_folders_keep_their_numbers_without_labels(make_folder: MakeFolder) -> None:
    assert find_photos(make_folder(**{"0 cat": 1, "1 dog": 1})).labels == ("0 cat", "1 dog")
