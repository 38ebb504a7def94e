"""Every page of docs/ and the README: its links, its commands, its names, its generated parts."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import edgeclf
from edgeclf import errors
from edgeclf.verbs import VERBS, import_verb
from support import REPOSITORY

DOCS = REPOSITORY / "docs"
API = DOCS / "api"
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:\S*/)?(?:edgeclf |python -m edgeclf\.)(.*)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)")
README_BYTES = 5_500  # one screen and a half


def commands() -> list[tuple[str, list[str]]]:
    """Every command of edgeclf on any page, with its page; comments and continuations resolved."""
    found = []
    for page in PAGES:
        for _, block in FENCE.findall(page.read_text(encoding="utf-8")):
            lines = COMMAND.findall(block.replace("\\\n", " "))
            found += [(page.name, shlex.split(line, comments=True)) for line in lines]
    return found


@pytest.mark.parametrize(("page", "words"), commands(), ids=lambda value: str(value))
def test_every_command_is_one_that_its_verb_takes(page: str, words: list[str]) -> None:
    verb = words[0].partition(".")[0]
    if verb not in VERBS:
        assert importlib.util.find_spec(f"edgeclf.{words[0]}") is not None, page
        return
    parser = argparse.ArgumentParser(exit_on_error=False)
    import_verb(verb).add_arguments(parser)
    parser.parse_args(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    missing = [
        link
        for link in LINK.findall(text)
        if not link.startswith("http") and not (page.parent / link).exists()
    ]
    assert missing == []


def test_python_on_the_pages_is_python() -> None:
    blocks = [
        block
        for page in PAGES
        for language, block in FENCE.findall(page.read_text(encoding="utf-8"))
        if language == "python"
    ]
    assert len(blocks) > 5
    for block in blocks:
        ast.parse(block)


def test_the_readme_fits_one_screen_and_a_half_and_shows_the_report() -> None:
    readme = PAGES[0].read_text(encoding="utf-8")
    assert len(readme.encode()) <= README_BYTES
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme)
    assert pictures == ["docs/images/report.png", "docs/images/trust.png"]
    assert all((REPOSITORY / picture).stat().st_size < 150_000 for picture in pictures)
    assert "(docs/index.md)" in readme


def test_the_first_page_leads_to_every_other() -> None:
    first = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in sorted(DOCS.glob("*.md")):
        assert page.name == "index.md" or f"({page.name})" in first, page.name


def test_every_public_name_is_documented_once() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in sorted(API.glob("*.md")))
    # A verb is the function in the module of its name.
    documented = re.findall(r"^::: edgeclf\.(?:([a-z]+)\.(?=\1$))?(\w+)$", text, re.MULTILINE)
    documented = [name for _, name in documented]
    classes = {name for name in edgeclf.__all__ if name.endswith("Error")}
    rooms = {"image", "runtimes"}  # documented as modules, beside the names
    rooms |= {"Device", "Fleet", "Terms", "provision"}  # of a fleet, in its own rooms
    assert sorted(set(documented) - rooms) == sorted(set(edgeclf.__all__) - classes)
    assert len(set(documented)) == len(documented)
    assert "::: edgeclf.errors" in (DOCS / "errors.md").read_text(encoding="utf-8")


def test_every_error_is_explained_and_stands_in_the_tree() -> None:
    table = (DOCS / "errors.md").read_text(encoding="utf-8").partition("## The tree")[0]
    classes = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.EdgeclfError)
    }
    names = {each.__name__ for each in classes - {errors.EdgeclfError}}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == names
    tree = errors.__doc__ or ""
    parents: dict[int, str] = {}
    drawn = {}
    for indent, name in re.findall(r"^( {4}[│├└─ ]*)(\w+Error)\b", tree, re.MULTILINE):
        depth = len(indent) // 4
        drawn[name] = parents.get(depth - 1)
        parents[depth] = name
    assert drawn == {
        each.__name__: next(
            (base.__name__ for base in each.__bases__ if base in classes), None
        )
        for each in classes
    }  # fmt: skip


def test_the_picture_of_the_rooms_is_what_the_imports_say() -> None:
    tool = REPOSITORY / "tools" / "draw_architecture.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_architecture_names_files_that_are_there() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)*\w+\.py|\w+/(?:\w+)?)`", text))
    roots = (REPOSITORY, REPOSITORY / "edgeclf")
    assert len(named) > 15
    assert [name for name in sorted(named) if not any((r / name).exists() for r in roots)] == []
