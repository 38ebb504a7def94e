"""examples/fleet, run as its readers run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgeclf.fleet.folder import Folder
from support import REPOSITORY
from support.services import artifact, write

SCRIPT = REPOSITORY / "examples" / "fleet" / "fleet_story.py"


def start(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), *map(str, words)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_the_story_goes_as_it_is_told(tmp_path: Path) -> None:
    model, out = write(tmp_path, artifact()), tmp_path / "out"
    done = start(model, "--runtime", "fake", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("No surprises.\n") and "NOT AS EXPECTED" not in done.stderr
    assert done.stderr.count("does not compute the certified model") == 5
    lines = [" ".join(line.split()[:8]) for line in done.stdout.splitlines()]
    assert "1 of canary run birds order 4" in " ".join(lines)
    assert "2 of stable run birds order 5" in " ".join(lines)
    page = (out / "fleet.html").read_text()
    assert "3 devices reported" in page and "3 of them signed" in page
    kitchen = Folder(out / "devices" / "kitchen").current()
    assert kitchen is not None and kitchen.name.startswith("4.")
    again = start(model, "--runtime", "fake", "--out", out)
    assert again.returncode == 2 and "is not empty" in again.stderr


def test_a_file_that_is_no_model_is_one_line_and_code_2(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_text("no model")
    done = start(tmp_path / "bad.onnx")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "bad.onnx" in done.stderr
