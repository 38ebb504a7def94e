"""examples/mugs/mugs.py, run as its readers run it, on a few of the photos."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgeclf
from support.example_scripts import EXAMPLES

SCRIPT = EXAMPLES / "mugs" / "mugs.py"
STAGES = ("train the teacher", "distil the student", "convert the student")


def mugs_py(*words: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)], capture_output=True, text=True,
        check=False, timeout=600, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.slow
def test_train_retrain_and_answer(mugs: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="needs edgeclf[all]")
    data, out = tmp_path / "mugs", tmp_path / "out"
    shutil.copytree(mugs, data)
    where = ("--data", data, "--out", out, "--quick")

    trained = mugs_py("train", *where)
    assert trained.returncode == 0, trained.stderr
    heading, *rows, basis, artifact = trained.stdout.splitlines()
    assert heading.split() == ["MODEL", "TOP-1", "SIZE"]
    assert [row.split()[0] for row in rows] == [
        "mugs-teacher.keras", "mugs.keras", "mugs.int8.tflite",
    ]  # fmt: skip
    assert basis == "on 24 photos that no model has learnt from"
    assert artifact == str(out / "mugs.int8.tflite")

    request = tmp_path / "requests" / "request.txt"
    request.parent.mkdir()
    request.write_text("../mugs/eval/blue/000.jpg\n\n../nosuch.jpg\n../mugs/eval/white/000.jpg\n")
    answered = mugs_py("answer", request, *where)
    assert answered.returncode == 2  # one photo is missing; the others have their answers
    (complaint,) = (x for x in answered.stderr.splitlines() if x.startswith("mugs.py: "))
    assert "nosuch.jpg" in complaint and f"answered by {artifact}" in answered.stderr
    lines = iter(answered.stdout.splitlines())
    with edgeclf.Classifier(artifact) as classifier:
        for label in ("blue", "white"):
            photo = request.parent / ".." / "mugs" / "eval" / label / "000.jpg"
            assert next(lines) == str(photo)
            assert next(lines).split() == ["CLASSES", "PROBABILITIES"]
            for score in classifier.classify(photo).scores:
                assert next(lines).split() == [score.label, f"{score.probability:.1%}"]
    assert next(lines, None) is None

    retrained = mugs_py("retrain", *where)
    assert retrained.returncode == 0, retrained.stderr
    for stage in STAGES:  # those of the first run are good still, the final ones new
        assert f"== {stage}: reused" in retrained.stderr
        assert f"\n== {stage}\n" in retrained.stderr
    final = out / "final" / "mugs.int8.tflite"
    assert "learnt from 60 photos" in retrained.stdout  # 3 of 6 a class are kept out
    assert "12 photos of eval/ were kept out" in retrained.stdout
    assert retrained.stdout.splitlines()[-1] == str(final)
    assert edgeclf.load_artifact(final).metadata.labels == ("white", "black", "blue", "transparent")

    request.write_text(f"{data / 'eval' / 'blue' / '000.jpg'}\n")
    answered = mugs_py("answer", request, *where)
    assert answered.returncode == 0 and f"answered by {final}" in answered.stderr

    again = mugs_py("retrain", *where)
    assert again.stdout == retrained.stdout
    assert all(again.stderr.count(f"== {stage}: reused") == 2 for stage in STAGES)


@pytest.mark.parametrize("text", [None, "", "\n \n"])
def test_what_cannot_be_answered_is_one_line_and_code_2(text: str | None, tmp_path: Path) -> None:
    request = tmp_path / "request.txt"
    none = mugs_py("answer", request, "--out", tmp_path)
    assert none.returncode == 2 and "There is no model in" in none.stderr
    (tmp_path / "mugs.int8.tflite").touch()
    if text is not None:
        request.write_text(text)
    done = mugs_py("answer", request, "--out", tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "request.txt" in done.stderr
