"""examples/watch_folder, over restarts, power failures and odd file names."""

from __future__ import annotations

import csv
import os
import re
import runpy
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

import edgeclf
from support.example_scripts import EXAMPLES, command, complaints, rows, running, start


def once(model: Path, folder: Path, results: Path, *more: object) -> list[dict[str, str]]:
    done = start("watch_folder", model, folder, "--results", results, "--once",
                 "--interval", 0.05, *more)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return rows(results)


def test_a_photo_is_classified_once_across_restarts(
    model: Path, classifier: edgeclf.Classifier, inbox: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.csv"
    (inbox / "bad.jpg").write_text("no photo")
    (inbox / "notes.txt").write_text("not looked at")
    (inbox / ".hidden.jpg").write_text("an upload's temporary name")
    (inbox / "Thumbs.db").write_text("Windows' own")
    found = once(model, inbox, results)
    expected = {path.name: path for path in inbox.glob("[!.]*.jpg")}
    assert sorted(row["file"] for row in found) == sorted(expected)
    for row in found:
        path = expected[row["file"]]
        status = path.stat()
        assert int(row["size_bytes"]) == status.st_size
        assert int(row["mtime_ns"]) == status.st_mtime_ns
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row["time"])
        if path.name == "bad.jpg":
            assert "bad.jpg as an image" in row["error"]
            assert row["label"] == row["probability"] == ""
        else:
            prediction = classifier.classify(path)
            assert row["label"] == prediction.label and row["error"] == ""
            assert row["probability"] == f"{prediction.probability:.4f}"

    assert once(model, inbox, results) == found
    shutil.copy(next(inbox.glob("blue-*.jpg")), inbox / "bad.jpg")  # the same name, another photo
    again = once(model, inbox, results)
    assert again[:-1] == found
    assert again[-1]["file"] == "bad.jpg" and again[-1]["label"] != ""


def test_no_name_becomes_a_formula_in_a_spreadsheet(
    model: Path, inbox: Path, tmp_path: Path
) -> None:
    for photo in sorted(inbox.iterdir())[1:]:
        photo.unlink()
    (photo,) = inbox.iterdir()
    photo.rename(inbox / "=1+1.jpg")
    found = once(model, inbox, tmp_path / "results.csv")
    assert [row["file"] for row in found] == ["'=1+1.jpg"] and found[0]["label"] != ""
    assert once(model, inbox, tmp_path / "results.csv") == found  # known again
    once(model, inbox, tmp_path / "results.csv", "--move-to", tmp_path / "sorted")
    assert [path.name for path in (tmp_path / "sorted").rglob("*.jpg")] == ["=1+1.jpg"]


