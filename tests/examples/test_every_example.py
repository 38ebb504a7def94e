"""What every device example has in common, run as a script on stand-in input."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.example_scripts import EXAMPLES, SCRIPTS, UNIT, start


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_is_a_readme_its_requirements_and_one_script(name: str) -> None:
    files = {path.name for path in (EXAMPLES / name).iterdir() if path.is_file()}
    assert files - {UNIT.name} == {"README.md", "requirements.txt", SCRIPTS[name]}
    done = start(name, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: {SCRIPTS[name]}")
    assert done.stderr == ""


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_file_that_is_no_model_is_one_line_and_code_2(
    name: str, tmp_path: Path, photos: list[Path]
) -> None:
    (tmp_path / "bad.onnx").write_text("no model")
    words: dict[str, list[object]] = {
        "camera": ["--headless", "--source", photos[0].parent],
        "watch_folder": [photos[0].parent, "--results", tmp_path / "results.csv"],
        "raspberry_pi": [],
        "jetson": [photos[0], "--device", "cpu"],
        "classify_photo": [photos[0]],
    }
    done = start(name, tmp_path / "bad.onnx", *words[name])
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "bad.onnx" in done.stderr
