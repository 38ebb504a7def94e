from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf.errors import DataError, OptionError
from edgeclf.tables.items import End, entries
from edgeclf.tables.sources import open_source
from support.tables import grey, write_tar

pa = pytest.importorskip("pyarrow", reason="needs edgeclf[bulk]")
pq = pytest.importorskip("pyarrow.parquet", reason="needs edgeclf[bulk]")

Make = Callable[..., list[dict[str, Any]]]
LABELS = [("a/1.png", "dark"), ("a/2.png", "middle"), ("a/broken.png", None), ("b/1.png", "bright"),
          ("b/c/1.png", "dark"), ("b.png", "middle"), ("z.png", "bright")]  # fmt: skip


def labels(rows: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(row["id"], row["label"]) for row in rows]


def test_a_folder_is_a_row_a_photo_in_the_order_of_paths(make: Make, photos: Path) -> None:
    rows = make(photos)
    assert labels(rows) == LABELS
    assert [row["path"] for row in rows] == [str(photos / name) for name, _ in LABELS]
    (broken,) = (row for row in rows if row["error"])
    assert broken["error"] == "ImageError" and "broken.png" in broken["message"]
    assert broken["probability"] is broken["top_labels"] is None


def test_a_row_says_what_the_answer_says(make: Make, photos: Path, model: Path) -> None:
    from edgeclf import Classifier, load_artifact

    (row,) = make(photos / "z.png", top=2)
    with Classifier(model, runtime="fake") as classifier:
        answer = classifier.classify(photos / "z.png")
    assert row["label"] == "bright" and row["probability"] == np.float32(answer.probability)
    assert row["top_labels"] == [score.label for score in answer.top(2)]
    assert row["top_probabilities"] == [np.float32(s.probability) for s in answer.top(2)]
    assert row["confidence"] is row["unknown"] is row["novelty"] is None
    assert row["model_sha256"] == load_artifact(model).sha256


def test_several_sources_keep_their_whole_paths_as_ids(make: Make, photos: Path) -> None:
    rows = make(photos / "b", photos / "a")
    assert [row["id"] for row in rows] == [row["path"] for row in rows]
    assert len({row["id"] for row in rows}) == 5
    again = make(photos / "*.png", to="pattern.parquet")
    assert [Path(row["path"]).name for row in again] == ["b.png", "z.png"]


def test_a_list_names_photos_beside_it(make: Make, photos: Path) -> None:
    names = ["z.png", f"{photos}/a/1.png", "", "gone.png", "a/2.png", f"file://{photos}/b.png"]
    (photos / "some.txt").write_text("\r\n".join(names))
    rows = make(photos / "some.txt")
    assert [row["label"] for row in rows] == ["bright", "dark", None, "middle", "middle"]
    assert [row["id"] for row in rows] == [name for name in names if name]
    assert rows[2]["path"] == str(photos / "gone.png")
    assert "Cannot open" in rows[2]["message"]


def write_parquet(path: Path, columns: dict[str, Any], rows: int = 2) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


def test_parquet_of_bytes_with_ids(make: Make, tmp_path: Path) -> None:
    images = [grey(10), grey(250), None, b"no picture", grey(128)]
    columns = {"key": [7, 8, 9, 10, 11], "jpg": images, "more": ["x"] * 5}
    rows = make(write_parquet(tmp_path / "some.parquet", columns))
    assert labels(rows) == [("7", "dark"), ("8", "bright"), ("9", None), ("10", None),
                            ("11", "middle")]  # fmt: skip
    assert [row["error"] for row in rows] == [None, None, "DataError", "ImageError", None]
    assert rows[4]["path"] == f"{tmp_path}/some.parquet#4"


def test_parquet_of_paths_and_of_structs(make: Make, photos: Path) -> None:
    paths = write_parquet(photos / "paths.parquet", {"path": ["z.png", "a/1.png"]})
    rows = make(paths)
    assert labels(rows) == [("paths.parquet#0", "bright"), ("paths.parquet#1", "dark")]
    assert rows[0]["path"] == str(photos / "z.png")
    hub = [{"bytes": grey(10), "path": "1.png"}, {"bytes": None, "path": "z.png"}]
    structs = write_parquet(photos / "structs.pq", {"image": hub, "label": [0, 1]})
    assert [r["label"] for r in make(structs, to="structs.parquet")] == ["dark", "bright"]


