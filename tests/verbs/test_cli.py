from __future__ import annotations

import importlib
import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgeclf
from edgeclf.cli import main
from edgeclf.errors import DataError
from edgeclf.training.stages import Stages
from edgeclf.verbs import VERBS
from support import optional
from support.benchmark_results import make_results
from support.stand_ins import stand_in


def edgeclf_(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeclf", *map(str, words)],
        capture_output=True, text=True, check=False, cwd=cwd,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:.* found in sys.modules:RuntimeWarning")  # by another test
@pytest.mark.parametrize("verb", [optional.verb(name) for name in VERBS])
def test_every_verb_is_a_function_a_command_and_a_module(
    verb: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert callable(getattr(edgeclf, verb)) == (VERBS[verb].module is None)  # else it is a room
    for module, words in (("edgeclf", [verb]), (f"edgeclf.{verb}", [])):
        monkeypatch.setattr(sys, "argv", [module, *words, "--help"])
        with pytest.raises(SystemExit) as left:
            runpy.run_module(module, run_name="__main__")
        printed = capfd.readouterr()
        assert left.value.code == 0 and printed.err == ""
        assert printed.out.startswith(f"usage: edgeclf {verb}")


@pytest.mark.parametrize("verb", [optional.verb(name) for name in ("train", "distill", "convert")])
def test_options_are_told_without_a_framework(verb: str) -> None:
    program = (
        "import sys, edgeclf.cli\n"
        f"print(len(edgeclf.cli._parser('{verb}').format_help()))\n"
        "sys.exit(sorted({'numpy', 'PIL', 'tensorflow', 'keras'} & set(sys.modules)) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    done = edgeclf_("--help")
    assert done.returncode == 0 and all(verb in done.stdout for verb in VERBS)
    for words, code in ((["--version"], 0), ([], 2), (["fly"], 2)):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == code
    assert capsys.readouterr().out.startswith("edgeclf ")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "edgeclf.classify", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("usage: edgeclf classify") and done.stderr == ""


def test_classify_prints_text_and_json(model_folder: Path, photo: Path) -> None:
    model = model_folder / "mugs.int8.tflite"
    done = edgeclf_("classify", model, photo, "--top", 2)
    assert done.returncode == 0 and done.stdout.count("%") == 2 and " ms)" in done.stdout
    line = json.loads(edgeclf_("classify", model, photo, "--json").stdout)
    expected = edgeclf.classify(model, photo)
    assert [s["label"] for s in line["scores"]] == [s.label for s in expected.top(3)]
    assert line["timing"]["inference_ms"] > 0


def test_one_bad_photo_does_not_stop_the_others(
    model_folder: Path, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_text("no image")
    done = edgeclf_("classify", model_folder / "mugs.int8.tflite", tmp_path / "bad.jpg", photo)
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1 and "bad.jpg as an image" in done.stderr


def test_verify_exit_codes(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(model_folder / "mugs.int8.tflite")]) == 0
    assert "golden images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "{tmp}/gone"], "gone is not a folder"),
        (["train", "{tmp}/one"], "at least two"),
        (["train", "{tmp}/empty"], "dog is empty"),
        (["train", "{tmp}/mismatch"], "no folder for cow"),
        (["train", "{tmp}/unreadable", "--out", "{tmp}/out"], "cannot be read"),
        (["train", "{mugs}/train", "--epochs", "0"], "epochs is 0"),
        (["distill", "{photo}", "{mugs}/train"], "is not an edgeclf artifact"),
        (
            ["distill", "{model_folder}/mugs.int8.tflite", "{mugs}/train", "--feature-weight", "1"],
            "shows only its probabilities",
        ),
        (["distill", "{model_folder}/mugs.keras", "{mugs}/train", "--seeds", "2"], "at least 3"),
        (["classify", "{photo}", "{photo}"], "is not an edgeclf artifact"),
        (["classify", "{tmp}/gone.tflite", "{photo}"], "No such file"),
        (
            ["classify", "{model_folder}/mugs.int8.tflite", "{model_folder}/mugs.keras"],
            "Cannot read",
        ),
        (
            ["classify", "{model_folder}/mugs.int8.tflite", "{photo}", "--runtime", "tpu"],
            "no runtime 'tpu'",
        ),
        (
            ["classify", "{model_folder}/mugs.int8.tflite", "{photo}", "--device", "cuda"],
            "runs on the cpu",
        ),
        (["classify", "{model_folder}/mugs.int8.tflite", "{photo}", "--top", "0"], "--top is 0"),
        (
            ["convert", "{model_folder}/mugs.keras", "--evaluation", "{mugs}/eval"],
            "Add --calibration",
        ),
        (["benchmark", "{photo}", "--images", "{mugs}/eval"], "is not an edgeclf artifact"),
        (["report", "{photo}"], "benchmark"),
        (["demo", "{tmp}/one"], "train is not a folder"),
    ],
)
def test_bad_input_is_one_clear_line(
    words: list[str], message: str, model_folder: Path, mugs: Path, photo: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from PIL import Image

    folders = ("one/cat", "empty/cat", "empty/dog", "mismatch/cat", "mismatch/dog",
               "unreadable/cat", "unreadable/dog")  # fmt: skip
    for number, folder in enumerate(folders):
        (tmp_path / folder).mkdir(parents=True)
        for index in range(0 if folder == "empty/dog" else 2):
            picture = Image.new("RGB", (9, 9), (index, number, 0))
            picture.save(tmp_path / folder / f"{index}.png")
    (tmp_path / "mismatch" / "labels.txt").write_text("cat\ncow\n")
    (tmp_path / "unreadable" / "dog" / "2.png").write_text("no image")
    places = {"model_folder": model_folder, "mugs": mugs, "photo": photo, "tmp": tmp_path}
    monkeypatch.chdir(tmp_path)
    assert main([word.format(**places) for word in words]) == 2
    printed = capfd.readouterr()
    ours = printed.err[printed.err.index("edgeclf: ") :]
    assert message in ours and printed.out == ""
    assert not list(tmp_path.rglob("*.keras")) and not list(tmp_path.rglob(".*"))


def test_a_gate_that_fails_exits_1(monkeypatch: pytest.MonkeyPatch, mugs: Path) -> None:
    from edgeclf.errors import QualityGateError

    def refuse(*args: object, **options: object) -> None:
        raise QualityGateError("it answers differently")

    monkeypatch.setattr(importlib.import_module("edgeclf.convert"), "convert", refuse)
    assert main(["convert", "a.keras", "--evaluation", "b"]) == 1


def test_interrupted_runs_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("edgeclf.doctor"), "doctor", interrupt)
    assert main(["doctor"]) == 130


def test_doctor_reports_and_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = edgeclf.doctor()
    assert {c.name for c in diagnosis.runtimes} >= {"litert", "onnxruntime", "tensorflow"}
    assert next(c for c in diagnosis.runtimes if c.name == "litert").works
    found = dict(diagnosis.environment)
    found["libraries"] = {
        "numpy": "2.1.0", "tflite-runtime": "2.14.0", "onnxruntime": "1", "onnxruntime-gpu": "1",
    }  # fmt: skip
    monkeypatch.setattr("edgeclf.system.environment.environment", lambda: found)
    problems = edgeclf.doctor().problems
    assert len(problems) == 2
    assert "onnxruntime-gpu" in problems[0] and "numpy 2.1.0" in problems[1]


def test_stages_run_again_only_when_something_changed(tmp_path: Path) -> None:
    source, product = tmp_path / "in" / "a.txt", tmp_path / "out.txt"
    source.parent.mkdir()
    source.write_text("one")
    calls = []

    def go(settings: object = 1) -> int:
        def work() -> None:
            calls.append(1)
            product.write_text(source.read_text())

        stages = Stages(tmp_path / "records")
        stages.run("copy", work, settings=settings, inputs=[source.parent], outputs=[product])
        return len(calls)

    assert [go(), go()] == [1, 1]
    source.write_text("two")
    assert [go(), go()] == [2, 2]
    assert [go(settings=2), go(settings=2)] == [3, 3]
    product.write_text("tampered")
    assert [go(2), go(2)] == [4, 4]
    product.unlink()
    assert go(2) == 5
    source.rename(source.with_name("b.txt"))
    source = source.with_name("b.txt")
    assert go(2) == 6


def test_the_demo_runs_through_and_reuses(
    model_folder: Path, mugs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """With its own stages, verification and report; `make bench` runs all verbs for real."""
    from edgeclf.converters.config import DEFAULT_TARGETS, DEFAULT_TOLERANCE

    data, out = tmp_path / "mugs", tmp_path / "demo"
    shutil.copytree(mugs, data)
    out.mkdir()

    def leave_artifacts(given: dict[str, Any]) -> None:
        for ending in given["to"]:
            shutil.copy(model_folder / f"mugs.{ending}", given["model"].with_suffix(f".{ending}"))

    model = model_folder / "mugs.keras"
    calls = {
        verb: stand_in(monkeypatch, verb, leave)
        for verb, leave in {
            "train": lambda given: shutil.copy(model, given["out"] / "mugs-teacher.keras"),
            "distill": lambda given: shutil.copy(model, given["out"] / "mugs.keras"),
            "convert": leave_artifacts,
            "benchmark": lambda given: given["out"].write_text(json.dumps(make_results())),
        }.items()
    }
    page = edgeclf.demo(data, out=out, quick=True)
    assert page == out / "report.html" and page.stat().st_size > 10_000
    assert (out / "report.md").exists()
    said = capsys.readouterr().err
    assert said.count("repeats its") == len(DEFAULT_TARGETS)
    assert "the files will not be calibrated: " in said  # as 24 photos are too few
    (train,), (distill,), (convert,), (benchmark,) = calls.values()
    photos, evaluation = data / "train", data / "eval"
    assert (train["data"], train["evaluation"], train["epochs"]) == (photos, evaluation, 1)
    assert (distill["teacher"], distill["data"]) == (out / "mugs-teacher.keras", photos)
    assert (distill["evaluation"], distill["epochs"], distill["views"]) == (evaluation, 1, 1)
    assert (convert["model"], convert["tolerance"]) == (out / "mugs.keras", 0.5)
    assert (convert["calibration"], convert["evaluation"]) == (photos, evaluation)
    files = [out / f"mugs.{ending}" for ending in DEFAULT_TARGETS]
    assert benchmark["models"] == [out / "mugs-teacher.keras", out / "mugs.keras", *files]
    assert benchmark["images"] == evaluation and benchmark["quick"]

    assert edgeclf.demo(data, out=out, quick=True) == page
    assert capsys.readouterr().err.count("reused, its inputs have not changed") == 4
    assert [len(made) for made in calls.values()] == [1, 1, 1, 1]
    edgeclf.demo(data, out=out)  # in earnest: longer, and the teacher is converted too
    assert [len(made) for made in calls.values()] == [2, 2, 3, 2]
    assert {each["tolerance"] for each in calls["convert"][1:]} == {DEFAULT_TOLERANCE}
    assert calls["train"][1]["epochs"] > 1 and calls["distill"][1]["views"] > 1


def test_demo_needs_both_folders(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        edgeclf.demo(make_folder(cat=1, dog=1))


def test_photos_are_checked_before_the_framework_is_loaded(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("keras", reason="needs edgeclf[train]")
    unreadable = make_folder(cat=2, dog=2)
    (unreadable / "cat" / "0.png").write_text("no image")
    program = (
        "import sys, edgeclf\n"
        "for data in sys.argv[1:]:\n"
        "    try: edgeclf.train(data, out=data + '-out')\n"
        "    except edgeclf.DataError as exc: print(exc)\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "gone"), str(unreadable)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "gone is not a folder" in done.stdout and "1 of 4 files" in done.stdout


def test_a_table_is_taken_where_a_folder_is(model_folder: Path, mugs: Path, tmp_path: Path) -> None:
    table = tmp_path / "mugs.csv"
    lines = [f"{p},{p.parent.name},{p.parent.parent.name}" for p in sorted(mugs.rglob("*.jpg"))]
    table.write_text("\n".join(["path,label,split", *lines]))
    shutil.copy(mugs / "labels.txt", tmp_path)
    model = model_folder / "mugs.int8.tflite"
    by_table, by_folder = (
        edgeclf.verify(model, data=data).accuracy for data in (table, mugs / "eval")
    )
    assert by_table == by_folder and by_table is not None
    assert by_table["images"] == 24 and "certified_top1" in by_table
    artifacts = edgeclf.convert(
        model_folder / "mugs.keras", evaluation=table, calibration=table, out=tmp_path / "out",
        to=["int8.onnx"], tolerance=0.5,
    )  # fmt: skip
    calibration = artifacts[0].metadata.calibration
    assert calibration is not None and calibration["images"] == 48
