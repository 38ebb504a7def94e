"""What is done of a table outlives whatever ends the run, and is never mixed up."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgeclf
from edgeclf.cli import main
from edgeclf.errors import DataError, OptionError, VerificationError
from edgeclf.tables import rows
from edgeclf.tables.work import Work, read_about
from support.tables import grey, rows_of, write_tar

pytest.importorskip("pyarrow", reason="needs edgeclf[bulk]")

Make = Callable[..., list[dict[str, Any]]]
SLOW = """
import sys, time
import edgeclf.runtimes.fake as fake
from edgeclf.cli import main
answer = fake.FakeRuntime.run
def run(self, images):
    time.sleep(0.004 * len(images))
    return answer(self, images)
fake.FakeRuntime.run = run
raise SystemExit(main(sys.argv[1:]))
"""


class Killing:
    """Ends a run where it stores its nth part."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, error: type[BaseException]) -> None:
        self.save, self.at, self.error = Work.save, at, error
        patch.setattr(Work, "save", lambda work, part: self(work, part))
        patch.setattr(rows, "_PART_ROWS", 2)

    def __call__(self, work: Work, part: Any) -> None:
        self.at -= 1
        if self.at == 0:
            raise self.error("the end")
        self.save(work, part)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("at", [1, 3])
def test_a_run_goes_on_where_it_ended(
    at: int, error: type[BaseException], make: Make, photos: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    expected = make(photos, to="peace.parquet")
    with pytest.MonkeyPatch.context() as patch:
        Killing(patch, at, error)
        with pytest.raises(error):
            make(photos)
    assert not (tmp_path / "table.parquet").exists()
    kept = len(list((tmp_path / "table.parquet.parts").glob("*.parquet")))
    assert kept == at - 1
    said = capsys.readouterr().err
    assert ("kept in" in said and "the same command goes on" in said) == (at > 1)
    assert make(photos) == expected
    assert ("going on behind" in capsys.readouterr().err) == (at > 1)


def test_kills_cost_nothing(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for at in range(800):
        (folder / f"{at:04d}.png").write_bytes(b"broken" if at % 80 == 7 else grey(at % 250))
    words = [sys.executable, "-c", SLOW, "bulk", str(folder), "--model", str(model), "--runtime",
             "fake", "--unverified", "--to"]  # fmt: skip
    table, rng, kills = tmp_path / "killed.parquet", random.Random(0), 0
    while kills < 3:  # twenty are in benchmarks/bulk.py
        child = subprocess.Popen([*words, str(table)], stderr=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL)  # fmt: skip
        time.sleep(rng.uniform(0.3, 2.5))
        child.kill()
        kills += child.wait() == -signal.SIGKILL
        if table.exists():
            break
    subprocess.run([*words, str(table)], check=True, capture_output=True)
    found = rows_of(table)
    assert [row["id"] for row in found] == [f"{at:04d}.png" for at in range(800)]
    assert [row["id"] for row in found if row["error"]] == [
        f"{at:04d}.png" for at in range(7, 800, 80)
    ]
    assert kills and list(tmp_path.glob("killed.parquet.parts")) == []


def test_an_interrupt_keeps_what_is_answered(model: Path, tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "x.tar", [(f"{at:04d}.png", grey(10)) for at in range(900)])
    table = tmp_path / "t.parquet"
    words = [sys.executable, "-c", SLOW, "bulk", str(shard), "--model", str(model), "--runtime",
             "fake", "--unverified", "--to", str(table)]  # fmt: skip
    child = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    time.sleep(3.0)
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and "interrupted" in said and "Traceback" not in said
    (part,) = (tmp_path / "t.parquet.parts").glob("*.parquet")
    kept = len(rows_of(part))
    assert 0 < kept < 900 and f"{kept:,} answers kept in" in said
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert f"going on behind {kept:,} pictures" in done.stderr
    assert [row["id"] for row in rows_of(table)] == [f"{at:04d}" for at in range(900)]


def begin(make: Make, *source: object, **options: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Killing(patch, 2, MemoryError)
        with pytest.raises(MemoryError):
            make(*source, **options)


def test_what_was_begun_with_something_else_is_not_gone_on_with(
    make: Make, photos: Path, tmp_path: Path
) -> None:
    begin(make, photos)
    before = sorted((tmp_path / "table.parquet.parts").iterdir())
    with pytest.raises(OptionError, match=r"part of a table of other options \(top 3, now 1\)"):
        make(photos, top=1)
    with pytest.raises(OptionError, match=r"another source \(.*photos\).*--overwrite"):
        make(photos / "a")
    (photos / "new.png").write_bytes(grey(10))
    with pytest.raises(OptionError, match=r"other files than .*photos holds now"):
        make(photos)
    assert sorted((tmp_path / "table.parquet.parts").iterdir()) == before
    assert len(make(photos, overwrite=True)) == 8


def test_a_source_may_be_spelt_otherwise(make: Make, photos: Path, tmp_path: Path) -> None:
    begin(make, photos)
    kept = len(list((tmp_path / "table.parquet.parts").glob("0*.parquet")))
    assert kept and len(make(f"{photos}/")) == 7
    assert len(make(photos.parent / "photos")) == 7  # the very table is there
    with pytest.raises(OptionError, match="exists already"):
        make(photos / "*.png", photos / "a", photos / "b")  # whose ids are others


def test_another_model_is_not_gone_on_with(
    make: Make, photos: Path, model: Path, tmp_path: Path
) -> None:
    from edgeclf.artifact import Metadata, save_artifact, seal_artifact
    from edgeclf.image import ImageSpec

    begin(make, photos)
    other = seal_artifact(b"", Metadata("other", ("a", "b"), ImageSpec(32, 32)))
    save_artifact(other, model)
    with pytest.raises(OptionError, match=r"another model \(shades, SHA-256 "):
        make(photos)


def test_a_table_that_is_there_stays_unless_it_may_go(
    make: Make, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make(photos)
    assert make(photos) == first
    assert "is complete already; nothing to do" in capsys.readouterr().err
    with pytest.raises(OptionError, match=r"exists already: it is a table of another source"):
        make(photos / "a")
    assert rows_of(tmp_path / "table.parquet") == first
    assert len(make(photos / "a", overwrite=True)) == 3
    (tmp_path / "mine.parquet").write_bytes(b"PAR1")
    with pytest.raises(OptionError, match="it is no table that 'edgeclf bulk' wrote"):
        make(photos, to="mine.parquet")
    assert (tmp_path / "mine.parquet").read_bytes() == b"PAR1"
    (tmp_path / "a.parquet.parts").mkdir()
    (tmp_path / "a.parquet.parts" / "mine.txt").touch()
    with pytest.raises(OptionError, match="holds files that are no parts of a table"):
        make(photos, to="a.parquet")
    assert (tmp_path / "a.parquet.parts" / "mine.txt").exists()


def test_the_old_table_is_there_until_the_new_one_is(
    make: Make, photos: Path, tmp_path: Path
) -> None:
    first = make(photos)
    begin(make, photos / "a", overwrite=True)
    assert rows_of(tmp_path / "table.parquet") == first
    assert len(make(photos / "a", overwrite=True)) == 3


def test_a_kill_between_the_table_and_the_end_is_tidied(
    make: Make, photos: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda path: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            make(photos)
    assert (tmp_path / "table.parquet").exists()
    assert (tmp_path / "table.parquet.parts").exists()
    assert len(make(photos)) == 7  # which also checks that the parts are gone


def test_two_at_once_are_one_and_a_sentence(make: Make, photos: Path, tmp_path: Path) -> None:
    import fcntl

    begin(make, photos)
    with open(tmp_path / "table.parquet.parts" / "lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OptionError, match="Another process is writing"):
            make(photos)
    assert len(make(photos)) == 7


def test_a_damaged_or_lost_part_is_named(make: Make, photos: Path, tmp_path: Path) -> None:
    begin(make, photos)
    (part,) = (tmp_path / "table.parquet.parts").glob("0*.parquet")
    content = part.read_bytes()
    part.write_bytes(content[:50])
    with pytest.raises(DataError, match=r"The part .* is damaged.*begin with 00000000, and run"):
        make(photos)
    for each in (tmp_path / "table.parquet.parts").glob("00000000-*"):
        each.unlink()
    assert len(make(photos)) == 7
    begin(make, photos, to="other.parquet")
    (part,) = (tmp_path / "other.parquet.parts").glob("0*.parquet")
    part.rename(part.with_name("00000000-000000004-000000006-0.parquet"))
    with pytest.raises(DataError, match="does not follow the part before it, which is lost"):
        make(photos, to="other.parquet")


def test_the_table_says_what_made_it(make: Make, photos: Path, model: Path, tmp_path: Path) -> None:
    make(photos)
    about = read_about(tmp_path / "table.parquet")
    assert about is not None
    assert about["model"]["sha256"] == edgeclf.load_artifact(model).sha256
    assert about["source"]["kind"] == "photos" and about["source"]["names"] == [str(photos)]
    assert about["options"] == {"top": 3, "runtime": "fake", "device": "cpu"}
    assert (about["rows"], about["failed"]) == (7, 1)
    (maker,) = about["made_by"]
    assert maker["library"] == "edgeclf 0" and maker["verified"] is False
    json.dumps(about)


def test_a_certificate_is_replayed_before_the_first_answer(
    model_folder: Path, mugs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = edgeclf.bulk(mugs / "eval", model_folder / "mugs.int8.tflite", tmp_path / "t.parquet")
    about = read_about(made.path)
    assert about is not None and about["made_by"][0]["verified"] is True
    with edgeclf.Classifier(model_folder / "mugs.int8.tflite") as classifier:
        answers = list(classifier.classify_batch(row["path"] for row in rows_of(made.path)))
    assert [row["label"] for row in rows_of(made.path)] == [answer.label for answer in answers]

    def refuse(*_: object) -> None:
        raise VerificationError("it does not answer as certified")

    monkeypatch.setattr("edgeclf.tables.answering.replay", refuse)
    with pytest.raises(VerificationError):
        edgeclf.bulk(mugs / "eval", model_folder / "mugs.int8.tflite", tmp_path / "u.parquet")
    assert not (tmp_path / "u.parquet").exists()


def test_the_command_prints_what_it_made(
    photos: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.chdir(tmp_path)
    words = ["--model", str(model), "--runtime", "fake", "--unverified", "--to"]
    assert main(["bulk", "photos", *words, "new/t.parquet"]) == 0
    assert capsys.readouterr().out == ("new/t.parquet: 7 pictures, of which 1 could not be read\n")
    assert main(["bulk", "photos/a/broken.png", *words, "b.parquet"]) == 2
    assert "not one picture could be read" in capsys.readouterr().err
    assert main(["bulk", "photos", *words, "s3://bucket/t.parquet"]) == 2
    assert "cannot be written to s3://bucket/t.parquet" in capsys.readouterr().err
    assert main(["bulk", "photos", "--top", "0", *words, "c.parquet"]) == 2
    assert main(["bulk", "photos", *words, "photos"]) == 2
    assert main(["bulk", "photos", "--model", str(model), "--runtime", "fake", "--to", "d"]) == 2
    assert "no complete certificate to replay" in capsys.readouterr().err


def test_a_full_disk_is_a_sentence_and_parts_stay(
    make: Make, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(make, photos)
    kept = list((tmp_path / "table.parquet.parts").glob("0*.parquet"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeclf.tables.work._sync", full)
        with pytest.raises(OSError, match="No space left"):
            make(photos)
    assert set(kept) <= set((tmp_path / "table.parquet.parts").glob("0*.parquet"))
    assert len(make(photos)) == 7