def test_columns_are_named_where_several_fit(make: Make, tmp_path: Path) -> None:
    columns = {"left": [grey(10)], "right": [grey(250)], "name": ["one"], "count": [1]}
    file = write_parquet(tmp_path / "two.parquet", columns)
    with pytest.raises(OptionError, match=r"'left', 'right' could be pictures.*--column"):
        make(file)
    assert labels(make(file, column="right", id_column="name")) == [("one", "bright")]
    with pytest.raises(OptionError, match=r"no column 'middle'; it has 'left'"):
        make(file, to="other", column="middle")
    with pytest.raises(OptionError, match=r"'count' of two\.parquet is int64; expected bytes"):
        make(file, to="other", column="count")
    with pytest.raises(DataError, match=r"other.parquet has no column 'left', as the first"):
        make(file, write_parquet(tmp_path / "other.parquet", {"x": [1]}), to="t", column="left")


def test_a_parquet_that_is_none_is_named_before_any_work(make: Make, tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and so on")
    with pytest.raises(DataError, match=r"Cannot read .*cut\.parquet as Parquet: .*write the file"):
        make(tmp_path / "cut.parquet")
    assert not list(tmp_path.glob("table.parquet*"))


def test_a_damaged_row_group_costs_its_rows_alone(make: Make, tmp_path: Path) -> None:
    levels = [10, 128, 250, 10, 128, 250]
    columns = {"id": [f"n{at}" for at in range(6)], "image": [grey(level) for level in levels]}
    file = write_parquet(tmp_path / "some.parquet", columns)
    about = pq.ParquetFile(file).metadata.row_group(1).column(1)
    content = bytearray(file.read_bytes())
    start = about.dictionary_page_offset or about.data_page_offset
    content[start : start + 20] = b"\xff" * 20
    file.write_bytes(content)
    rows = make(file)
    assert [row["label"] for row in rows] == ["dark", "middle", None, None, "middle", "bright"]
    assert rows[2]["id"] == "some.parquet#2" and rows[3]["error"] == "DataError"
    assert "row group 1" in rows[2]["message"]


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
def test_a_tar_shard_has_a_row_a_picture(make: Make, tmp_path: Path, name: str) -> None:
    members = [("x/0001.jpg", grey(10, "JPEG")), ("x/0001.cls", b"3"), ("x/0002.jpg", b"broken"),
               ("x/0003.left.png", grey(250)), ("x/0003.right.png", grey(128)),
               ("._x.jpg", b"a Mac's")]  # fmt: skip
    rows = make(write_tar(tmp_path / name, members))
    assert labels(rows) == [("x/0001", "dark"), ("x/0002", None), ("x/0003", "bright"),
                            ("x/0003", "middle")]  # fmt: skip
    assert rows[2]["path"] == f"{tmp_path}/{name}/x/0003.left.png"


@pytest.mark.parametrize(("cut", "good"), [(-1, 3), (512 * 5 + 20, 2), (512 * 2 + 70, 1)])
def test_a_shard_that_is_cut_keeps_what_is_before(
    make: Make, tmp_path: Path, cut: int, good: int
) -> None:
    small = [grey(level)[:400] for level in (10, 128, 250)]  # a header and a block each
    assert all(len(each) <= 512 for each in small)
    path = write_tar(tmp_path / "cut.tar", [(f"{at}.png", each) for at, each in enumerate(small)])
    content = path.read_bytes()
    end = 512 * 6 if cut == -1 else cut  # without the archive's own end
    path.write_bytes(content[:end])
    rows = make(path)
    assert [row["label"] for row in rows] == [*["dark", "middle", "bright"][:good], None]
    assert rows[-1]["id"] == "cut.tar" and rows[-1]["error"] == "DataError"
    assert "is damaged" in rows[-1]["message"] and "again" in rows[-1]["message"]


def test_a_tar_whose_header_is_damaged_does_not_just_end(make: Make, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [(f"{at}.png", grey(10)) for at in range(4)])
    content = bytearray(path.read_bytes())
    content[512 * 4 : 512 * 4 + 40] = b"\xff" * 40
    path.write_bytes(content)
    rows = make(path)
    assert [row["error"] for row in rows] == [None, None, "DataError"]


def test_urls_are_read_by_fsspec(make: Make, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="needs edgeclf[bulk]")
    memory = fsspec.filesystem("memory")
    try:
        for at in range(40):
            memory.pipe(f"/some/{at:02d}.png", grey((10, 250)[at % 2]))
        memory.pipe("/some/20.png", b"broken")
        memory.pipe("/some/.hidden/20.png", grey(10))
        write_tar(tmp_path / "0.tar", [("k.png", grey(128))])
        memory.pipe("/shards/0.tar", (tmp_path / "0.tar").read_bytes())
        buffer = io.BytesIO()
        pq.write_table(pa.table({"path": ["some/01.png", "memory://some/00.png"]}), buffer)
        memory.pipe("/paths.parquet", buffer.getvalue())
        rows = make("memory://some")
        assert [row["id"] for row in rows] == [f"{at:02d}.png" for at in range(40)]
        wrong = [at for at, row in enumerate(rows) if row["label"] != ("dark", "bright")[at % 2]]
        assert wrong == [20] and rows[3]["path"] == "memory://some/03.png"
        assert labels(make("memory://shards/*.tar", to="1"))[0][1] == "middle"
        assert [row["label"] for row in make("memory://paths.parquet", to="2")] == [
            "bright", "dark",
        ]  # fmt: skip
        (tmp_path / "urls.txt").write_text("memory://some/01.png\nmemory://some/gone.png\n")
        rows = make(tmp_path / "urls.txt", to="3")
        assert [row["error"] for row in rows] == [None, "DataError"]
        assert "gone.png" in rows[1]["message"]
        with pytest.raises(DataError, match="memory://nothing"):
            make("memory://nothing", to="4")
        with pytest.raises(DataError, match="nosuch://place"):
            make("nosuch://place", to="4")
    finally:
        memory.store.clear()
        memory.pseudo_dirs[:] = [""]


def test_what_is_no_source_is_a_sentence(make: Make, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "some.doc").touch()
    (photos / "more.parquet").touch()
    for source, words in (
        ("empty", "There are no pictures in .*empty; expected a folder of photos"),
        ("some.doc", "some.doc is no source of pictures"),
        ("gone", "Cannot read .*gone: No such file"),
        ("gone*.tar", "No file fits"),
        ("photos", r"holds files of several kinds: 1 of parquet, and 7|7 of photos.*pattern"),
    ):
        with pytest.raises(DataError, match=words):
            make(tmp_path / source)
    with pytest.raises(OptionError, match="--column and --id-column are for Parquet"):
        make(photos / "a", column="image")


def test_a_link_into_a_circle_ends_and_one_to_nowhere_is_a_row(make: Make, photos: Path) -> None:
    (photos / "a" / "round").symlink_to(photos)
    (photos / "a" / "nowhere.png").symlink_to(photos / "gone.png")
    rows = make(photos / "a")
    assert sorted(row["id"] for row in rows if row["error"])[0] == "broken.png"
    assert len({row["path"] for row in rows}) == len(rows)


@pytest.mark.parametrize("kind", ["photos", "parquet", "tar"])
def test_a_piece_is_gone_on_with_behind_any_row(kind: str, photos: Path, tmp_path: Path) -> None:
    images = [grey(level) for level in range(0, 250, 25)]
    source = {
        "photos": photos,
        "parquet": tmp_path / "x.parquet",
        "tar": tmp_path / "x.tar",
    }[kind]
    write_parquet(tmp_path / "x.parquet", {"image": images}, 4)
    write_tar(tmp_path / "x.tar", [(f"{at}.png", each) for at, each in enumerate(images)])
    (piece,) = open_source([str(source)]).pieces
    whole = list(piece.items(0))
    assert len(whole) == (7 if kind == "photos" else 10)
    for skip in range(len(whole) + 1):
        assert list(piece.items(skip)) == whole[skip:]
    assert list(entries([(piece, len(whole))])) == [End(0)]


def test_many_photos_are_many_pieces_and_a_change_is_another_source(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for at in range(600):
        (folder / f"{at:03d}.png").touch()
    source = open_source([str(folder)])
    assert source.rows == 600 and [piece.number for piece in source.pieces] == [0, 1]
    names = [item.id for piece in source.pieces for item in piece.items(0)]
    assert names == [f"{at:03d}.png" for at in range(600)]
    assert open_source([str(folder)]).sha256 == source.sha256
    (folder / "300.png").write_bytes(b"another")
    assert open_source([str(folder)]).sha256 != source.sha256