def test_a_row_that_was_cut_off_is_written_again(model: Path, inbox: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.csv"
    found = once(model, inbox, results)
    content = results.read_bytes()
    results.write_bytes(content[:-9])  # as a power failure may leave it
    again = once(model, inbox, results)
    assert [row | {"time": ""} for row in again] == [row | {"time": ""} for row in found]

    for foreign in ("name,price\npen,1\n", content.decode().replace("mtime_ns", "age")):
        results.write_text(foreign)
        done = start("watch_folder", model, inbox, "--results", results, "--once")
        assert done.returncode == 2 and "results.csv" in complaints(done)[0]
        assert results.read_text() == foreign
    results.write_text(content.decode() + "edited,by,hand,today,,,\n")
    done = start("watch_folder", model, inbox, "--results", results, "--once")
    assert done.returncode == 2 and f"line {len(found) + 2}" in complaints(done)[0]


def test_photos_move_to_their_class_and_over_nothing(
    model: Path, classifier: edgeclf.Classifier, inbox: Path, tmp_path: Path
) -> None:
    contents = {path.name: path.read_bytes() for path in inbox.iterdir()}
    labels = {path.name: classifier.classify(path).label for path in inbox.iterdir()}
    first = min(contents)
    taken = tmp_path / "sorted" / labels[first] / first
    taken.parent.mkdir(parents=True)
    taken.write_text("was here before")
    (inbox / "bad.jpg").write_text("no photo")
    results = tmp_path / "results.csv"
    once(model, inbox, results)  # classified, not moved: done by the next run
    found = once(model, inbox, results, "--move-to", tmp_path / "sorted")
    assert len(found) == len(contents) + 1
    assert [path.name for path in inbox.iterdir()] == ["bad.jpg"]
    assert taken.read_text() == "was here before"
    for name, content in contents.items():
        moved = f"{Path(name).stem}-1.jpg" if name == first else name
        assert (tmp_path / "sorted" / labels[name] / moved).read_bytes() == content


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("white mug", "white mug"),
        ("cup/mug", "cup_mug"),
        ("..", "_"),
        ("../../etc", "_.._etc"),
        ("", "_"),
        (".hidden", "hidden"),
        ("a\0b\nc:d", "a_b_c_d"),
        ("杯子", "杯子"),
        ("x" * 300, "x" * 60),
    ],
)
def test_a_label_becomes_the_name_of_one_folder(label: str, expected: str) -> None:
    script = runpy.run_path(str(EXAMPLES / "watch_folder" / "watch_folder.py"))
    assert script["folder_name"](label) == expected


def test_a_file_that_still_grows_is_left_alone(model: Path, photo: Path, tmp_path: Path) -> None:
    inbox, results = tmp_path / "inbox", tmp_path / "results.csv"
    inbox.mkdir()
    content = photo.read_bytes()
    upload = open(inbox / "upload.jpg", "wb")  # noqa: SIM115 - closed below
    done = threading.Event()

    def grow() -> None:  # too slowly to be finished while the script looks
        sent = 0
        while not done.wait(0.05):
            upload.write(content[sent : sent + 8])
            upload.flush()
            sent += 8
        upload.write(content[sent:])
        upload.close()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        assert once(model, inbox, results, "--interval", 1.5) == []
    finally:
        done.set()
        thread.join()
    (row,) = once(model, inbox, results)
    assert row["file"] == "upload.jpg" and row["label"] != "" and row["error"] == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_watch_with_every_answer_written(
    model: Path, inbox: Path, photo: Path, tmp_path: Path, number: signal.Signals
) -> None:
    results = tmp_path / "results.csv"
    before = len(list(inbox.iterdir()))
    with running("watch_folder", model, inbox, "--results", results, "--interval", 0.1) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(before)]
        shutil.copy(photo, inbox / "late.jpg")  # arrives while it runs
        lines.append(process.stdout.readline())
        asked = time.monotonic()
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0 and stdout == "" and "Traceback" not in stderr
    assert time.monotonic() - asked < 10
    assert lines[-1].startswith("late.jpg: ")
    found = rows(results)
    assert [f"{r['file']}: {r['label']}, {r['probability']}\n" for r in found] == lines
    assert len(once(model, inbox, results)) == before + 1


def test_a_file_name_may_be_any_bytes(model: Path, photo: Path, tmp_path: Path) -> None:
    inbox, results = tmp_path / "inbox", tmp_path / "results.csv"
    inbox.mkdir()
    names = [b"caf\xe9.jpg", "tasse à café, bleue.jpg".encode(), b'two\nlines "quoted".jpg']
    for name in names:
        try:
            shutil.copy(photo, os.path.join(os.fsencode(inbox), name))  # noqa: PTH118 - bytes
        except OSError:
            pytest.skip("this file system takes no such names")
    for _ in range(2):
        done = subprocess.run(
            command("watch_folder", model, inbox, "--results", results, "--once",
                    "--interval", 0.05),
            capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    with open(results, newline="", encoding="utf-8", errors="surrogateescape") as file:
        found = [os.fsencode(row["file"]) for row in csv.DictReader(file)]
    assert sorted(found) == sorted(names)
