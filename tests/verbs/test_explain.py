from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from edgeclf.artifact import save_artifact, seal_artifact
from edgeclf.cli import main
from support.explained import red_artifact

FAST = ["--runtime", "fake", "--passes", "16"]


@pytest.fixture
def model(tmp_path: Path) -> str:
    metadata = dataclasses.replace(red_artifact().metadata, labels=("cat", "dog"))
    return str(save_artifact(seal_artifact(b"", metadata), tmp_path / "m.onnx").path)


def test_one_photo_makes_a_picture(
    model: str, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    photo = make_folder(cat=1) / "cat" / "0.png"
    out = photo.with_name("overlay.png")
    assert main(["explain", model, str(photo), "--out", str(out), "--label", "dog", *FAST]) == 0
    line, written = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{photo}: dog ") and line.endswith(", cam, 1 pass")
    assert written == str(out)
    with Image.open(out) as image:
        assert image.format == "PNG" and image.width == 996


def test_several_photos_make_a_page_and_a_bad_one_does_not_stop_them(
    model: str, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder(cat=2)
    (root / "bad.jpg").write_bytes(b"no picture")
    photos = [str(root / name) for name in ("cat/0.png", "bad.jpg", "cat/1.png")]
    out = root / "all.html"
    words = ["--out", str(out), "--method", "rise", *FAST]
    assert main(["explain", model, *photos, *words]) == 2
    shown, errors = capsys.readouterr()
    assert "bad.jpg" in errors and shown.count("rise, 16 passes") == 2
    page = out.read_text(encoding="utf-8")
    assert page.count("<img ") == 2 and "<title>fake, explained</title>" in page
    out.unlink()
    assert main(["explain", model, photos[1], *words]) == 2 and not out.exists()


def test_the_check_says_what_it_measured(
    model: str, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["explain", model, "--check", "--data", str(make_folder(cat=2, dog=2)), *FAST]
    assert main(words) == 0
    text = capsys.readouterr().out
    for part in (
        "4 photos, cam, 1 pass a map",
        "deletion, area under the curve (lower is better)",
        "  map minus random",
        "map after shuffling the dense layer: correlation ",
        "map after shuffling all weights: not known: only a .keras",
    ):
        assert part in text
    assert "pointing" not in text
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["photos"] == 4 and len(record["deletion"]["curves"]["random"]) == 21


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give photos to explain, or --check with --data DIR"),
        (["a.png", "--check", "--data", "x"], "and no photos"),
        (["--check"], "--check with --data DIR"),
        (["a.png", "--data", "x"], "--check with --data DIR"),
        (["a.png", "--masks", "x"], "--masks belongs to --check"),
        (["a.png", "--json"], "--json belongs to --check"),
        (["--check", "--data", "x", "--out", "a.png"], "--out belongs to photos to explain"),
        (["a.png", "--out", "a.jpg"], "expected a .png for one photo, or a .html"),
        (["a.png", "b.png", "--out", "a.png"], "expected a .png for one photo, or a .html"),
        (["a.png", "--label", "cow", "--out", "OUT"], "no label 'cow'; it has 2: cat, dog"),
        (["--check", "--data", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_work_is_one_line(
    words: list[str], message: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    words = [word.replace("OUT", "o.png") for word in words]
    assert main(["explain", model, *words, *FAST]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "o.png").exists()
