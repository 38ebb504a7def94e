from __future__ import annotations

import codecs
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgeclf.converters.evaluation import find_any_photos
from edgeclf.converters.labels import read_labels
from edgeclf.converters.source_spec import (
    ID_COLUMNS,
    LABEL_COLUMNS,
    LABEL_KEYS,
    NAME_COLUMNS,
    SourceSpec,
)
from edgeclf.errors import DataError, OptionError
from support import REPOSITORY

MakeFolder = Callable[..., Path]
NAMES = ("tench", "crème brûlée", "cup")


@pytest.mark.parametrize(
    "text",
    [
        "id,name\n0,tench\n1,crème brûlée\n2,cup\n",
        "Name, ID\ncup,2\ntench,0\ncrème brûlée,1\n\n",
        "name;id\r\ncup;3\r\ntench;1\r\ncrème brûlée;2\r\n",
        "index\tmid\tdisplay_name\n0\t/m/1\ttench\n1\t/m/2\tcrème brûlée\n2\t/m/3\tcup\n",
        "class_id,class_name\n0,tench\n1,crème brûlée\n2,cup\n",
        "label_id,label\n0,tench\n1,crème brûlée\n2,cup\n",
        "label,name\n0,tench\n1,crème brûlée\n2,cup\n",
        "label,class\ncup,2\ntench,0\ncrème brûlée,1\n",
        "idx,class\n1,tench\n2,crème brûlée\n3,cup\n",
        ",label\n0,tench\n1,crème brûlée\n2,cup\n",
        "id,name,\n0,tench,\n1,crème brûlée,\n2,cup,\n",
        "0,tench\n1,crème brûlée\n2,cup\n",
        "cup,2\ntench,0\ncrème brûlée,1\n",
        '"1";"tench"\n"2";"crème brûlée"\n"3";"cup"\n',
        "Category ID;Category Name\n0;tench\n1;crème brûlée\n2;cup\n",
        "classes\ntench\ncrème brûlée\ncup\n",
        "name\ntench\ncrème brûlée\ncup\n",
        "tench\ncrème brûlée\ncup\n",
        "name\n0 tench\n1 crème brûlée\n2 cup\n",
        "0 tench\n1 crème brûlée\n2 cup\n",
        "sep=;\r\nid;name\r\n0;tench\r\n1;crème brûlée\r\n2;cup\r\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables(text: str, encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    file.write_bytes(text.encode(encoding))
    assert read_labels(file) == NAMES


def test_names_with_the_other_separators_in_them(tmp_path: Path) -> None:
    file = tmp_path / "map.CSV"
    file.write_text('Name, ID\nb,1\n"a, c",0\n')
    assert read_labels(file) == ("a, c", "b")
    file.write_text("0;tench, Tinca tinca\n1;shark, carcharodon\n")
    assert read_labels(file) == ("tench, Tinca tinca", "shark, carcharodon")
    file.write_text("id;name\n0;tench, Tinca tinca\n1;shark, carcharodon\n")
    assert read_labels(file) == ("tench, Tinca tinca", "shark, carcharodon")


def test_digits_that_are_names(tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    file.write_text("id,label\n0,7\n1,3\n")
    assert read_labels(file) == ("7", "3")
    file.write_text("0,7\n1,3\n")
    assert read_labels(file) == ("7", "3")
    file = tmp_path / "map.json"
    for text in ('["7", "3"]', "[7, 3]", '{"7": 0, "3": 1}', '{"0": "7", "1": "3"}'):
        file.write_text(text)
        assert read_labels(file) == ("7", "3")


@pytest.mark.parametrize(
    "document",
    [
        list(NAMES),
        {"tench": 0, "cup": 2, "crème brûlée": 1},
        {"tench": "0", "cup": "2", "crème brûlée": "1"},
        [["cup", 2], ["tench", 0], ["crème brûlée", 1]],
        [[1, "tench"], [2, "crème brûlée"], [3, "cup"]],
        [["n1", "tench"], ["n2", "crème brûlée"], ["n3", "cup"]],
        ["0 tench", "1 crème brûlée", "2 cup"],
        {"tench": 1, "cup": 3, "crème brûlée": 2},
        {"0": "tench", "2": "cup", "1": "crème brûlée"},
        {"1": "tench", "2": "crème brûlée", "3": "cup"},
        {"0": ["n1", "tench"], "1": ["n2", "crème brûlée"], "2": ["n3", "cup"]},
        {"id2label": {str(n): name for n, name in enumerate(NAMES)},
         "label2id": {name: n for n, name in enumerate(NAMES)}, "model_type": "vit"},
        {"num_labels": 3, "label2id": {name: n for n, name in enumerate(NAMES)}},
        {"labels": list(NAMES)},
        {"names": {str(n): name for n, name in enumerate(NAMES)}, "nc": 3},
        [{"id": n + 1, "name": name, "supercategory": "x"} for n, name in enumerate(NAMES)],
    ],
)  # fmt: skip
def test_json(document: Any, tmp_path: Path) -> None:
    file = tmp_path / "class_indices.json"
    file.write_text(json.dumps(document))
    assert read_labels(file) == NAMES
    file.write_bytes(codecs.BOM_UTF8 + json.dumps(document, ensure_ascii=False).encode())
    assert read_labels(file.rename(tmp_path / "labels.txt")) == NAMES


def test_a_text_is_no_json_by_its_first_letter(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("[background]\ncat\n")
    assert read_labels(file) == ("[background]", "cat")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("map.csv", "number,name\n0,a\n", "has the columns number, name; expected a column of ids "
         r"\(id, .*, category_id\) and one of names \(name, .*, classes\)\."),
        ("map.csv", "id,name\n0,a\n2,b\n",
         r"not 0 to 1, each once, nor 1 to 2.*breaks the row is 2 in line 3"),
        ("map.csv", "id,name\n0,a\n1,b\n1,c\n", "breaks the row is 1 in line 4"),
        ("map.csv", "id,name\n5,a\n6,b\n", "breaks the row is 5 in line 2"),
        ("map.csv", "id,name\nx,a\n", r"line 2: the id 'x' is no whole number"),
        ("map.csv", "id,name\n②,a\n", "no whole number"),
        ("map.csv", "id,name\n0,a\n1\n", r"line 3 has 1 fields; expected 2"),
        ("map.csv", "id,name\n0,tench, Tinca\n1,b\n", "line 2 has 3 fields.*needs quotes"),
        ("map.csv", "id,name\n0,a\n1,\n", "has no name in line 3"),
        ("map.csv", "id,name\n0,a\n1,b\n2,a\n", "'a' in line 2 and line 4"),
        ("map.csv", "0,n01440764,tench\n1,n01443537,shark\n", "columns 0, n01440764, tench"),
        ("map.csv", "id,name\n", "names no class"),
        ("map.csv", "", "map.csv is empty; expected one name a line"),
        ("map.csv", "sep=;\nid;name\n0;a\nx;b\n", "line 4: the id 'x'"),
        ("a.json", "{", "a.json is no JSON"),
        ("a.json", "3", "a.json holds '3'; expected one name a line"),
        ("a.json", '{"cat": 0, "cat": 1, "dog": 2}', "is no JSON: 'cat' is there twice"),
        ("a.txt", '{"a": 0, "b": 2}', "breaks the row is 2 in id 2"),
        ("a.json", "[" * 100_000, "is no JSON"),
        ("a.json", "{}", "names no class"),
        ("a.json", '{"a": 0, "b": 2}', "breaks the row is 2 in id 2"),
        ("a.json", '{"0": "a", "1": "b", "2": "a"}', "'a' in id 0 and id 2"),
        ("a.json", '{"0": "a", "1": null}', "no name in id 1"),
        ("a.json", '{"cat": true, "dog": "x"}',
         "a document with the keys cat, dog, of which none is known"),
        ("a.json", '[true, "a"]', "has true, which is no name and no id"),
        ("a.json", '{"version": 1.5, "data": ["a", "b"]}',
         r"keys version, data, of which none is known.*one as id2label, .*, categories\."),
        ("a.json", '["a\\ud800", "b"]', r"has 'a\\ud800' in entry 1, which is not one line"),
        ("a.json", '["a", "b\\u001b[2J"]', r"has 'b\\x1b\[2J' in entry 2"),
        ("a.json", '["a\\nb", "c"]', r"has 'a\\nb' in entry 1"),
        ("map.csv", 'id,name\n0,"a\nb"\n1,c\n', "which is not one line of text"),
        ("a.json", '["a", "b", "a"]', "'a' in entry 1 and entry 3"),
        ("gone.txt", None, r"There is no .*gone\.txt; expected one name a line"),
    ],
)  # fmt: skip
def test_unusable_files(name: str, text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(OptionError, match=message):
        read_labels(tmp_path / name)


def test_calibration_needs_no_classes(
    make_folder: MakeFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder(**{"2023/may": 2, "2024": 2})
    photos = find_any_photos(root, ("cat", "dog"), split="train")
    assert photos.labels == () and len(photos) == 4
    assert "without their classes: The class folders" in capsys.readouterr().err
    with pytest.raises(DataError, match="do not match the labels"):
        find_any_photos(root, ("cat", "dog"), split="eval")
    (root / "photos.csv").write_text("path,label\n2024/0.png,may\n2024/1.png,june\n")
    photos = find_any_photos(root / "photos.csv", ("cat", "dog"), split="train")
    assert [path.name for path in photos.paths] == ["0.png", "1.png"] and photos.labels == ()


def test_folders_that_hold_no_photos_are_no_classes(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").touch()
    for name in ("@eaDir", "__MACOSX", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "b.png").touch()
    photos = find_any_photos(tmp_path, ("cat", "dog"), split="eval")
    assert [path.name for path in photos.paths] == ["a.png"]


def test_calibration_by_the_models_classes_stays_even(make_folder: MakeFolder) -> None:
    photos = find_any_photos(make_folder(cat=2, dog=3), ("0 cat", "1 dog"), split="train")
    assert photos.labels == ("0 cat", "1 dog") and photos.targets.tolist() == [0, 0, 1, 1, 1]


def test_the_help_and_the_page_name_every_column() -> None:
    page = (REPOSITORY / "docs" / "conversion.md").read_text(encoding="utf-8")
    said = next(f for f in dataclasses.fields(SourceSpec) if f.name == "labels")
    help_ = str(said.metadata)
    assert all(f"`{name}`" in page for name in (*ID_COLUMNS, *NAME_COLUMNS))
    assert LABEL_COLUMNS in help_ and all(name in help_ for name in (*ID_COLUMNS, *NAME_COLUMNS))
    assert all(f"`{key}`" in page for key in LABEL_KEYS)
