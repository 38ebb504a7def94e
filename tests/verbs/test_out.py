"""Where results go is tried before there is work to lose."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeclf.artifact import Metadata, save_artifact, seal_artifact
from edgeclf.cli import main
from edgeclf.errors import OptionError
from edgeclf.image import ImageSpec
from edgeclf.system.files import check_out
from edgeclf.verbs import VERBS, import_verb
from support import optional

# How each verb is called. No other input is there, so that whoever refuses --out does it first.
TO_FOLDER = {
    "train": ["gone"],
    "distill": ["teacher.onnx", "gone"],
    "prune": ["gone.keras", "gone", "--keep", "0.5"],
    "fit": ["gone", "--teacher", "gone.onnx", "--device", "gone.json", "--max-size-kb", "9"],
    "convert": ["gone.keras", "--to", "fp32.tflite"],
    "compare": ["gone.tflite", "gone.onnx", "--data", "gone"],
    "zoo": ["efficientnet-lite0"],
    "report": ["gone.json"],
    "demo": ["gone"],
}
TO_FILE = {
    "benchmark": ["gone.tflite", "--random"],
    "benchmark --compare": ["gone.tflite", "gone.onnx"],
    "profile": ["gone.tflite"],
    "profile --table": [],
    "load": ["http://127.0.0.1:9/classify", "--images", "gone", "--rate", "1"],
    "explain": ["gone.tflite", "gone.jpg"],
    "monitor": ["gone.jsonl"],
}
NOWHERE = Path("/proc/nowhere")  # where not even root may write


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    teacher = seal_artifact(b"", Metadata("teacher", ("a", "b"), ImageSpec(8, 8)))
    save_artifact(teacher, tmp_path / "teacher.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cases() -> Iterator[object]:
    for calls, odd in ((TO_FOLDER, "file"), (TO_FILE, "folder")):
        for name in calls:
            verb = name.partition(" ")[0]
            for out in ("", odd, "file/below", "n" * 300, f"new/{'n' * 300}", str(NOWHERE)):
                marks = optional.verb(verb).marks  # type: ignore[attr-defined]
                yield pytest.param(name, out, marks=marks, id=f"{name} {out[:12]}")


@pytest.mark.parametrize(("call", "out"), [*cases()])
def test_every_verb_refuses_an_odd_out_before_its_work(
    call: str, out: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if out == str(NOWHERE) and not NOWHERE.parent.is_dir():
        pytest.skip("needs /proc")
    before = sorted(here.rglob("*"))
    words = {**TO_FOLDER, **TO_FILE}[call]
    assert main([*call.split(), *words, "--out", out]) == 2
    printed = capsys.readouterr()
    assert f"edgeclf: Nothing can be written to {out!r}: " in printed.err
    assert len(printed.err.splitlines()) == 1 and printed.out == ""
    assert sorted(here.rglob("*")) == before and Path("file").read_text() == "kept"


ARGUMENTS: dict[str, list[object]] = {
    "train": ["gone"],
    "distill": ["teacher.onnx", "gone"],
    "convert": ["gone.keras"],
    "compare": ["gone.tflite", ["gone.onnx"], "gone"],
    "zoo": ["efficientnet-lite0"],
    "report": ["gone.json"],
    "demo": ["gone"],
    "benchmark": [["gone.tflite"], None],
    "profile": ["gone.tflite"],
    "monitor": ["gone.jsonl"],
}


@pytest.mark.parametrize("verb", [optional.verb(verb) for verb in ARGUMENTS])
def test_no_function_takes_an_empty_out_for_the_current_folder(verb: str, here: Path) -> None:
    before = sorted(here.rglob("*"))
    with pytest.raises(OptionError, match=r"Nothing can be written to|out is '';.* not empty"):
        getattr(import_verb(verb), verb)(*ARGUMENTS[verb], out="")
    assert sorted(here.rglob("*")) == before


def test_every_verb_with_an_out_is_tried() -> None:
    called = {name.partition(" ")[0] for name in (*TO_FOLDER, *TO_FILE)}
    for name in VERBS:
        if optional.verb(name).marks[0].args[0]:  # type: ignore[attr-defined]
            continue
        parser = argparse.ArgumentParser()
        import_verb(name).add_arguments(parser)
        takes_out = any("--out" in action.option_strings for action in parser._actions)
        assert takes_out == (name in called), name


def test_autotune_tries_the_place_beside_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["autotune", "file/model.tflite"]) == 2
    assert "Nothing can be written to 'file/model.tflite.tuning.json'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "is_folder", "reason"),
    [
        ("with\0nul", False, "null"),
        ("with\0nul", True, "null"),
        ("", False, "it is empty"),
        ("", True, "it is empty, as of a shell variable that is not set"),
        ("folder", False, "no file"),
        ("/dev/null", False, "no file"),  # a rename would put a file in its place
        ("file", True, "Not a directory"),
        ("file/below", False, "Not a directory"),
        ("n" * 300, True, "too long"),
        ("new/" + "n" * 300, False, "too long"),
        ("dangling", True, "No such file"),
    ],
)
def test_a_place_is_refused_with_its_reason(
    path: str, is_folder: bool, reason: str, here: Path
) -> None:
    (here / "dangling").symlink_to("gone")
    with pytest.raises(OptionError, match=reason):
        check_out(path, is_folder=is_folder)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(here: Path) -> None:
    (here / "folder").chmod(0o555)
    for path, is_folder in (("folder", True), ("folder/new", True), ("folder/new.json", False)):
        with pytest.raises(OptionError, match="Permission denied"):
            check_out(path, is_folder=is_folder)


@pytest.mark.parametrize(
    ("path", "is_folder"),
    [("folder", True), ("new", True), ("new/deep", True), (".", True), ("file", False),
     ("new/file.json", False), ("ünïcode", True), (" ", True), ("dangling", False)],
)  # fmt: skip
def test_a_place_that_works_is_left_as_it_is(path: str, is_folder: bool, here: Path) -> None:
    (here / "dangling").symlink_to("gone")
    before = sorted(here.rglob("*"))
    check_out(path, is_folder=is_folder)
    check_out(here / path, is_folder=is_folder)
    assert sorted(here.rglob("*")) == before
