from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeclf import ImageSpec, Metadata
from edgeclf.artifact import save_artifact, seal_artifact
from edgeclf.cli import main


def test_a_folder_stands_for_its_photos(
    make_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = Metadata("shades", ("dark", "bright"), ImageSpec(8, 8))
    model = save_artifact(seal_artifact(b"", metadata), tmp_path / "shades.onnx").path
    root = make_folder(b=1, a=2)
    for name in ("a/Thumbs.db", "a/notes.txt", "a/.hidden.png", "@eaDir/0.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    words = [model, root / "b" / "0.png", root]
    assert main(["classify", *map(str, words), "--runtime", "fake", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = [root / "b" / "0.png", *(root / name for name in ("a/0.png", "a/1.png", "b/0.png"))]
    assert [answer["image"] for answer in answers] == list(map(str, expected))
    (tmp_path / "empty").mkdir()
    assert main(["classify", str(model), str(tmp_path / "empty"), "--runtime", "fake"]) == 2
    assert "There are no photos in" in capsys.readouterr().err
