"""examples/mugs/client.py, run as its readers run it, against a service that is running."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.example_scripts import EXAMPLES
from support.services import artifact, serving, shade, write

SCRIPT = EXAMPLES / "mugs" / "client.py"


def client_py(*words: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-I", str(SCRIPT), *map(str, words)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_photos_of_a_request_file_are_answered(tmp_path: Path) -> None:
    model = write(tmp_path, artifact("shades", "3"))
    for level in (20, 240):
        (tmp_path / f"{level}.jpg").write_bytes(shade(level))
    (tmp_path / "text.jpg").write_text("no picture")
    request = tmp_path / "request.txt"
    request.write_text("nosuch.jpg\n20.jpg\n\ntext.jpg\n240.jpg\n")
    with serving(model, "--runtime", "fake") as running:
        done = client_py(request, "--url", running.url)
        request.write_text("240.jpg\n")
        assert client_py(request, "--url", running.url).returncode == 0
    assert done.returncode == 2  # two have no answer; the others have theirs
    missing, who, bad = done.stderr.splitlines()
    assert "nosuch.jpg" in missing and "text.jpg" in bad and "Expected a file" in bad
    assert who.startswith("answered by shades 3 (")
    assert [line.split() for line in done.stdout.splitlines()] == [
        [str(tmp_path / "20.jpg")], ["CLASSES", "PROBABILITIES"],
        ["dark", "90.0%"], ["middle", "5.0%"], ["bright", "5.0%"],
        [str(tmp_path / "240.jpg")], ["CLASSES", "PROBABILITIES"],
        ["bright", "90.0%"], ["dark", "5.0%"], ["middle", "5.0%"],
    ]  # fmt: skip


@pytest.mark.parametrize("text", [None, "\n", "photo.jpg\n"])
def test_what_cannot_be_asked_is_one_line_and_code_2(text: str | None, tmp_path: Path) -> None:
    request = tmp_path / "request.txt"
    (tmp_path / "photo.jpg").touch()
    if text is not None:
        request.write_text(text)
    done = client_py(request, "--url", "http://127.0.0.1:1")  # where nothing listens
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("client.py: ")
    assert ("127.0.0.1:1" if text and text.strip() else "request.txt") in line
