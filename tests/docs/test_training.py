"""docs/training.md followed in order, and every command on it held against the verbs' parsers."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import shutil
from pathlib import Path

import pytest

from edgeclf import cli
from edgeclf.verbs import VERBS
from support import REPOSITORY

PAGE = REPOSITORY / "docs" / "training.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(edgeclf \w+ [^`]+)`")
# A first look at a few photos: trained longer, the page would take minutes.
SHORTER = {
    "train": ["--epochs", "1"],
    "distill": ["--epochs", "1", "--views", "1"],
    "convert": ["--tolerance", "0.5"],  # of a model that is right by chance
}
# What is left by a study over seeds, by searches, by pruning and by a loss that is not a number,
# which do not happen here.
SPECIAL = {
    "runs/photos.distillation.html",
    "runs/photos.students",
    "runs/photos-teacher.search.csv",
    "runs/photos-teacher.search.db",
    "runs/photos-pruned.keras",
    "runs/photos.fit.db",
    "runs/photos.fit.html",
    "runs/photos.fit.json",
    "runs/photos-teacher-last-good.keras",
    "runs/photos-last-good.keras",
}


def commands(*languages: str) -> list[list[str]]:
    """The page's commands in order, without their first word."""
    blocks = [block for language, block in FENCE.findall(PAGE.read_text()) if language in languages]
    lines = "\n".join(blocks).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("edgeclf ")]


def every_command() -> list[list[str]]:
    return commands("", "sh") + [shlex.split(c)[1:] for c in INLINE.findall(PAGE.read_text())]


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_is_one_that_its_verb_takes(words: list[str]) -> None:
    assert words[0] in VERBS
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(f"edgeclf.{words[0]}").add_arguments(parser)
    parser.parse_args(words[1:])


def test_the_page_goes_from_photos_to_a_device() -> None:
    assert [words[0] for words in commands("sh")] == [
        "backbones", "train", "distill", "convert", "convert", "compare", "verify", "verify",
        "classify",
    ]  # fmt: skip
    links = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text())
    assert links and all((PAGE.parent / link).exists() for link in links)


@pytest.mark.slow
def test_the_page_works_in_order(
    mugs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorflow", reason="needs edgeclf[all]")
    pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
    for source in sorted(mugs.glob("*/*/00[0-3].jpg")):
        target = tmp_path / "photos" / source.relative_to(mugs)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    shutil.copy(mugs / "labels.txt", tmp_path / "photos")
    shutil.copy(next((mugs / "eval" / "blue").iterdir()), tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    # Fewer rounds: what is measured is not looked at here.
    monkeypatch.setattr("edgeclf.comparison.paired_latency.ROUNDS", 6)
    monkeypatch.setattr("edgeclf.comparison.paired_latency.SECONDS", 0.2)

    for words in commands("sh"):
        code = cli.main([*words, *SHORTER.get(words[0], [])])
        assert code == 0, f"edgeclf {' '.join(words)}\n{capsys.readouterr().err}"
    assert capsys.readouterr().out.splitlines()[-1].startswith("photo.jpg: ")
    text = PAGE.read_text()
    named = {name for name in re.findall(r"runs/photos[\w.-]*\.\w+", text) if "*" not in name}
    assert len(named) >= 6
    for name in named:
        assert (tmp_path / name).exists() == (name not in SPECIAL), name
    assert list((tmp_path / "runs" / "cache").glob("photos-*.npy"))
    assert list((tmp_path / "runs" / "cache").glob("readable-*.json"))
